// Helpers that spin for a moment, yield, then sleep; a forked child makes its own.
#include "pool.h"

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

namespace unmask {

namespace {

constexpr int SPINS = 2000, YIELDS = 200, MOST_THREADS = 256;

long process() {
#if defined(__unix__) || defined(__APPLE__)
  return static_cast<long>(getpid());
#else
  return 0;
#endif
}

void breathe() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

class Pool {
 public:
  explicit Pool(int helpers) : process_(process()) {
    helpers_.reserve(static_cast<size_t>(helpers));
    for (int i = 0; i < helpers; ++i) helpers_.emplace_back([this] { serve(); });
  }

  ~Pool() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      ended_ = true;
      ++turn_;
    }
    wake_.notify_all();
    for (std::thread& helper : helpers_) helper.join();
  }

  bool usable() const { return process_ == process(); }
  int helpers() const { return static_cast<int>(helpers_.size()); }

  void run(int count, Task task, void* context) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      task_ = task;
      context_ = context;
      count_ = count;
      next_ = 0;
      open_ = true;
      ++turn_;
    }
    wake_.notify_all();
    work();
    {
      std::lock_guard<std::mutex> lock(mutex_);
      open_ = false;  // a helper that comes later finds nothing to do
    }
    for (int spin = 0; busy_.load(std::memory_order_acquire) != 0; ++spin) {
      if (spin < SPINS) breathe();
      else std::this_thread::yield();
    }
  }

 private:
  void work() {
    for (int index = next_.fetch_add(1); index < count_; index = next_.fetch_add(1)) task_(context_, index);
  }

  void serve() {
    unsigned long seen = 0;
    while (true) {
      for (int spin = 0; spin < SPINS + YIELDS && turn_.load(std::memory_order_acquire) == seen; ++spin) {
        if (spin < SPINS) breathe();
        else std::this_thread::yield();
      }
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return turn_.load() != seen; });
        seen = turn_.load();
        if (ended_) return;
        if (!open_) continue;
        busy_.fetch_add(1);
      }
      work();
      busy_.fetch_sub(1, std::memory_order_release);
    }
  }

  const long process_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<unsigned long> turn_{0};
  std::atomic<int> next_{0}, busy_{0};
  Task task_ = nullptr;
  void* context_ = nullptr;
  int count_ = 0;
  bool open_ = false, ended_ = false;
  std::vector<std::thread> helpers_;
};

// A pool made by another process has no threads here and cannot be joined: it is left behind.
struct Owner {
  std::unique_ptr<Pool> pool;
  int threads = 0;  // 0: what is set for all
  ~Owner() {
    if (pool && !pool->usable()) static_cast<void>(pool.release());
  }
};

Owner& owner() {
  static thread_local Owner mine;
  return mine;
}

std::atomic<int> default_threads{1};

int bounded(int count) { return count < 1 ? 1 : count > MOST_THREADS ? MOST_THREADS : count; }

}  // namespace

void set_default_threads(int count) { default_threads = bounded(count); }

void set_threads(int count) { owner().threads = bounded(count); }

int threads() { return owner().threads != 0 ? owner().threads : default_threads.load(); }

void parallel(int count, Task task, void* context) {
  Owner& mine = owner();
  const int helpers = threads() - 1;
  if (helpers == 0 || count < 2) {
    for (int index = 0; index < count; ++index) task(context, index);
    return;
  }
  if (mine.pool && !mine.pool->usable()) static_cast<void>(mine.pool.release());
  if (!mine.pool || mine.pool->helpers() != helpers) mine.pool.reset();
  if (!mine.pool) mine.pool = std::make_unique<Pool>(helpers);
  mine.pool->run(count, task, context);
}

}  // namespace unmask
