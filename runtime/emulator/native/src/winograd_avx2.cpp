// AVX2: the transforms of Winograd's tiles, 16 channels at a time, and vpmaddwd on pairs of channels, which 1x1
// convolutions of few channels take too.
#include "pointwise.h"
#include "target.h"
#include "winograd.h"

#if UNMASK_X86

#include <immintrin.h>

#include <cstring>

namespace unmask {

namespace {

constexpr int TILES = 6, CHANNELS = 16;

using V = __m256i;

UNMASK_AVX2 UNMASK_INLINE V add16(V a, V b) { return _mm256_add_epi16(a, b); }
UNMASK_AVX2 UNMASK_INLINE V sub16(V a, V b) { return _mm256_sub_epi16(a, b); }
UNMASK_AVX2 UNMASK_INLINE V add(V a, V b) { return _mm256_add_epi32(a, b); }
UNMASK_AVX2 UNMASK_INLINE V sub(V a, V b) { return _mm256_sub_epi32(a, b); }
UNMASK_AVX2 UNMASK_INLINE V twice(V a) { return _mm256_add_epi32(a, a); }

// What a tile's side needs: how inputs and sums are transformed along one dimension, and what is left of each sum.
template <int SIDE>
struct Tile;

template <>
struct Tile<4> {
  static constexpr int SCALE = 6, INVERSE = 0x38e38e39;  // 9 * INVERSE = 1 modulo 2^32
  static constexpr int EXPONENTS[4] = {3, 2, 1, 1};

  UNMASK_AVX2 UNMASK_INLINE static void inputs(const V* d, V* to) {
    const V a = sub16(d[4], _mm256_slli_epi16(d[2], 2)), b = sub16(d[3], _mm256_slli_epi16(d[1], 2));
    const V c = sub16(d[4], d[2]), odd = sub16(d[3], d[1]), e = add16(odd, odd);
    to[0] = add16(c, _mm256_slli_epi16(sub16(d[0], d[2]), 2));
    to[1] = add16(a, b);
    to[2] = sub16(a, b);
    to[3] = add16(c, e);
    to[4] = sub16(c, e);
    to[5] = sub16(sub16(d[5], d[3]), add16(e, e));
  }

  UNMASK_AVX2 UNMASK_INLINE static void sums(const V* m, V* to) {
    const V s = add(m[1], m[2]), d = sub(m[1], m[2]), p = add(m[3], m[4]), q = sub(m[3], m[4]);
    to[0] = add(m[0], sub(p, _mm256_slli_epi32(s, 2)));
    to[1] = sub(q, twice(d));
    to[2] = sub(p, s);
    to[3] = add(sub(twice(q), d), m[5]);
  }
};

template <>
struct Tile<2> {
  static constexpr int SCALE = 2, INVERSE = 1;
  static constexpr int EXPONENTS[2] = {1, 1};

  UNMASK_AVX2 UNMASK_INLINE static void inputs(const V* d, V* to) {
    to[0] = sub16(d[0], d[2]);
    to[1] = add16(d[1], d[2]);
    to[2] = sub16(d[2], d[1]);
    to[3] = sub16(d[1], d[3]);
  }

  UNMASK_AVX2 UNMASK_INLINE static void sums(const V* m, V* to) {
    to[0] = add(m[0], add(m[1], m[2]));
    to[1] = sub(sub(m[1], m[2]), m[3]);
  }
};

enum class Scaling { NONE, RIGHT, LEFT };

// |shift|, or what gives the same: beyond, only 0 is left to the right, and all but 0 saturates to the left.
int places(int shift) { return shift > 9 ? 9 : shift < -8 ? 8 : shift < 0 ? -shift : shift; }

UNMASK_AVX2 UNMASK_INLINE V rounding(int by) {
  return _mm256_set1_epi16(static_cast<int16_t>(by > 0 ? 1 << (by - 1) : 0));
}

// int8 of value / 2^shift, half up, as 16-bit numbers
template <Scaling SCALING>
UNMASK_AVX2 UNMASK_INLINE V widened(const int8_t* from, __m128i by, V half) {
  V x = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  if (SCALING == Scaling::RIGHT) x = _mm256_sra_epi16(add16(x, half), by);
  if (SCALING == Scaling::LEFT) {
    x = _mm256_sll_epi16(x, by);
    x = _mm256_min_epi16(_mm256_max_epi16(x, _mm256_set1_epi16(-128)), _mm256_set1_epi16(127));
  }
  return x;
}

// The last `present` channels of pixels, then zeros.
UNMASK_AVX2 void copy_rest(const int8_t* const* pixels, int count, int channel, int present, bool roomy,
                           int8_t (*to)[CHANNELS]) {
  alignas(16) int8_t mask[CHANNELS];
  for (int c = 0; c < CHANNELS; ++c) mask[c] = c < present ? -1 : 0;
  const __m128i kept = _mm_load_si128(reinterpret_cast<const __m128i*>(mask));
  for (int i = 0; i < count; ++i) {
    __m128i x = _mm_setzero_si128();
    if (roomy) x = _mm_and_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(pixels[i] + channel)), kept);
    else std::memcpy(&x, pixels[i] + channel, static_cast<size_t>(present));
    _mm_store_si128(reinterpret_cast<__m128i*>(to[i]), x);
  }
}

template <int SIDE, Scaling SCALING>
UNMASK_AVX2 void scaled_input(const int8_t* const* pixels, int channels, bool roomy, int shift, int16_t* to,
                              ptrdiff_t position) {
  constexpr int EDGE = SIDE + 2;
  alignas(32) int8_t rest[EDGE * EDGE][CHANNELS];
  const int8_t* last[EDGE * EDGE];
  const int by = places(shift);
  const __m128i count = _mm_cvtsi32_si128(by);
  const V half = rounding(by);
  for (int c = 0; c < channels; c += CHANNELS) {
    const int8_t* const* from = pixels;
    int at = c;
    if (channels - c < CHANNELS) {
      copy_rest(pixels, EDGE * EDGE, c, channels - c, roomy, rest);
      for (int i = 0; i < EDGE * EDGE; ++i) last[i] = rest[i];
      from = last;
      at = 0;
    }
    V lines[EDGE][EDGE];
#pragma GCC unroll 6
    for (int j = 0; j < EDGE; ++j) {
      V d[EDGE], w[EDGE];
#pragma GCC unroll 6
      for (int i = 0; i < EDGE; ++i) d[i] = widened<SCALING>(from[i * EDGE + j] + at, count, half);
      Tile<SIDE>::inputs(d, w);
#pragma GCC unroll 6
      for (int i = 0; i < EDGE; ++i) lines[i][j] = w[i];
    }
#pragma GCC unroll 6
    for (int i = 0; i < EDGE; ++i) {
      V w[EDGE];
      Tile<SIDE>::inputs(lines[i], w);
#pragma GCC unroll 6
      for (int j = 0; j < EDGE; ++j)
        _mm256_storeu_si256(reinterpret_cast<V*>(to + (i * EDGE + j) * position + c), w[j]);
    }
  }
}

template <int SIDE>
void input(const int8_t* const* pixels, int channels, bool roomy, int shift, int16_t* to, ptrdiff_t position) {
  if (shift == 0) scaled_input<SIDE, Scaling::NONE>(pixels, channels, roomy, shift, to, position);
  else if (shift > 0) scaled_input<SIDE, Scaling::RIGHT>(pixels, channels, roomy, shift, to, position);
  else scaled_input<SIDE, Scaling::LEFT>(pixels, channels, roomy, shift, to, position);
}

// 2^DOUBLING times the sums of 8 channels, pixel by pixel
template <int SIDE, int DOUBLING>
UNMASK_AVX2 UNMASK_INLINE void eight_sums(const int32_t* products, ptrdiff_t position, V* to) {
  constexpr int EDGE = SIDE + 2;
  V lines[SIDE][EDGE];
#pragma GCC unroll 6
  for (int j = 0; j < EDGE; ++j) {
    V m[EDGE], z[SIDE];
#pragma GCC unroll 6
    for (int i = 0; i < EDGE; ++i)
      m[i] = _mm256_loadu_si256(reinterpret_cast<const V*>(products + (i * EDGE + j) * position));
    Tile<SIDE>::sums(m, z);
#pragma GCC unroll 4
    for (int i = 0; i < SIDE; ++i) lines[i][j] = z[i];
  }
#pragma GCC unroll 4
  for (int i = 0; i < SIDE; ++i) {
    V z[SIDE];
    Tile<SIDE>::sums(lines[i], z);
#pragma GCC unroll 4
    for (int j = 0; j < SIDE; ++j) {
      V sum = z[j];
      if (Tile<SIDE>::INVERSE != 1) sum = _mm256_mullo_epi32(sum, _mm256_set1_epi32(Tile<SIDE>::INVERSE));
      to[i * SIDE + j] = _mm256_srai_epi32(sum, Tile<SIDE>::EXPONENTS[i] + Tile<SIDE>::EXPONENTS[j] - DOUBLING);
    }
  }
}

template <int SIDE>
UNMASK_AVX2 void output(const int32_t* products, ptrdiff_t position, int32_t* sums, bool added) {
  for (int c = 0; c < CHANNELS; c += 8) {
    V eight[SIDE * SIDE];
    eight_sums<SIDE, 0>(products + c, position, eight);
    for (int i = 0; i < SIDE * SIDE; ++i) {
      V* to = reinterpret_cast<V*>(sums + i * CHANNELS + c);
      _mm256_storeu_si256(to, added ? add(_mm256_loadu_si256(to), eight[i]) : eight[i]);
    }
  }
}

template <int SIDE, int DOUBLING>
UNMASK_AVX2 void finish(const Epilogue& e, const int32_t* products, ptrdiff_t position, int channel,
                        int8_t* const* outs) {
  V left[SIDE * SIDE], right[SIDE * SIDE];
  eight_sums<SIDE, DOUBLING>(products, position, left);
  eight_sums<SIDE, DOUBLING>(products + 8, position, right);
  const V* bias = reinterpret_cast<const V*>(e.bias + channel);
  const V left_bias = _mm256_loadu_si256(bias), right_bias = _mm256_loadu_si256(bias + 1);
  const V low = _mm256_set1_epi8(static_cast<char>(e.low)), high = _mm256_set1_epi8(static_cast<char>(e.high));
  const __m128i shift = _mm_cvtsi32_si128(e.shift);
#pragma GCC unroll 8
  for (int i = 0; i < SIDE * SIDE; i += 2) {
    V words[2];
#pragma GCC unroll 2
    for (int k = 0; k < 2; ++k)
      words[k] = _mm256_packs_epi32(_mm256_sra_epi32(add(left[i + k], left_bias), shift),
                                    _mm256_sra_epi32(add(right[i + k], right_bias), shift));
    V bytes = _mm256_packs_epi16(words[0], words[1]);  // in quarters of each pixel's channels
    bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    bytes = _mm256_min_epi8(_mm256_max_epi8(bytes, low), high);
    if (outs[i] != nullptr)
      _mm_storeu_si128(reinterpret_cast<__m128i*>(outs[i] + channel), _mm256_castsi256_si128(bytes));
    if (outs[i + 1] != nullptr)
      _mm_storeu_si128(reinterpret_cast<__m128i*>(outs[i + 1] + channel), _mm256_extracti128_si256(bytes, 1));
  }
}

// acc += products of pairs of 16-bit numbers. Written out for the reason given at the other kernels' sums.
UNMASK_AVX2 UNMASK_INLINE void accumulate(V& acc, V x, V w) {
  const V products = _mm256_madd_epi16(x, w);
  __asm__ volatile("vpaddd %1, %0, %0" : "+x"(acc) : "x"(products));
}

UNMASK_AVX2 void multiply(const int16_t* tiles, ptrdiff_t row, int count, const int16_t* weights, int pairs,
                          int32_t* products) {
  for (int tile = 0; tile < count; tile += TILES, tiles += TILES * row, products += TILES * CHANNELS) {
    V acc[2 * TILES];
#pragma GCC unroll 12
    for (int i = 0; i < 2 * TILES; ++i) acc[i] = _mm256_setzero_si256();
    const V* w = reinterpret_cast<const V*>(weights);
    const int16_t* x = tiles;
    for (int pair = 0; pair < pairs; ++pair, w += 2, x += 2) {
      const V w0 = _mm256_loadu_si256(w), w1 = _mm256_loadu_si256(w + 1);
#pragma GCC unroll 6
      for (int t = 0; t < TILES; ++t) {
        int32_t two;
        std::memcpy(&two, x + t * row, sizeof two);
        const V both = _mm256_set1_epi32(two);
        accumulate(acc[2 * t], both, w0);
        accumulate(acc[2 * t + 1], both, w1);
      }
    }
#pragma GCC unroll 12
    for (int i = 0; i < 2 * TILES; ++i) _mm256_storeu_si256(reinterpret_cast<V*>(products + 8 * i), acc[i]);
  }
}

template <Scaling SCALING>
UNMASK_AVX2 void scaled_pixels(const int8_t* x, int count, int channels, int roomy, int shift, int16_t* to,
                               ptrdiff_t row) {
  const int by = places(shift);
  const __m128i places_in = _mm_cvtsi32_si128(by);
  const V half = rounding(by);
  for (int pixel = 0; pixel < count; ++pixel, x += channels, to += row) {
    for (int c = 0; c < channels; c += CHANNELS) {
      alignas(16) int8_t rest[1][CHANNELS];
      const bool cut = channels - c < CHANNELS;
      if (cut) copy_rest(&x, 1, c, channels - c, pixel < roomy, rest);
      const V wide = widened<SCALING>(cut ? rest[0] : x + c, places_in, half);
      _mm256_storeu_si256(reinterpret_cast<V*>(to + c), wide);
    }
  }
}

void widen(const int8_t* x, int count, int channels, int roomy, int shift, int16_t* to, ptrdiff_t row) {
  if (shift == 0) scaled_pixels<Scaling::NONE>(x, count, channels, roomy, shift, to, row);
  else if (shift > 0) scaled_pixels<Scaling::RIGHT>(x, count, channels, roomy, shift, to, row);
  else scaled_pixels<Scaling::LEFT>(x, count, channels, roomy, shift, to, row);
}

constexpr PointwiseKernel POINTWISE{widen, multiply};

template <int SIDE>
constexpr WinogradKernel KERNEL{SIDE, Tile<SIDE>::SCALE, input<SIDE>, multiply, output<SIDE>,
                                {finish<SIDE, 0>, finish<SIDE, 1>}};

}  // namespace

const PointwiseKernel& avx2_pointwise() { return POINTWISE; }

const WinogradKernel& avx2_winograd(int side) { return side == 4 ? KERNEL<4> : KERNEL<2>; }

}  // namespace unmask

#endif
