// How a convolution's weights are packed: steps, runs of bytes, groups whose 16-bit sums cannot saturate.
#include "convolution.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <limits>
#include <stdexcept>

#include "integers.h"

namespace unmask {

namespace {

constexpr int LONGEST_GROUP = 24, OPEN_GROUPS = 6;

// Cycles that a block's groups take, as measured: short groups are bound by their multiplications.
double cost(const Part& part) {
  double total = 0;
  for (size_t i = 0; i < part.runs.size(); i += 2) {
    const int length = part.runs[i];
    total += part.runs[i + 1] * (length <= 3 ? 6.5 * (length + 1) : 6.5 * length + 10);
  }
  return total;
}

}  // namespace

// Whether channels that can be negative are cheaper as 16-bit numbers: judged by the first block of channels.
void Convolution::choose_wide(const std::vector<Tap>& taps) {
  constexpr double WIDE_STEP = 7;
  const auto begin = std::find(negative_.begin(), negative_.end(), uint8_t{1});
  if (kernel_->run_wide == nullptr || begin == negative_.end()) return;
  const auto end = std::find(negative_.rbegin(), negative_.rend(), uint8_t{1}).base();
  Part bytes, rest;
  pack_groups(bytes, steps(taps, 0));
  wide_first_ = static_cast<int>(begin - negative_.begin());
  wide_count_ = static_cast<int>(end - begin);
  wide_pixel_ = wide_count_ + wide_count_ % 2;
  pack_groups(rest, steps(taps, 0));
  if (cost(rest) + WIDE_STEP * static_cast<double>(taps.size()) * wide_pixel_ / 2 < cost(bytes)) {
    std::fill(negative_.begin(), negative_.end(), uint8_t{0});
  } else {
    wide_first_ = wide_count_ = wide_pixel_ = 0;
  }
}

int32_t Convolution::offset(const Tap& tap) const {
  return static_cast<int32_t>((tap.dy - low_y_) * line_ + static_cast<ptrdiff_t>(tap.dx - low_x_) * spec_.channels);
}

void Convolution::add_part(int phase_y, int phase_x, const std::vector<Tap>& taps, const int64_t* half_steps) {
  const int channels = kernel_->channels, blocks = ceil_div(spec_.made, channels);
  parts_.emplace_back();
  Part& part = parts_.back();
  part.first_y = phase_y;
  part.first_x = phase_x;
  part.grid_height = ceil_div(spec_.out_height - phase_y, stride_out_y_);
  part.grid_width = ceil_div(spec_.out_width - phase_x, stride_out_x_);
  part.bias.assign(static_cast<size_t>(blocks) * channels, 0);
  part.wide_bias.assign(part.bias.size(), 0);
  const int64_t half = epilogue_.shift >= 1 && epilogue_.shift <= 30 ? int64_t{1} << (epilogue_.shift - 1) : 0;
  for (int made = 0; made < spec_.made; ++made) {
    int64_t size = 0, taken_off = 0;
    for (const Tap& tap : taps) {
      const int8_t* w = tap.weights + (spec_.depthwise ? static_cast<size_t>(made) : made * weight_stride_);
      for (int c = 0; c < (spec_.depthwise ? 1 : spec_.channels); ++c) {
        size += std::abs(int{w[c]});
        if (!spec_.depthwise && negative_[static_cast<size_t>(c)]) taken_off += w[c];
      }
    }
    // 2^61: what the rounding of 64-bit numbers takes; 8 bits of it go to a leaky slope
    const int64_t largest = 256 * size + std::abs(half_steps[made]);
    const int left = spec_.shift < 0 ? -spec_.shift : 0;
    if (255 * size > std::numeric_limits<int32_t>::max() || largest >= int64_t{1} << (52 - left))
      throw std::invalid_argument("sums do not fit");
    part.wide_bias[static_cast<size_t>(made)] = half_steps[made] - 256 * taken_off;
    if (largest + 2 * half > std::numeric_limits<int32_t>::max()) epilogue_.narrow = false;
    const int64_t bias = (epilogue_.doubling ? half_steps[made] : half_steps[made] / 2) -
                         (epilogue_.doubling ? 256 : 128) * taken_off;
    part.bias[static_cast<size_t>(made)] = static_cast<int32_t>(static_cast<uint32_t>(bias + half));
  }
  for (int block = 0; block < blocks && spec_.tile == 0; ++block) {
    part.blocks.push_back({part.offsets.size(), part.weights.size(), part.runs.size(), part.wide_offsets.size(),
                           part.wide_weights.size(), 0, 0, 0});
    if (spec_.depthwise) pack_deep(part, taps, block * channels);
    else pack_block(part, taps, block * channels);
    Part::Place& place = part.blocks.back();
    place.run_count = static_cast<int>((part.runs.size() - place.runs) / 2);
    place.steps = static_cast<int>(part.offsets.size() - place.offsets);
    place.wide_steps = static_cast<int>(part.wide_offsets.size() - place.wide_offsets);
  }
  part.offsets.shrink_to_fit();
  part.weights.shrink_to_fit();
  part.wide_weights.shrink_to_fit();
}

void Convolution::pack_deep(Part& part, const std::vector<Tap>& taps, int channel) const {
  for (const Tap& tap : taps) {
    part.offsets.push_back(offset(tap) + channel);
    for (int c = channel; c < channel + kernel_->channels; ++c)
      part.weights.push_back(c < spec_.channels ? tap.weights[c] : int8_t{0});
  }
}

Convolution::Steps Convolution::steps(const std::vector<Tap>& taps, int channel) const {
  const int bytes = 4 * kernel_->quads, present = std::min(kernel_->channels, spec_.made - channel);
  const size_t size = static_cast<size_t>(kernel_->channels) * bytes;
  Steps made;
  std::vector<int8_t> run;
  for (size_t begin = 0; begin < taps.size();) {
    size_t end = begin + 1;
    while (end < taps.size() && taps[end].dy == taps[begin].dy && taps[end].dx == taps[end - 1].dx + 1) ++end;
    const int length = static_cast<int>(end - begin) * spec_.channels, count = ceil_div(length, bytes);
    const size_t first = made.weights.size();
    made.weights.resize(first + count * size, 0);
    for (int step = 0; step < count; ++step) made.offsets.push_back(offset(taps[begin]) + step * bytes);
    for (int byte = 0; byte < count * bytes; ++byte)
      made.ranges.push_back(byte < length && negative_[static_cast<size_t>(byte % spec_.channels)] ? 255 : 127);
    run.assign(static_cast<size_t>(count) * bytes, 0);
    for (int c = 0; c < present; ++c) {
      for (size_t tap = begin; tap < end; ++tap) {
        int8_t* to = run.data() + (tap - begin) * spec_.channels;
        std::memcpy(to, taps[tap].weights + (channel + c) * weight_stride_, static_cast<size_t>(spec_.channels));
        std::fill_n(to + wide_first_, wide_count_, int8_t{0});
      }
      // 16 channels of a quad lie together: a vector of 64 bytes, or a row of a tile
      const int place = kernel_->quads == 1 ? c : c / 16 * 16 * kernel_->quads + c % 16;
      for (int quad = 0; quad < count * kernel_->quads; ++quad)
        std::memcpy(made.weights.data() + first + static_cast<size_t>(quad / kernel_->quads) * size +
                        static_cast<size_t>(quad % kernel_->quads * 16 + place) * 4,
                    run.data() + static_cast<size_t>(quad) * 4, 4);
    }
    begin = end;
  }
  return made;
}

void Convolution::pack_block(Part& part, const std::vector<Tap>& taps, int channel) const {
  const Steps all = steps(taps, channel);
  if (kernel_->grouped) {
    pack_groups(part, all);
    pack_wide(part, taps, channel);
    return;
  }
  part.offsets.insert(part.offsets.end(), all.offsets.begin(), all.offsets.end());
  part.weights.insert(part.weights.end(), all.weights.begin(), all.weights.end());
  part.runs.insert(part.runs.end(), {static_cast<int32_t>(all.offsets.size()), 1});
}

namespace {

// Steps whose products are summed in 16 bits: what the sum of each pair of products can reach at most, both ways.
struct Group {
  static constexpr int LANES = 32;
  std::vector<std::pair<int32_t, const int8_t*>> steps;
  int32_t most[LANES] = {}, least[LANES] = {};
};

struct Reach {
  int32_t most[Group::LANES] = {}, least[Group::LANES] = {};

  Reach(const int8_t* weights, const int* ranges) {
    for (int i = 0; i < Group::LANES; ++i) {
      const int a = weights[2 * i] * ranges[2 * i % 4], b = weights[2 * i + 1] * ranges[2 * i % 4 + 1];
      most[i] = std::max(a, 0) + std::max(b, 0);
      least[i] = std::min(a, 0) + std::min(b, 0);
    }
  }

  bool empty() const {
    return std::all_of(most, most + Group::LANES, [](int32_t m) { return m == 0; }) &&
           std::all_of(least, least + Group::LANES, [](int32_t m) { return m == 0; });
  }

  bool fits(const Group& group) const {
    int over = 0;
    for (int i = 0; i < Group::LANES; ++i)
      over |= (32767 - group.most[i] - most[i]) | (group.least[i] + least[i] + 32768);  // the sign of what is over
    return over >= 0;
  }
};

}  // namespace

void Convolution::pack_groups(Part& part, const Steps& steps) const {
  constexpr size_t SIZE = 2 * Group::LANES;
  std::deque<std::array<int8_t, SIZE>> halves;  // keeps the weights that had to be split
  std::vector<Group> open, closed;
  const auto place = [&](int32_t offset, const int8_t* weights, const Reach& reach) {
    size_t chosen = 0;
    while (chosen < open.size() && !reach.fits(open[chosen])) ++chosen;
    if (chosen == open.size()) {
      if (open.size() == OPEN_GROUPS) {
        closed.push_back(std::move(open.front()));
        open.erase(open.begin());
        --chosen;
      }
      open.emplace_back();
    }
    Group& group = open[chosen];
    group.steps.emplace_back(offset, weights);
    for (int i = 0; i < Group::LANES; ++i) {
      group.most[i] += reach.most[i];
      group.least[i] += reach.least[i];
    }
    if (group.steps.size() == LONGEST_GROUP) {
      closed.push_back(std::move(group));
      open.erase(open.begin() + static_cast<ptrdiff_t>(chosen));
    }
  };
  for (size_t i = 0; i < steps.offsets.size(); ++i) {
    const int* ranges = steps.ranges.data() + 4 * i;
    const int8_t* weights = steps.weights.data() + SIZE * i;
    const Reach reach(weights, ranges);
    if (reach.empty()) continue;
    if (reach.fits(Group{})) {
      place(steps.offsets[i], weights, reach);
      continue;
    }
    std::array<int8_t, SIZE>& small = halves.emplace_back();
    std::array<int8_t, SIZE>& rest = halves.emplace_back();
    for (size_t k = 0; k < SIZE; ++k) {  // each at most 64: a pair of products with 255 fits
      small[k] = static_cast<int8_t>(weights[k] / 2);
      rest[k] = static_cast<int8_t>(weights[k] - small[k]);
    }
    place(steps.offsets[i], small.data(), Reach(small.data(), ranges));
    place(steps.offsets[i], rest.data(), Reach(rest.data(), ranges));
  }
  for (Group& group : open) closed.push_back(std::move(group));
  // equal lengths in a row: the kernel's inner loop then has a count that a CPU predicts
  std::stable_sort(closed.begin(), closed.end(),
                   [](const Group& a, const Group& b) { return a.steps.size() > b.steps.size(); });
  const size_t first_run = part.runs.size();
  for (const Group& group : closed) {
    const int32_t length = static_cast<int32_t>(group.steps.size());
    if (part.runs.size() == first_run || part.runs[part.runs.size() - 2] != length)
      part.runs.insert(part.runs.end(), {length, 0});
    ++part.runs.back();
    for (const auto& [offset, weights] : group.steps) {
      part.offsets.push_back(offset);
      part.weights.insert(part.weights.end(), weights, weights + SIZE);
    }
  }
}

void Convolution::pack_wide(Part& part, const std::vector<Tap>& taps, int channel) const {
  const int present = std::min(kernel_->channels, spec_.made - channel);
  for (const Tap& tap : taps) {
    for (int at = 0; at < wide_pixel_; at += 2) {
      const ptrdiff_t pixel = static_cast<ptrdiff_t>(tap.dy - low_y_) * columns_ + tap.dx - low_x_;
      part.wide_offsets.push_back(static_cast<int32_t>((pixel * wide_pixel_ + at) * 2));
      for (int c = 0; c < kernel_->channels; ++c) {
        const int8_t* w = tap.weights + (channel + c) * weight_stride_ + wide_first_ + at;
        part.wide_weights.push_back(c < present ? w[0] : 0);
        part.wide_weights.push_back(c < present && at + 1 < wide_count_ ? w[1] : 0);
      }
    }
  }
}

}  // namespace unmask
