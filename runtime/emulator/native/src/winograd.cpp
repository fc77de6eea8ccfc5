// How tiles are cut from images, in blocks that stay in a core's cache; how weights are transformed and proved safe.
#include "winograd.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <new>
#include <stdexcept>

#include "integers.h"
#include "pool.h"
#include "target.h"

namespace unmask {

namespace {

constexpr int CHANNELS = 16, TILES = 6;  // of one call of the multiplication
constexpr int MOST_CHANNELS = 1 << 14;  // their weights' sum fits 32 bits; tiles.py asks for no more
constexpr int INPUT_BYTES = 256 << 10, PRODUCT_BYTES = 192 << 10;  // of a block of tiles: they stay in a core's cache
constexpr int FEWEST_TILES = 54, MOST_TILES = 96;

const WinogradKernel* kernel_for(const UnmaskConvolution& s) {
#if UNMASK_X86
  const bool square = s.kernel_height == 3 && s.kernel_width == 3 && s.stride_height == 1 && s.stride_width == 1 &&
                      s.dilation_height == 1 && s.dilation_width == 1;
  if (s.isa >= AVX2 && square && !s.depthwise && !s.transposed && s.channels <= MOST_CHANNELS &&
      (s.tile == 2 || s.tile == 4))
    return &avx2_winograd(s.tile);
#endif
  static_cast<void>(s);
  throw std::invalid_argument("no such tiles");
}

struct Scratch {
  Buffer<int16_t> inputs;
  Buffer<int32_t> products, sums;
  std::vector<int8_t*> outs;
};

Scratch& scratch() {
  static thread_local Scratch mine;
  return mine;
}

// One dimension of the weights' transform, integer; w[0] and w[side + 1] carry what the sums' transform leaves out.
template <int SIDE>
UNMASK_INLINE void spread(const int16_t* a, const int16_t* b, const int16_t* c, int16_t* const* w, int count) {
  for (int i = 0; i < count; ++i) {
    const int16_t even = static_cast<int16_t>(a[i] + c[i]);
    w[1][i] = static_cast<int16_t>(even + b[i]);
    w[2][i] = static_cast<int16_t>(even - b[i]);
    if (SIDE == 4) {
      const int16_t far = static_cast<int16_t>(a[i] + 4 * c[i]), twice = static_cast<int16_t>(2 * b[i]);
      w[3][i] = static_cast<int16_t>(far + twice);
      w[4][i] = static_cast<int16_t>(far - twice);
    }
    w[0][i] = static_cast<int16_t>((SIDE == 4 ? 6 : 2) * a[i]);
    w[SIDE + 1][i] = static_cast<int16_t>((SIDE == 4 ? 6 : 2) * c[i]);
  }
}

}  // namespace

struct Winograd::Work {
  const Winograd* self;
  Sources sources;
  int8_t* y;
  const Epilogue* epilogue;
  Finish finish;
  int tiles, tiles_a_block, chunks, group;
  ptrdiff_t position, product_position;  // from a position's numbers to the next's
  std::atomic<bool> failed{false};
};

Winograd::Winograd(const UnmaskConvolution& spec, const int8_t* weights, const uint8_t* negative)
    : spec_(spec),
      kernel_(kernel_for(spec)),
      positions_((spec.tile + 2) * (spec.tile + 2)),
      tiles_y_(ceil_div(spec.out_height, spec.tile)),
      tiles_x_(ceil_div(spec.out_width, spec.tile)),
      pairs_(ceil_div(spec.channels, 2)),
      blocks_(ceil_div(spec.made, CHANNELS)),
      row_(round_up(spec.channels, CHANNELS) + 2 * CHANNELS),  // not a power of two: rows of tiles share no cache set
      zeros_(static_cast<size_t>(spec.channels) + CHANNELS, 0) {
  int parts = 1;
  while (!fits(weights, negative, parts)) {
    if (2 * parts >= spec.channels) throw std::invalid_argument("sums do not fit");
    ++parts;
  }
  for (int part = 0; part < parts; ++part) parts_.push_back(round_up(spec.channels * part / parts, 2));
  parts_.push_back(2 * pairs_);
  if (spec.tile == 4) pack<4>(weights);
  else pack<2>(weights);
}

// Whether the sums of each of `parts` equal parts of the channels are within [-limit, limit): inputs are within
// [0, 127], [-128, 127] where they can be negative.
bool Winograd::fits(const int8_t* weights, const uint8_t* negative, int parts) const {
  const int64_t limit = int64_t{1} << (31 - kernel_->scale);
  const int channels = spec_.channels;
  std::vector<int8_t> signs(static_cast<size_t>(channels));  // all bits of a channel that can be negative
  for (int c = 0; c < channels; ++c) signs[static_cast<size_t>(c)] = negative[c] ? -1 : 0;
  for (int made = 0; made < spec_.made; ++made) {
    for (int part = 0; part < parts; ++part) {
      const int begin = round_up(channels * part / parts, 2);
      const int end = part + 1 == parts ? channels : round_up(channels * (part + 1) / parts, 2);
      int32_t above = 0, below = 0, signed_above = 0, signed_below = 0;  // sums of weights of either sign
      for (int tap = 0; tap < 9; ++tap) {
        const int8_t* w = weights + (static_cast<ptrdiff_t>(made) * 9 + tap) * channels;
        for (int c = begin; c < end; ++c) {
          const int32_t up = w[c] > 0 ? w[c] : 0, down = w[c] < 0 ? w[c] : 0, sign = signs[static_cast<size_t>(c)];
          above += up;
          below += down;
          signed_above += up & sign;
          signed_below += down & sign;
        }
      }
      const int64_t most = int64_t{127} * above - int64_t{128} * signed_below;
      const int64_t fewest = int64_t{127} * below - int64_t{128} * signed_above;
      if (most >= limit || fewest < -limit) return false;
    }
  }
  return true;
}

template <int SIDE>
void Winograd::pack(const int8_t* weights) {
  constexpr int EDGE = SIDE + 2, LANES = 2 * CHANNELS;
  const size_t plane = static_cast<size_t>(pairs_) * LANES;  // of a position
  weights_.reserve(static_cast<size_t>(blocks_) * EDGE * EDGE * plane);
  const int channels = spec_.channels;
  for (int block = 0; block < blocks_; ++block) {
    const int present = std::min(CHANNELS, spec_.made - block * CHANNELS);
    int16_t* to = weights_.data() + static_cast<size_t>(block) * EDGE * EDGE * plane;
    for (int pair = 0; pair < pairs_; ++pair, to += LANES) {
      int8_t bytes[9][LANES] = {};
      int16_t taps[9][LANES], half[EDGE][3][LANES];
      for (int made = 0; made < present; ++made) {
        const int8_t* from = weights + static_cast<ptrdiff_t>(block * CHANNELS + made) * 9 * channels + 2 * pair;
        for (int tap = 0; tap < 9; ++tap, from += channels) {
          if (2 * pair + 1 < channels) std::memcpy(&bytes[tap][2 * made], from, 2);
          else bytes[tap][2 * made] = from[0];
        }
      }
      for (int tap = 0; tap < 9; ++tap)
        for (int i = 0; i < LANES; ++i) taps[tap][i] = bytes[tap][i];
      for (int x = 0; x < 3; ++x) {
        int16_t* into[EDGE];
        for (int y = 0; y < EDGE; ++y) into[y] = half[y][x];
        spread<SIDE>(taps[x], taps[3 + x], taps[6 + x], into, LANES);
      }
      for (int y = 0; y < EDGE; ++y) {
        int16_t* into[EDGE];
        for (int x = 0; x < EDGE; ++x) into[x] = to + static_cast<size_t>(y * EDGE + x) * plane;
        spread<SIDE>(half[y][0], half[y][1], half[y][2], into, LANES);
      }
    }
  }
}

void Winograd::run(const Sources& sources, int images, const Epilogue& epilogue, Finish finish, int8_t* y) const {
  Work work{};
  work.self = this;
  work.sources = sources;
  work.y = y;
  work.epilogue = &epilogue;
  work.finish = finish;
  work.tiles = images * tiles_y_ * tiles_x_;
  const int most = std::clamp(static_cast<int>(INPUT_BYTES / (2 * positions_ * row_)), FEWEST_TILES, MOST_TILES);
  int count = ceil_div(work.tiles, most);
  work.tiles_a_block = round_up(ceil_div(work.tiles, count), TILES);  // blocks of one size
  count = ceil_div(work.tiles, work.tiles_a_block);
  const int wanted = threads() == 1 ? 1 : 2 * threads();
  work.chunks = std::clamp(ceil_div(wanted, count), 1, blocks_);
  work.position = work.tiles_a_block * row_ + 2 * CHANNELS;
  work.product_position = (work.tiles_a_block + 1) * CHANNELS;
  work.group = std::clamp(static_cast<int>(PRODUCT_BYTES / (4 * positions_ * work.product_position)), 1, 8);
  parallel(count * work.chunks, &Winograd::work, &work);
  if (work.failed) throw std::bad_alloc();
}

void Winograd::work(void* context, int index) {
  Work& work = *static_cast<Work*>(context);
  const Winograd& self = *work.self;
  const int chunk = index % work.chunks, first = index / work.chunks * work.tiles_a_block;
  const int begin = static_cast<int>(int64_t{self.blocks_} * chunk / work.chunks);
  const int end = static_cast<int>(int64_t{self.blocks_} * (chunk + 1) / work.chunks);
  try {
    self.block(work, first, std::min(first + work.tiles_a_block, work.tiles), begin, end);
  } catch (const std::bad_alloc&) {
    work.failed = true;
  }
}

void Winograd::block(const Work& work, int first, int last, int begin, int end) const {
  const int tiles = round_up(last - first, TILES), pixels = kernel_->side * kernel_->side;
  const bool whole = parts() == 1;
  const Epilogue& epilogue = *work.epilogue;
  const bool fast = whole && epilogue.narrow && epilogue.shift >= 0 && epilogue.table == nullptr;
  Scratch& mine = scratch();
  mine.products.reserve(static_cast<size_t>(work.group) * positions_ * work.product_position);
  mine.sums.reserve(static_cast<size_t>(pixels) * CHANNELS * (whole ? 1 : work.group * tiles));
  load(work, first, last);
  place(work, first, last);
  for (int group = begin; group < end; group += work.group) {
    const int count = std::min(work.group, end - group);
    for (int part = 0; part < parts(); ++part) {
      multiply(work, tiles, group, count, part);
      for (int i = 0; i < count; ++i) {
        const int channel = (group + i) * CHANNELS, present = std::min(CHANNELS, spec_.made - channel);
        const int32_t* products = mine.products.data() + i * positions_ * work.product_position;
        int8_t* const* outs = mine.outs.data();
        for (int tile = 0; tile < last - first; ++tile, products += CHANNELS, outs += pixels) {
          if (fast && present == CHANNELS) {
            kernel_->finish[epilogue.doubling](epilogue, products, work.product_position, channel, outs);
            continue;
          }
          int32_t* sums = mine.sums.data() + (whole ? 0 : static_cast<ptrdiff_t>(i * tiles + tile) * pixels * CHANNELS);
          kernel_->output(products, work.product_position, sums, part > 0);
          if (part + 1 == parts()) work.finish(epilogue, channel, present, CHANNELS, sums, outs, pixels);
        }
      }
    }
  }
}

// Products of a block's tiles by `count` blocks of output channels from `group` on, of one part of the channels.
void Winograd::multiply(const Work& work, int tiles, int group, int count, int part) const {
  Scratch& mine = scratch();
  const size_t plane = static_cast<size_t>(pairs_) * 2 * CHANNELS;
  const int from = parts_[static_cast<size_t>(part)], to = parts_[static_cast<size_t>(part) + 1];
  for (int position = 0; position < positions_; ++position) {
    const int16_t* inputs = mine.inputs.data() + position * work.position + from;
    for (int i = 0; i < count; ++i) {
      const int16_t* weights = weights_.data() + static_cast<size_t>((group + i) * positions_ + position) * plane;
      int32_t* products = mine.products.data() + (i * positions_ + position) * work.product_position;
      kernel_->multiply(inputs, row_, tiles, weights + from * CHANNELS, (to - from) / 2, products);
    }
  }
}

// The transformed inputs of tiles [first, last).
void Winograd::load(const Work& work, int first, int last) const {
  Buffer<int16_t>& inputs = scratch().inputs;
  inputs.reserve(static_cast<size_t>(positions_) * work.position);
  const int8_t* pixels[36];
  for (int tile = first; tile < last; ++tile) {
    int16_t* to = inputs.data() + (tile - first) * row_;
    for (int i = 0; i < work.sources.count; ++i) {
      const UnmaskSource& source = work.sources.of[i];
      const bool roomy = gather(source, work.tiles / (tiles_y_ * tiles_x_), tile, pixels);
      kernel_->input(pixels, source.channels, roomy, source.shift, to, work.position);
      to += source.channels;  // what the last 16 channels had too many is written over
    }
  }
}

// The pixels that a tile reads, zeros outside of the image; whether 16 channels at a time stay within the source.
bool Winograd::gather(const UnmaskSource& source, int images, int tile, const int8_t** pixels) const {
  const int edge = kernel_->side + 2, tiles_an_image = tiles_y_ * tiles_x_;
  const ptrdiff_t pixel = source.channels, line = spec_.width * pixel;
  const int image = tile / tiles_an_image, place = tile % tiles_an_image;
  const int top = place / tiles_x_ * kernel_->side - spec_.top, left = place % tiles_x_ * kernel_->side - spec_.left;
  const int begin = std::clamp(-left, 0, edge), end = std::clamp(spec_.width - left, begin, edge);
  const int8_t* x = source.x + image * (spec_.height * line);
  for (int i = 0; i < edge; ++i, pixels += edge) {
    const bool inside = top + i >= 0 && top + i < spec_.height;
    if (!inside || begin > 0 || end < edge) std::fill_n(pixels, edge, zeros_.data());
    if (!inside) continue;
    const ptrdiff_t at = (top + i) * line + left * pixel;
    for (int j = begin; j < end; ++j) pixels[j] = x + (at + j * pixel);
  }
  const ptrdiff_t lines_below = spec_.height - std::min(top + edge, spec_.height) +
                                ptrdiff_t{images - 1 - image} * spec_.height;
  return lines_below * line + (spec_.width - left - end) * pixel >= CHANNELS;  // bytes behind the tile's last pixel
}

// Where the outputs of tiles [first, last) go; null for what lies beyond the image.
void Winograd::place(const Work& work, int first, int last) const {
  const int side = kernel_->side, tiles_an_image = tiles_y_ * tiles_x_;
  const ptrdiff_t pixel = spec_.made, line = spec_.out_width * pixel;
  std::vector<int8_t*>& outs = scratch().outs;
  outs.assign(static_cast<size_t>(last - first) * side * side, nullptr);
  int8_t** to = outs.data();
  for (int tile = first; tile < last; ++tile, to += side * side) {
    const int image = tile / tiles_an_image, place = tile % tiles_an_image;
    const int top = place / tiles_x_ * side, left = place % tiles_x_ * side;
    int8_t* y = work.y + (static_cast<ptrdiff_t>(image) * spec_.out_height + top) * line + left * pixel;
    for (int i = 0; i < std::min(side, spec_.out_height - top); ++i)
      for (int j = 0; j < std::min(side, spec_.out_width - left); ++j) to[i * side + j] = y + i * line + j * pixel;
  }
}

}  // namespace unmask
