// Convolutions in which an output pixel has one input pixel: 1x1 ones of stride 1, and transposed ones whose windows
// lie side by side. With few channels it pays to make 16-bit numbers of the pixels once and to multiply those.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "api.h"
#include "buffer.h"
#include "kernel.h"

namespace unmask {

struct PointwiseKernel {
  // `count` pixels of `channels` int8, rescaled by 2^-shift, as 16-bit numbers `row` apart and padded with 0 to 16
  // channels; of the first `roomy` pixels channels can be read 16 at a time, those that there are not too
  void (*widen)(const int8_t* x, int count, int channels, int roomy, int shift, int16_t* to, ptrdiff_t row);
  // sums[count][16] of pixels, `row` 16-bit numbers apart, by weights [pairs][16][2]; count is a multiple of 6
  void (*multiply)(const int16_t* pixels, ptrdiff_t row, int count, const int16_t* weights, int pairs, int32_t* sums);
};

const PointwiseKernel& avx2_pointwise();

class Pointwise {
 public:
  // weights [made][kh][kw][channels]. Throws std::invalid_argument for a convolution that it cannot do.
  Pointwise(const UnmaskConvolution& spec, const int8_t* weights);
  void run(const Sources& sources, int images, const Epilogue& epilogue, Finish finish, int8_t* y) const;

 private:
  struct Work;
  static void work(void* context, int index);
  void block(const Work& work, int first, int last, int begin, int end) const;
  void load(const Work& work, int first, int last) const;
  void place(const Work& work, int first, int last, int phase) const;

  UnmaskConvolution spec_;
  const PointwiseKernel* kernel_;
  int pairs_, blocks_;  // blocks of 16 output channels of a phase: a pixel of the window
  int phases_;
  ptrdiff_t row_;             // 16-bit numbers a pixel
  Buffer<int16_t> weights_;  // [phase][block][pair][16][2]
};

}  // namespace unmask
