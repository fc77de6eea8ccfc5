// The C interface of the library: what library.py declares to ctypes. Images are NHWC int8, C order.
#pragma once

#include <cstdint>

#define UNMASK_EXPORT extern "C" __attribute__((visibility("default")))

// Every convolution. shift is shift_cut + 1: y = (2 sum + half_steps) / 2^shift, within [low, high], then the table.
struct UnmaskConvolution {
  int32_t height, width, channels;
  int32_t made, out_height, out_width;
  int32_t kernel_height, kernel_width, stride_height, stride_width, dilation_height, dilation_width;
  int32_t left, top;
  int32_t depthwise, transposed;
  int32_t shift, low, high, leaky;
  int32_t tile;  // side of Winograd's tiles, 2 or 4; 1: pixels one by one as 16-bit numbers; 0 without
  int32_t isa;
};

// What a convolution reads: images of `channels` int8 a pixel, each value rescaled by 2^-shift.
struct UnmaskSource {
  const int8_t* x;
  int32_t channels, shift;
};

// A pool; rescale is fp_in - fp_out, shift that of an average.
struct UnmaskPool {
  int32_t height, width, channels;
  int32_t out_height, out_width;
  int32_t kernel_height, kernel_width, stride_height, stride_width, dilation_height, dilation_width;
  int32_t left, top;
  int32_t maximum, factor, shift, rescale;
  int32_t isa;
};
