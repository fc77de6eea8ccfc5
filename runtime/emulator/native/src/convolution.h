// A convolution with packed weights, ready to run on any batch.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "api.h"
#include "kernel.h"
#include "pointwise.h"
#include "winograd.h"

namespace unmask {

// A convolution of a grid of output pixels; a transposed one has a part for every phase of its stride.
struct Part {
  int grid_height = 0, grid_width = 0;
  int first_y = 0, first_x = 0;  // output pixel of grid (0, 0)
  std::vector<int32_t> offsets, runs, wide_offsets;
  std::vector<int8_t> weights;
  std::vector<int16_t> wide_weights;
  std::vector<int32_t> bias;
  std::vector<int64_t> wide_bias;
  struct Place {
    size_t offsets, weights, runs, wide_offsets, wide_weights;
    int run_count, steps, wide_steps;
  };
  std::vector<Place> blocks;
};

class Convolution {
 public:
  // weights [made][kh][kw][channels] (depthwise [kh][kw][channels]); half_steps [made]; negative [channels]: whether a
  // channel can be below 0; table 256 or null. Throws std::invalid_argument when sums do not fit.
  Convolution(const UnmaskConvolution& spec, const int8_t* weights, const int64_t* half_steps, const uint8_t* negative,
              const int8_t* table);
  // Several sources, or one with a shift, only where `joins`.
  void run(const Sources& sources, int images, int8_t* y) const;
  bool joins() const { return spec_.tile != 0 || (!direct_ && wide_count_ == 0); }

  // Parts that Winograd's way takes the channels in, 1 without it.
  int parts() const { return winograd_ == nullptr ? 1 : winograd_->parts(); }

 private:
  struct Work;
  struct Tap {
    int dy, dx;
    const int8_t* weights;  // of output channel 0
  };
  // Steps of one block of channels: offsets, `ranges` of the bytes they read, weights of step_size() bytes each.
  struct Steps {
    std::vector<int32_t> offsets;
    std::vector<int> ranges;
    std::vector<int8_t> weights;
  };

  std::vector<Tap> taps(int phase_y, int phase_x, const int8_t* weights) const;
  void add_part(int phase_y, int phase_x, const std::vector<Tap>& taps, const int64_t* half_steps);
  void pack_block(Part& part, const std::vector<Tap>& taps, int channel) const;
  void pack_deep(Part& part, const std::vector<Tap>& taps, int channel) const;
  Steps steps(const std::vector<Tap>& taps, int channel) const;
  void pack_groups(Part& part, const Steps& steps) const;
  void pack_wide(Part& part, const std::vector<Tap>& taps, int channel) const;
  void choose_wide(const std::vector<Tap>& taps);
  int32_t offset(const Tap& tap) const;
  int rows_a_tile() const;
  static void work(void* context, int index);
  void rows(const Work& work, int image, int first, int last, int begin, int end) const;
  // The input of grid rows [first, last), as the kernels read it; in place or in this thread's own memory.
  struct Lines {
    const uint8_t* bytes;
    const int16_t* wide;
  };
  Lines lines(const Sources& sources, int image, int first, int last) const;
  void fill_lines(const Sources& sources, int image, int top, int count) const;
  void read(const Sources& sources, size_t pixel, int pixels, uint8_t* to) const;
  void fill_wide(const int8_t* image, int top, int count) const;
  void part_tile(const Part& part, Lines base, int first, int last, int8_t* out, int begin, int end) const;

  UnmaskConvolution spec_;
  const Kernel* kernel_;
  Finish finish_;
  Epilogue epilogue_{};
  int stride_in_y_, stride_in_x_, stride_out_y_, stride_out_x_;
  int low_y_ = 0, high_y_ = 0, low_x_ = 0, high_x_ = 0;  // reach of the taps, in input pixels
  int grid_height_ = 0, grid_width_ = 0;
  int columns_ = 0;
  ptrdiff_t line_ = 0;
  size_t slack_ = 0;
  bool direct_ = false;  // lines are read where the image lies
  bool offset_ = false;  // some channel can be negative and is x + 128
  int wide_first_ = 0, wide_count_ = 0;  // channels that are read as 16-bit numbers
  int wide_pixel_ = 0;                   // 16-bit numbers a pixel of them: an even number
  size_t weight_stride_;  // from an output channel's weights to the next's
  std::vector<uint8_t> negative_;
  std::vector<uint8_t> pattern_;  // what a padded line holds; input is combined with it by exclusive or
  std::vector<int8_t> table_;
  std::vector<Part> parts_;
  // Either of these does the sums instead of the parts, which then hold biases alone.
  std::unique_ptr<Winograd> winograd_;
  std::unique_ptr<Pointwise> pointwise_;
};

}  // namespace unmask
