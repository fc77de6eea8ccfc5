// Exact Winograd convolution: 3x3 windows of stride 1 with a quarter of the products, in integers modulo 2^32.
//
// A tile of side x side outputs takes (side + 2)^2 products a channel pair instead of 9 side^2. All transforms have
// integer coefficients, so what comes out is the sum of products times a constant 2^a 9^b: 16-bit inputs and weights
// are multiplied exactly, sums wrap modulo 2^32, the odd factor is undone by its inverse modulo 2^32 and the power of
// two by an arithmetic shift. That gives the sum itself as long as 2^a times it fits 32 bits, which is checked when
// the weights are packed: channels are taken in as many parts as it needs, whose sums are added.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "api.h"
#include "buffer.h"
#include "kernel.h"

namespace unmask {

struct WinogradKernel {
  int side;   // outputs along a side of a tile
  int scale;  // sums come out exact while 2^scale times them fits 32 bits
  // (side + 2)^2 pixels of `channels` int8, rescaled by 2^-shift, as 16-bit numbers, `position` apart, padded with 0 to
  // 16 channels; `roomy` when channels can be read 16 at a time, those that there are not too
  void (*input)(const int8_t* const* pixels, int channels, bool roomy, int shift, int16_t* to, ptrdiff_t position);
  // products[count][16] of tiles, `row` 16-bit numbers apart, by weights [pairs][16][2]; count is a multiple of 6
  void (*multiply)(const int16_t* tiles, ptrdiff_t row, int count, const int16_t* weights, int pairs,
                   int32_t* products);
  // products, `position` apart, of 16 channels to side^2 sums of 16 channels; `add` to what is there
  void (*output)(const int32_t* products, ptrdiff_t position, int32_t* sums, bool add);
  // the same and the epilogue, where it is narrow, shifts right and has no table; by its doubling
  void (*finish[2])(const Epilogue& epilogue, const int32_t* products, ptrdiff_t position, int channel,
                    int8_t* const* outs);
};

const WinogradKernel& avx2_winograd(int side);

class Winograd {
 public:
  // weights [made][3][3][channels]; negative [channels]: whether a channel can be below 0. Throws
  // std::invalid_argument for a convolution that it cannot do.
  Winograd(const UnmaskConvolution& spec, const int8_t* weights, const uint8_t* negative);
  void run(const Sources& sources, int images, const Epilogue& epilogue, Finish finish, int8_t* y) const;

  int parts() const { return static_cast<int>(parts_.size()) - 1; }

 private:
  struct Work;
  static void work(void* context, int index);
  void block(const Work& work, int first, int last, int begin, int end) const;
  void load(const Work& work, int first, int last) const;
  bool gather(const UnmaskSource& source, int images, int tile, const int8_t** pixels) const;
  void multiply(const Work& work, int tiles, int group, int count, int part) const;
  void place(const Work& work, int first, int last) const;
  bool fits(const int8_t* weights, const uint8_t* negative, int parts) const;
  template <int SIDE>
  void pack(const int8_t* weights);

  UnmaskConvolution spec_;
  const WinogradKernel* kernel_;
  int positions_, tiles_y_, tiles_x_, pairs_, blocks_;
  ptrdiff_t row_;           // 16-bit numbers a tile and position
  std::vector<int> parts_;  // first channel of each part, and the end
  Buffer<int16_t> weights_;  // [block][position][pair][16][2]
  std::vector<int8_t> zeros_;
};

}  // namespace unmask
