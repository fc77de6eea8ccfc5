// Plain loops that a compiler turns into vectors, once for any CPU and once for AVX2.
#include "elementwise.h"

#include <algorithm>
#include <cstring>

#include "kernel.h"
#include "pool.h"
#include "target.h"

namespace unmask {

namespace {

constexpr int CHUNK = 256;            // channels or bytes whose partial results stay in registers and L1
constexpr int64_t PIECE = 64 << 10;   // bytes a task

// int8 of value / 2^shift in 16 bits, half up; |value| <= 128
UNMASK_INLINE void rescale(const int8_t* from, int8_t* to, int64_t count, int shift) {
  if (shift == 0) {
    std::memmove(to, from, static_cast<size_t>(count));
  } else if (shift > 0) {
    const int by = std::min(shift, 9);
    const int16_t half = static_cast<int16_t>(1 << (by - 1));
    for (int64_t i = 0; i < count; ++i)
      to[i] = static_cast<int8_t>(static_cast<int16_t>(from[i] + half) >> by);
  } else {
    const int16_t factor = static_cast<int16_t>(1 << std::min(-shift, 7));  // 128 saturates all but 0, as 256 does
    for (int64_t i = 0; i < count; ++i) {
      const int16_t wide = static_cast<int16_t>(from[i] * factor);
      to[i] = static_cast<int8_t>(std::min<int16_t>(127, std::max<int16_t>(-128, wide)));
    }
  }
}

UNMASK_INLINE void maximum(int8_t* best, const int8_t* x, int count) {
  for (int c = 0; c < count; ++c) best[c] = best[c] > x[c] ? best[c] : x[c];
}

UNMASK_INLINE void total(int32_t* sums, const int8_t* x, int count) {
  for (int c = 0; c < count; ++c) sums[c] += x[c];
}

UNMASK_INLINE void pool_row(const UnmaskPool& s, const int8_t* image, int y, int8_t* out) {
  const int64_t pixel = s.channels, line = pixel * s.width;
  for (int x = 0; x < s.out_width; ++x) {
    for (int c = 0; c < s.channels; c += CHUNK) {
      const int count = std::min(CHUNK, s.channels - c);
      int8_t best[CHUNK];
      int32_t sums[CHUNK];
      if (s.maximum) std::memset(best, -128, sizeof best);
      else std::memset(sums, 0, sizeof sums);
      for (int ky = 0; ky < s.kernel_height; ++ky) {
        const int row = y * s.stride_height - s.top + ky * s.dilation_height;
        if (row < 0 || row >= s.height) continue;
        for (int kx = 0; kx < s.kernel_width; ++kx) {
          const int column = x * s.stride_width - s.left + kx * s.dilation_width;
          if (column < 0 || column >= s.width) continue;
          const int8_t* from = image + row * line + column * pixel + c;
          if (s.maximum) maximum(best, from, count);
          else total(sums, from, count);
        }
      }
      int8_t* to = out + x * pixel + c;
      if (s.maximum) {
        rescale(best, to, count, s.rescale);
      } else {
        for (int i = 0; i < count; ++i) to[i] = dpu_round(int64_t{sums[i]} * s.factor, s.shift + s.rescale);
      }
    }
  }
}

UNMASK_INLINE void add_piece(int inputs, const int8_t* const* x, const int32_t* falls, int shift, int low, int high,
                             int64_t begin, int64_t end, int8_t* y) {
  int32_t sums[CHUNK];
  for (int64_t at = begin; at < end; at += CHUNK) {
    const int count = static_cast<int>(std::min<int64_t>(CHUNK, end - at));
    std::memset(sums, 0, sizeof sums);
    for (int i = 0; i < inputs; ++i) {
      const int8_t* from = x[i] + at;
      const int fall = std::min(falls[i], 30);
      for (int k = 0; k < count; ++k) sums[k] += (from[k] * 4) >> fall;
    }
    if (shift > 0) {
      const int by = std::min(shift, 20), half = 1 << (by - 1);  // sums stay below 2^16
      for (int k = 0; k < count; ++k) sums[k] = (sums[k] + half) >> by;
    } else {
      const int factor = 1 << std::min(-shift, 8);
      for (int k = 0; k < count; ++k) sums[k] = std::min(127, std::max(-128, sums[k])) * factor;
    }
    for (int k = 0; k < count; ++k) y[at + k] = static_cast<int8_t>(std::min(high, std::max(low, sums[k])));
  }
}

struct PoolWork {
  const UnmaskPool* spec;
  const int8_t* x;
  int8_t* y;
  int rows, tasks_an_image;
};

UNMASK_INLINE void pool_task(const PoolWork& w, int index) {
  const UnmaskPool& s = *w.spec;
  const int64_t in = int64_t{s.height} * s.width * s.channels, line = int64_t{s.out_width} * s.channels;
  const int image = index / w.tasks_an_image, first = index % w.tasks_an_image * w.rows;
  for (int y = first; y < std::min(first + w.rows, s.out_height); ++y)
    pool_row(s, w.x + image * in, y, w.y + (int64_t{image} * s.out_height + y) * line);
}

struct AddWork {
  int count;
  const int8_t* const* inputs;
  const int32_t* falls;
  int shift, low, high;
  int64_t size;
  int8_t* y;
};

UNMASK_INLINE void add_task(const AddWork& w, int index) {
  const int64_t begin = index * PIECE;
  add_piece(w.count, w.inputs, w.falls, w.shift, w.low, w.high, begin, std::min(begin + PIECE, w.size), w.y);
}

struct ConcatWork {
  int count;
  const int8_t* const* inputs;
  const int64_t* widths;
  const int32_t* shifts;
  int64_t rows, rows_a_task, width;
  int8_t* y;
};

UNMASK_INLINE void concat_task(const ConcatWork& w, int index) {
  const int64_t first = index * w.rows_a_task, last = std::min(first + w.rows_a_task, w.rows);
  int64_t place = 0;
  for (int i = 0; i < w.count; ++i) {
    for (int64_t row = first; row < last; ++row)
      rescale(w.inputs[i] + row * w.widths[i], w.y + row * w.width + place, w.widths[i], w.shifts[i]);
    place += w.widths[i];
  }
}

void pool_any(void* work, int index) { pool_task(*static_cast<PoolWork*>(work), index); }
void add_any(void* work, int index) { add_task(*static_cast<AddWork*>(work), index); }
void concat_any(void* work, int index) { concat_task(*static_cast<ConcatWork*>(work), index); }

#if UNMASK_X86
UNMASK_AVX2 void pool_avx2(void* work, int index) { pool_task(*static_cast<PoolWork*>(work), index); }
UNMASK_AVX2 void add_avx2(void* work, int index) { add_task(*static_cast<AddWork*>(work), index); }
UNMASK_AVX2 void concat_avx2(void* work, int index) { concat_task(*static_cast<ConcatWork*>(work), index); }
#else
constexpr Task pool_avx2 = pool_any, add_avx2 = add_any, concat_avx2 = concat_any;
#endif

int tasks(int64_t size, int64_t piece) { return static_cast<int>((size + piece - 1) / piece); }

}  // namespace

void pool(const UnmaskPool& spec, const int8_t* x, int images, int8_t* y) {
  PoolWork work{&spec, x, y, 0, 0};
  const int64_t line = int64_t{spec.width} * spec.channels * spec.stride_height;
  work.rows = static_cast<int>(std::clamp<int64_t>(2 * PIECE / std::max<int64_t>(line, 1), 1, spec.out_height));
  work.tasks_an_image = tasks(spec.out_height, work.rows);
  parallel(images * work.tasks_an_image, spec.isa >= AVX2 ? pool_avx2 : pool_any, &work);
}

void add(int count, const int8_t* const* inputs, const int32_t* falls, int shift, int low, int high, int64_t size,
         int8_t* y, int isa) {
  AddWork work{count, inputs, falls, shift, low, high, size, y};
  parallel(tasks(size, PIECE), isa >= AVX2 ? add_avx2 : add_any, &work);
}

static ConcatWork concat_work(int count, const int8_t* const* inputs, const int64_t* widths, const int32_t* shifts,
                              int64_t rows, int8_t* y) {
  ConcatWork work{count, inputs, widths, shifts, rows, rows, 0, y};
  for (int i = 0; i < count; ++i) work.width += widths[i];
  return work;
}

void concat(int count, const int8_t* const* inputs, const int64_t* widths, const int32_t* shifts, int64_t rows,
            int8_t* y, int isa) {
  ConcatWork work = concat_work(count, inputs, widths, shifts, rows, y);
  work.rows_a_task = std::max<int64_t>(1, 2 * PIECE / std::max<int64_t>(work.width, 1));
  parallel(tasks(rows, work.rows_a_task), isa >= AVX2 ? concat_avx2 : concat_any, &work);
}

void concat_here(int count, const int8_t* const* inputs, const int64_t* widths, const int32_t* shifts, int64_t rows,
                 int8_t* y, int isa) {
  ConcatWork work = concat_work(count, inputs, widths, shifts, rows, y);
  (isa >= AVX2 ? concat_avx2 : concat_any)(&work, 0);
}

}  // namespace unmask
