// Memory that starts at a cache line and is not filled when it is made.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace unmask {

template <typename T>
class Buffer {
 public:
  void reserve(size_t count) {
    if (count <= size_) return;
    data_.reset();
    data_.reset(static_cast<T*>(::operator new(count * sizeof(T), LINE)));
    size_ = count;
  }
  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }

 private:
  static constexpr std::align_val_t LINE{64};
  struct Free {
    void operator()(T* data) const { ::operator delete(data, LINE); }
  };
  std::unique_ptr<T, Free> data_;
  size_t size_ = 0;
};

}  // namespace unmask
