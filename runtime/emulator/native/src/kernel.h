// A micro-kernel: int32 sums of products of a few pixels by a block of output channels.
#pragma once

#include <cstddef>
#include <cstdint>

#include "api.h"

namespace unmask {

constexpr int MOST_SOURCES = 8;

// What is read side by side.
struct Sources {
  const UnmaskSource* of;
  int count;
  bool plain() const { return count == 1 && of[0].shift == 0; }
};

// Packed weights of one block of output channels. A step multiplies the bytes at one offset from each pixel.
struct Block {
  const int32_t* offsets;  // bytes from a pixel's base, one a step
  const int8_t* weights;   // [step][quad][channel][4]; depthwise: [step][channel]
  const int32_t* runs;     // (length, count) pairs: count groups of length steps whose sums fit 16 bits
  int run_count;
  int steps;
  // Channels that can be negative and whose weights are too large for 16-bit sums: two 16-bit inputs a step.
  const int32_t* wide_offsets;
  const int16_t* wide_weights;  // [step][channel][2]
  int wide_steps;
};

struct Kernel {
  int strips;    // strips of pixels a call takes
  int pixels;    // pixels a strip, `pixel_stride` bytes apart
  int channels;  // output channels a block
  int quads;     // groups of 4 bytes a step multiplies
  bool grouped;  // sums 16-bit numbers within a group: packing bounds them
  void (*start)();  // once before and after a thread's calls; may be null
  void (*run)(const uint8_t* const* strips, ptrdiff_t pixel_stride, const Block& block, int32_t* sums);
  void (*stop)();
  // Adds the wide steps to the sums; null where the kernel takes any input.
  void (*run_wide)(const int16_t* const* strips, const Block& block, int32_t* sums);
};

constexpr int MAX_TILE = 32 * 32;  // sums of the largest kernel

const Kernel& portable_kernel();
const Kernel& portable_depthwise();
const Kernel& avx2_kernel();
const Kernel& avx2_depthwise();
const Kernel& vnni_kernel();
const Kernel& amx_kernel();

// From sums to int8. t = (sum << doubling) + bias, then t / 2^shift rounded half up, saturated, within [low, high].
struct Epilogue {
  bool narrow;              // t and its rounding half fit 32 bits; else wide_bias and 64 bits
  bool leaky;               // negative t times 26/256 first
  int doubling;
  int shift;
  int low, high;
  const int32_t* bias;      // per channel, padded to whole blocks; the rounding half is in it
  const int64_t* wide_bias; // per channel, of t = 2 sum + wide_bias, without the half
  int wide_shift;
  const int8_t* table;      // 256 results by the int8 that comes out, or null
};

// Writes `channels` values a pixel at outs[pixel] + channel; a null pixel is dropped. `width` sums lie between pixels.
using Finish = void (*)(const Epilogue&, int channel, int channels, int width, const int32_t* sums,
                        int8_t* const* outs, int pixels);
void portable_finish(const Epilogue&, int, int, int, const int32_t*, int8_t* const*, int);
void avx2_finish(const Epilogue&, int, int, int, const int32_t*, int8_t* const*, int);

// round half toward +infinity of value / 2^shift, saturated to int8
inline int8_t dpu_round(int64_t value, int shift) {
  if (shift > 0) {
    const int by = shift < 62 ? shift : 62;
    value = (value + (int64_t{1} << (by - 1))) >> by;
  }
  value = value < -128 ? -128 : value > 127 ? 127 : value;
  if (shift < 0) {
    value *= int64_t{1} << (-shift < 8 ? -shift : 8);
    value = value < -128 ? -128 : value > 127 ? 127 : value;
  }
  return static_cast<int8_t>(value);
}

}  // namespace unmask
