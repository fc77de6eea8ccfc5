// Blocks of pixels, widened once and multiplied by every block of output channels of every pixel of the window.
#include "pointwise.h"

#include <algorithm>
#include <atomic>
#include <new>
#include <stdexcept>

#include "integers.h"
#include "pool.h"
#include "target.h"

namespace unmask {

namespace {

constexpr int CHANNELS = 16, PIXELS = 6;  // of one call of the multiplication
constexpr int INPUT_BYTES = 64 << 10;     // of a block of pixels: they stay in a core's cache
constexpr int FEWEST_PIXELS = 24, MOST_PIXELS = 384;

const PointwiseKernel* kernel_for(const UnmaskConvolution& s) {
#if UNMASK_X86
  const bool one = s.kernel_height == 1 && s.kernel_width == 1 && s.stride_height == 1 && s.stride_width == 1;
  const bool tiled = s.transposed && s.kernel_height == s.stride_height && s.kernel_width == s.stride_width;
  const bool whole = s.left == 0 && s.top == 0 && s.out_height == s.height * s.stride_height &&
                     s.out_width == s.width * s.stride_width;  // no padding, nothing cut off
  if (s.isa >= AVX2 && (one || tiled) && whole && !s.depthwise) return &avx2_pointwise();
#endif
  static_cast<void>(s);
  throw std::invalid_argument("a pixel is made of several");
}

struct Scratch {
  Buffer<int16_t> inputs;
  Buffer<int32_t> sums;
  std::vector<int8_t*> outs;
};

Scratch& scratch() {
  static thread_local Scratch mine;
  return mine;
}

}  // namespace

struct Pointwise::Work {
  const Pointwise* self;
  Sources sources;
  int8_t* y;
  const Epilogue* epilogue;
  Finish finish;
  int pixels, pixels_a_block, chunks;
  std::atomic<bool> failed{false};
};

Pointwise::Pointwise(const UnmaskConvolution& spec, const int8_t* weights)
    : spec_(spec),
      kernel_(kernel_for(spec)),
      pairs_(ceil_div(spec.channels, 2)),
      blocks_(ceil_div(spec.made, CHANNELS)),
      phases_(spec.kernel_height * spec.kernel_width),
      row_(round_up(spec.channels, CHANNELS) + 2 * CHANNELS) {  // not a power of two: pixels share no cache set
  const size_t block = static_cast<size_t>(pairs_) * 2 * CHANNELS, count = block * blocks_ * phases_;
  weights_.reserve(count);
  std::fill_n(weights_.data(), count, int16_t{0});
  for (int phase = 0; phase < phases_; ++phase) {
    const int8_t* tap = weights + static_cast<ptrdiff_t>(phases_ - 1 - phase) * spec.channels;  // windows are mirrored
    for (int made = 0; made < spec.made; ++made, tap += static_cast<ptrdiff_t>(phases_) * spec.channels) {
      int16_t* to = weights_.data() + static_cast<size_t>(phase * blocks_ + made / CHANNELS) * block;
      for (int c = 0; c < spec.channels; ++c) to[(c / 2 * CHANNELS + made % CHANNELS) * 2 + c % 2] = tap[c];
    }
  }
}

void Pointwise::run(const Sources& sources, int images, const Epilogue& epilogue, Finish finish, int8_t* y) const {
  Work work{};
  work.self = this;
  work.sources = sources;
  work.y = y;
  work.epilogue = &epilogue;
  work.finish = finish;
  work.pixels = images * spec_.height * spec_.width;
  const int most = std::clamp(static_cast<int>(INPUT_BYTES / (2 * row_)), FEWEST_PIXELS, MOST_PIXELS);
  int count = ceil_div(work.pixels, most);
  work.pixels_a_block = round_up(ceil_div(work.pixels, count), PIXELS);  // blocks of one size
  count = ceil_div(work.pixels, work.pixels_a_block);
  work.chunks = std::clamp(ceil_div(threads() == 1 ? 1 : 2 * threads(), count), 1, phases_ * blocks_);
  parallel(count * work.chunks, &Pointwise::work, &work);
  if (work.failed) throw std::bad_alloc();
}

void Pointwise::work(void* context, int index) {
  Work& work = *static_cast<Work*>(context);
  const Pointwise& self = *work.self;
  const int chunk = index % work.chunks, first = index / work.chunks * work.pixels_a_block;
  const int64_t blocks = int64_t{self.phases_} * self.blocks_;
  try {
    self.block(work, first, std::min(first + work.pixels_a_block, work.pixels),
               static_cast<int>(blocks * chunk / work.chunks), static_cast<int>(blocks * (chunk + 1) / work.chunks));
  } catch (const std::bad_alloc&) {
    work.failed = true;
  }
}

void Pointwise::block(const Work& work, int first, int last, int begin, int end) const {
  const int count = last - first, padded = round_up(count, PIXELS);
  const size_t size = static_cast<size_t>(pairs_) * 2 * CHANNELS;
  Scratch& mine = scratch();
  mine.inputs.reserve(static_cast<size_t>(work.pixels_a_block) * row_);
  mine.sums.reserve(static_cast<size_t>(padded) * CHANNELS);
  load(work, first, last);
  int phase = -1;
  for (int index = begin; index < end; ++index) {
    if (index / blocks_ != phase) place(work, first, last, phase = index / blocks_);
    const int channel = index % blocks_ * CHANNELS, present = std::min(CHANNELS, spec_.made - channel);
    kernel_->multiply(mine.inputs.data(), row_, padded, weights_.data() + static_cast<size_t>(index) * size, pairs_,
                      mine.sums.data());
    work.finish(*work.epilogue, channel, present, CHANNELS, mine.sums.data(), mine.outs.data(), count);
  }
}

void Pointwise::load(const Work& work, int first, int last) const {
  int16_t* to = scratch().inputs.data();
  for (int i = 0; i < work.sources.count; ++i) {
    const UnmaskSource& source = work.sources.of[i];
    const int kept = ceil_div(CHANNELS, source.channels);  // behind them the source may end within 16 bytes
    const int roomy = std::clamp(work.pixels - kept - first, 0, last - first);
    kernel_->widen(source.x + static_cast<ptrdiff_t>(first) * source.channels, last - first, source.channels, roomy,
                   source.shift, to, row_);
    to += source.channels;  // what the last 16 channels had too many is written over
  }
}

// Where a phase of pixels [first, last) goes.
void Pointwise::place(const Work& work, int first, int last, int phase) const {
  const int below = phase / spec_.kernel_width, right = phase % spec_.kernel_width;
  std::vector<int8_t*>& outs = scratch().outs;
  outs.resize(static_cast<size_t>(last - first));
  int x = first % spec_.width, line = first / spec_.width;  // lines of all images: each becomes as many as all others
  for (int8_t*& out : outs) {
    const ptrdiff_t y = static_cast<ptrdiff_t>(line) * spec_.stride_height + below;
    out = work.y + (y * spec_.out_width + static_cast<ptrdiff_t>(x) * spec_.stride_width + right) * spec_.made;
    if (++x == spec_.width) x = 0, ++line;
  }
}

}  // namespace unmask
