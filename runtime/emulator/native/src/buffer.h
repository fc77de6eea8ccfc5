// Memory that starts at a cache line, a large one at a huge page, and is not filled when it is made.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace unmask {

template <typename T>
class Buffer {
 public:
  // Room for `count` numbers; what was there is lost when it grows.
  void reserve(size_t count) {
    if (count <= size_) return;
    const size_t bytes = count * sizeof(T);
    const std::align_val_t alignment{bytes >= 2 * HUGE_PAGE ? HUGE_PAGE : LINE};
    data_.reset();
    size_ = 0;
    data_ = std::unique_ptr<T, Free>(static_cast<T*>(::operator new(bytes, alignment)), Free{alignment});
    size_ = count;
#if defined(MADV_HUGEPAGE)
    // only a hint: fewer page faults and address translations
    if (bytes >= 2 * HUGE_PAGE) static_cast<void>(madvise(data_.get(), bytes, MADV_HUGEPAGE));
#endif
  }
  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }

 private:
  static constexpr size_t LINE = 64, HUGE_PAGE = 2u << 20;
  struct Free {
    std::align_val_t alignment{LINE};
    void operator()(T* data) const { ::operator delete(data, alignment); }
  };
  std::unique_ptr<T, Free> data_;
  size_t size_ = 0;
};

}  // namespace unmask
