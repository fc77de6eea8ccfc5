// Plain C++: the kernels of a CPU that has nothing better, and the rounding of every case that 32 bits cannot hold.
#include "kernel.h"

namespace unmask {

namespace {

constexpr int STRIPS = 4, CHANNELS = 16, DEEP = 32;

void sum(const uint8_t* const* strips, ptrdiff_t, const Block& block, int32_t* sums) {
  for (int i = 0; i < STRIPS * CHANNELS; ++i) sums[i] = 0;
  for (int step = 0; step < block.steps; ++step) {
    const int8_t* weights = block.weights + step * CHANNELS * 4;
    for (int strip = 0; strip < STRIPS; ++strip) {
      const uint8_t* x = strips[strip] + block.offsets[step];
      const int x0 = x[0], x1 = x[1], x2 = x[2], x3 = x[3];
      int32_t* to = sums + strip * CHANNELS;
      for (int c = 0; c < CHANNELS; ++c) {
        const int8_t* w = weights + 4 * c;
        to[c] += x0 * w[0] + x1 * w[1] + x2 * w[2] + x3 * w[3];
      }
    }
  }
}

void sum_deep(const uint8_t* const* strips, ptrdiff_t, const Block& block, int32_t* sums) {
  for (int i = 0; i < STRIPS * DEEP; ++i) sums[i] = 0;
  for (int strip = 0; strip < STRIPS; ++strip) {
    int32_t* to = sums + strip * DEEP;
    for (int step = 0; step < block.steps; ++step) {
      const int8_t* x = reinterpret_cast<const int8_t*>(strips[strip]) + block.offsets[step];
      const int8_t* w = block.weights + step * DEEP;
      for (int c = 0; c < DEEP; ++c) to[c] += int32_t{x[c]} * w[c];
    }
  }
}

int8_t rounded(const Epilogue& e, int64_t t) {
  if (!e.leaky) return dpu_round(t, e.wide_shift);
  const int left = e.wide_shift < 0 ? -e.wide_shift : 0;
  t *= int64_t{1} << left;
  return dpu_round(t * (t < 0 ? 26 : 256), e.wide_shift + left + 8);
}

}  // namespace

const Kernel& portable_kernel() {
  static const Kernel kernel{STRIPS, 1, CHANNELS, 1, false, nullptr, sum, nullptr, nullptr};
  return kernel;
}

const Kernel& portable_depthwise() {
  static const Kernel kernel{STRIPS, 1, DEEP, 1, false, nullptr, sum_deep, nullptr, nullptr};
  return kernel;
}

void portable_finish(const Epilogue& e, int channel, int channels, int width, const int32_t* sums,
                     int8_t* const* outs, int pixels) {
  for (int p = 0; p < pixels; ++p) {
    if (outs[p] == nullptr) continue;
    int8_t* out = outs[p] + channel;
    for (int c = 0; c < channels; ++c) {
      int value = rounded(e, 2 * int64_t{sums[p * width + c]} + e.wide_bias[channel + c]);
      value = value < e.low ? e.low : value > e.high ? e.high : value;
      out[c] = static_cast<int8_t>(e.table != nullptr ? e.table[value + 128] : value);
    }
  }
}

}  // namespace unmask
