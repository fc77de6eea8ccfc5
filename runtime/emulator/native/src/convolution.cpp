// How a convolution runs: taps of each phase, padded lines of a tile, blocks of channels.
//
// Input is copied, a tile of rows at a time, into padded lines that stay in a core's cache, and there becomes unsigned:
// a channel that can be negative is x + 128, and 128 times the sum of its weights is taken off the bias. A step of a
// kernel reads 4 (AMX: 64) successive bytes of a line, so taps that lie side by side are one run of bytes.
#include "convolution.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "elementwise.h"
#include "integers.h"
#include "pool.h"
#include "target.h"

namespace unmask {

namespace {

constexpr size_t TILE_BYTES = 160 << 10;  // of padded lines: beside a block's weights in a core's second-level cache
constexpr int TASKS_A_THREAD = 4;

int floor_mod(int a, int b) { return ((a % b) + b) % b; }

const Kernel& kernel_for(int isa, bool depthwise) {
#if UNMASK_HAS_AMX || defined(UNMASK_SOFTWARE_MODEL)
  if (!depthwise && isa >= AMX) return amx_kernel();
#endif
#if UNMASK_X86 || defined(UNMASK_SOFTWARE_MODEL)
  if (!depthwise && isa >= VNNI) return vnni_kernel();
#endif
#if UNMASK_X86
  if (isa >= AVX2) return depthwise ? avx2_depthwise() : avx2_kernel();
#endif
  static_cast<void>(isa);
  return depthwise ? portable_depthwise() : portable_kernel();
}

Finish finish_for(int isa) {
#if UNMASK_X86
  if (isa >= AVX2) return avx2_finish;
#endif
  static_cast<void>(isa);
  return portable_finish;
}

// A thread's own memory; grows to what its largest tile needs.
struct Scratch {
  std::vector<uint8_t> lines;
  std::vector<int16_t> wide;
  std::vector<const uint8_t*> strips;
  std::vector<const int16_t*> wide_strips;
  std::vector<int8_t*> outs;
};

Scratch& scratch() {
  static thread_local Scratch mine;
  return mine;
}

}  // namespace

struct Convolution::Work {
  const Convolution* self;
  Sources sources;
  int8_t* y;
  int tiles, rows, chunks;
  std::atomic<bool> failed{false};
};

std::vector<Convolution::Tap> Convolution::taps(int phase_y, int phase_x, const int8_t* weights) const {
  const UnmaskConvolution& s = spec_;
  std::vector<Tap> found;
  for (int ky = 0; ky < s.kernel_height; ++ky) {
    for (int kx = 0; kx < s.kernel_width; ++kx) {
      const int8_t* at = weights + (static_cast<size_t>(ky) * s.kernel_width + kx) * s.channels;
      if (!s.transposed) {
        found.push_back({ky * s.dilation_height - s.top, kx * s.dilation_width - s.left, at});
        continue;
      }
      const int y = phase_y + ky - (s.kernel_height - 1 - s.top), x = phase_x + kx - (s.kernel_width - 1 - s.left);
      if (floor_mod(y, s.stride_height) == 0 && floor_mod(x, s.stride_width) == 0)
        found.push_back({(y - floor_mod(y, s.stride_height)) / s.stride_height,
                         (x - floor_mod(x, s.stride_width)) / s.stride_width, at});
    }
  }
  return found;
}

Convolution::Convolution(const UnmaskConvolution& spec, const int8_t* weights, const int64_t* half_steps,
                         const uint8_t* negative, const int8_t* table)
    : spec_(spec),
      kernel_(&kernel_for(spec.isa, spec.depthwise != 0)),
      finish_(finish_for(spec.isa)),
      stride_in_y_(spec.transposed ? 1 : spec.stride_height),
      stride_in_x_(spec.transposed ? 1 : spec.stride_width),
      stride_out_y_(spec.transposed ? spec.stride_height : 1),
      stride_out_x_(spec.transposed ? spec.stride_width : 1),
      weight_stride_(static_cast<size_t>(spec.kernel_height) * spec.kernel_width * spec.channels),
      negative_(negative, negative + spec.channels) {
  if (spec_.depthwise) std::fill(negative_.begin(), negative_.end(), uint8_t{0});  // its kernels take signed bytes
  if (table != nullptr) table_.assign(table, table + 256);

  struct Phase {
    int y, x;
    std::vector<Tap> taps;
  };
  std::vector<Phase> phases;
  for (int y = 0; y < std::min(stride_out_y_, spec.out_height); ++y)
    for (int x = 0; x < std::min(stride_out_x_, spec.out_width); ++x) phases.push_back({y, x, taps(y, x, weights)});
  bool first = true;
  for (const Phase& phase : phases) {
    for (const Tap& tap : phase.taps) {
      low_y_ = first ? tap.dy : std::min(low_y_, tap.dy);
      low_x_ = first ? tap.dx : std::min(low_x_, tap.dx);
      high_y_ = first ? tap.dy : std::max(high_y_, tap.dy);
      high_x_ = first ? tap.dx : std::max(high_x_, tap.dx);
      first = false;
    }
  }
  grid_height_ = ceil_div(spec.out_height, stride_out_y_);
  grid_width_ = ceil_div(spec.out_width, stride_out_x_);

  if (spec.tile != 0) {
    if (spec.tile == 1) pointwise_ = std::make_unique<Pointwise>(spec, weights);
    else winograd_ = std::make_unique<Winograd>(spec, weights, negative);
    std::fill(negative_.begin(), negative_.end(), uint8_t{0});  // its kernels take signed bytes
  } else {
    choose_wide(phases.front().taps);
  }
  offset_ = std::any_of(negative_.begin(), negative_.end(), [](uint8_t n) { return n != 0; });
  const bool inside = low_y_ >= 0 && low_x_ >= 0 && (grid_height_ - 1) * stride_in_y_ + high_y_ < spec.height &&
                      (grid_width_ - 1) * stride_in_x_ + high_x_ < spec.width;
  const int step_bytes = spec.depthwise ? kernel_->channels : 4 * kernel_->quads;
  direct_ = inside && !offset_ && kernel_->pixels == 1 && spec.channels % step_bytes == 0;
  if (direct_) low_y_ = low_x_ = 0;
  columns_ = direct_ ? spec.width : (grid_width_ - 1) * stride_in_x_ + high_x_ - low_x_ + 1;
  line_ = static_cast<ptrdiff_t>(columns_) * spec.channels;
  slack_ = static_cast<size_t>(kernel_->pixels) * stride_in_x_ * spec.channels + static_cast<size_t>(step_bytes);
  const double furthest = (static_cast<double>(high_y_ - low_y_) + 1) * static_cast<double>(line_);
  if (furthest > std::numeric_limits<int32_t>::max() / 2) throw std::invalid_argument("lines are too long");
  if (!direct_) {
    pattern_.assign(static_cast<size_t>(line_), 0);
    for (size_t i = 0; i < pattern_.size(); ++i)
      pattern_[i] = negative_[i % static_cast<size_t>(spec.channels)] ? 0x80 : 0;
  }

  epilogue_.low = spec.low;
  epilogue_.high = spec.high;
  epilogue_.leaky = spec.leaky != 0;
  epilogue_.wide_shift = spec.shift;
  epilogue_.table = table_.empty() ? nullptr : table_.data();
  const bool whole = std::all_of(half_steps, half_steps + spec.made, [](int64_t h) { return h % 2 == 0; });
  epilogue_.doubling = whole && spec.shift >= 1 ? 0 : 1;
  epilogue_.shift = spec.shift - 1 + epilogue_.doubling;
  epilogue_.narrow = !epilogue_.leaky && epilogue_.shift <= 30;
  for (const Phase& phase : phases) add_part(phase.y, phase.x, phase.taps, half_steps);
}

int Convolution::rows_a_tile() const {
  const ptrdiff_t bytes = (direct_ ? 0 : line_) + ptrdiff_t{2} * columns_ * wide_pixel_;
  const ptrdiff_t lines = static_cast<ptrdiff_t>(TILE_BYTES) / std::max<ptrdiff_t>(bytes, line_) - (high_y_ - low_y_);
  return static_cast<int>(std::clamp<ptrdiff_t>(lines / stride_in_y_, 1, grid_height_));
}

void Convolution::run(const Sources& sources, int images, int8_t* y) const {
  if (sources.count > MOST_SOURCES || (!joins() && !sources.plain())) throw std::invalid_argument("several sources");
  if (spec_.tile != 0) {
    Epilogue epilogue = epilogue_;
    epilogue.bias = parts_.front().bias.data();
    epilogue.wide_bias = parts_.front().wide_bias.data();
    if (pointwise_ != nullptr) pointwise_->run(sources, images, epilogue, finish_, y);
    else winograd_->run(sources, images, epilogue, finish_, y);
    return;
  }
  Work work{};
  work.self = this;
  work.sources = sources;
  work.y = y;
  work.rows = rows_a_tile();
  work.tiles = ceil_div(grid_height_, work.rows);
  work.rows = ceil_div(grid_height_, work.tiles);  // tiles of one size
  work.tiles = ceil_div(grid_height_, work.rows);
  const int blocks = ceil_div(spec_.made, kernel_->channels), wanted = threads() == 1 ? 1 : TASKS_A_THREAD * threads();
  work.chunks = std::clamp(ceil_div(wanted, images * work.tiles), 1, blocks);
  parallel(images * work.tiles * work.chunks, &Convolution::work, &work);
  if (work.failed) throw std::bad_alloc();
}

void Convolution::work(void* context, int index) {
  Work& work = *static_cast<Work*>(context);
  const Convolution& self = *work.self;
  const int blocks = ceil_div(self.spec_.made, self.kernel_->channels);
  const int chunk = index % work.chunks, tile = index / work.chunks % work.tiles;
  const int image = index / work.chunks / work.tiles;
  const int begin = static_cast<int>(int64_t{blocks} * chunk / work.chunks);
  const int end = static_cast<int>(int64_t{blocks} * (chunk + 1) / work.chunks);
  const int first = tile * work.rows, last = std::min(first + work.rows, self.grid_height_);
  try {
    self.rows(work, image, first, last, begin, end);
  } catch (const std::bad_alloc&) {
    work.failed = true;
  }
}

void Convolution::rows(const Work& work, int image, int first, int last, int begin, int end) const {
  const size_t out = static_cast<size_t>(spec_.out_height) * spec_.out_width * spec_.made;
  const Lines base = lines(work.sources, image, first, last);
  if (kernel_->start != nullptr) kernel_->start();
  int8_t* y = work.y + static_cast<size_t>(image) * out;
  for (const Part& part : parts_) part_tile(part, base, first, std::min(last, part.grid_height), y, begin, end);
  if (kernel_->stop != nullptr) kernel_->stop();
}

Convolution::Lines Convolution::lines(const Sources& sources, int image, int first, int last) const {
  const int top = first * stride_in_y_ + low_y_, count = (last - 1 - first) * stride_in_y_ + high_y_ - low_y_ + 1;
  const int8_t* x = sources.of[0].x + static_cast<size_t>(image) * spec_.height * spec_.width * spec_.channels;
  if (wide_count_ > 0) fill_wide(x, top, count);
  const int16_t* wide = scratch().wide.data();
  if (direct_) return {reinterpret_cast<const uint8_t*>(x) + top * line_, wide};
  fill_lines(sources, image, top, count);
  return {scratch().lines.data(), wide};
}

void Convolution::fill_lines(const Sources& sources, int image, int top, int count) const {
  std::vector<uint8_t>& buffer = scratch().lines;
  const size_t line = static_cast<size_t>(line_), needed = static_cast<size_t>(count) * line + slack_;
  if (buffer.size() < needed) buffer.resize(needed);
  if (wide_count_ == spec_.channels) return;  // no byte of it counts
  const int left = std::clamp(low_x_, 0, spec_.width), right = std::clamp(low_x_ + columns_, 0, spec_.width);
  const size_t before = static_cast<size_t>(left - low_x_) * spec_.channels;
  const size_t inside = right > left ? static_cast<size_t>(right - left) * spec_.channels : 0;
  for (int i = 0; i < count; ++i) {
    uint8_t* to = buffer.data() + static_cast<size_t>(i) * line;
    const int y = top + i;
    if (y < 0 || y >= spec_.height || inside == 0) {
      std::memcpy(to, pattern_.data(), line);
      continue;
    }
    std::memcpy(to, pattern_.data(), before);
    read(sources, (static_cast<size_t>(image) * spec_.height + y) * spec_.width + left, right - left, to + before);
    const uint8_t* with = pattern_.data() + before;
    if (offset_) for (size_t k = 0; k < inside; ++k) to[before + k] ^= with[k];
    std::memcpy(to + before + inside, with + inside, line - before - inside);
  }
}

// `pixels` pixels from `pixel` on, all channels of a pixel together.
void Convolution::read(const Sources& sources, size_t pixel, int pixels, uint8_t* to) const {
  if (sources.plain()) {
    std::memcpy(to, sources.of[0].x + pixel * spec_.channels, static_cast<size_t>(pixels) * spec_.channels);
    return;
  }
  const int8_t* from[MOST_SOURCES];
  int64_t widths[MOST_SOURCES];
  int32_t shifts[MOST_SOURCES];
  for (int i = 0; i < sources.count; ++i) {
    from[i] = sources.of[i].x + pixel * sources.of[i].channels;
    widths[i] = sources.of[i].channels;
    shifts[i] = sources.of[i].shift;
  }
  concat_here(sources.count, from, widths, shifts, pixels, reinterpret_cast<int8_t*>(to), spec_.isa);
}

void Convolution::fill_wide(const int8_t* image, int top, int count) const {
  std::vector<int16_t>& buffer = scratch().wide;
  const size_t pixel = static_cast<size_t>(wide_pixel_), line = pixel * static_cast<size_t>(columns_);
  if (buffer.size() < static_cast<size_t>(count) * line) buffer.resize(static_cast<size_t>(count) * line);
  for (int i = 0; i < count; ++i) {
    int16_t* to = buffer.data() + static_cast<size_t>(i) * line;
    const int y = top + i;
    if (y < 0 || y >= spec_.height) {
      std::fill_n(to, line, int16_t{0});
      continue;
    }
    for (int column = 0; column < columns_; ++column, to += pixel) {
      const int x = low_x_ + column;
      if (x < 0 || x >= spec_.width) {
        std::fill_n(to, pixel, int16_t{0});
        continue;
      }
      const int8_t* from = image + (static_cast<size_t>(y) * spec_.width + x) * spec_.channels + wide_first_;
      to[pixel - 1] = 0;
      for (int c = 0; c < wide_count_; ++c) to[c] = from[c];
    }
  }
}

void Convolution::part_tile(const Part& part, Lines base, int first, int last, int8_t* out, int begin,
                            int end) const {
  const int pixels = kernel_->pixels, strips_a_call = kernel_->strips, made = spec_.made;
  const int strips_a_row = ceil_div(part.grid_width, pixels);
  const int strips = std::max(0, last - first) * strips_a_row, padded = ceil_div(strips, strips_a_call) * strips_a_call;
  if (strips == 0) return;
  std::vector<const uint8_t*>& from = scratch().strips;
  std::vector<int8_t*>& to = scratch().outs;
  std::vector<const int16_t*>& wide = scratch().wide_strips;
  from.resize(static_cast<size_t>(padded));
  to.assign(static_cast<size_t>(padded) * pixels, nullptr);
  wide.resize(wide_count_ > 0 ? static_cast<size_t>(padded) : 0);
  const ptrdiff_t step = static_cast<ptrdiff_t>(stride_in_x_) * spec_.channels;
  size_t strip = 0;
  for (int y = first; y < last; ++y) {
    const ptrdiff_t row = static_cast<ptrdiff_t>(y - first) * stride_in_y_;
    const int y_out = y * stride_out_y_ + part.first_y;
    int8_t* place = out + (static_cast<size_t>(y_out) * spec_.out_width + part.first_x) * made;
    for (int x = 0; x < part.grid_width; x += pixels, ++strip) {
      from[strip] = base.bytes + row * line_ + x * step;
      if (wide_count_ > 0)
        wide[strip] = base.wide + (row * columns_ + static_cast<ptrdiff_t>(x) * stride_in_x_) * wide_pixel_;
      for (int p = 0; p < std::min(pixels, part.grid_width - x); ++p)
        to[strip * pixels + p] = place + static_cast<ptrdiff_t>(x + p) * stride_out_x_ * made;
    }
  }
  std::fill(from.begin() + strips, from.end(), from[static_cast<size_t>(strips) - 1]);  // computed and dropped
  if (wide_count_ > 0) std::fill(wide.begin() + strips, wide.end(), wide[static_cast<size_t>(strips) - 1]);
  alignas(64) int32_t sums[MAX_TILE];
  Epilogue epilogue = epilogue_;
  epilogue.bias = part.bias.data();
  epilogue.wide_bias = part.wide_bias.data();
  for (int index = begin; index < end; ++index) {
    const Part::Place& place = part.blocks[static_cast<size_t>(index)];
    const Block block{part.offsets.data() + place.offsets, part.weights.data() + place.weights,
                      part.runs.data() + place.runs, place.run_count, place.steps,
                      part.wide_offsets.data() + place.wide_offsets, part.wide_weights.data() + place.wide_weights,
                      place.wide_steps};
    const int channel = index * kernel_->channels, count = std::min(kernel_->channels, made - channel);
    for (int at = 0; at < padded; at += strips_a_call) {
      kernel_->run(from.data() + at, step, block, sums);
      if (block.wide_steps > 0) kernel_->run_wide(wide.data() + at, block, sums);
      finish_(epilogue, channel, count, kernel_->channels, sums, to.data() + static_cast<ptrdiff_t>(at) * pixels,
              strips_a_call * pixels);
    }
  }
}

}  // namespace unmask
