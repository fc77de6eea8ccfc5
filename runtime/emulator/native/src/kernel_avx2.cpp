// AVX2: vpmaddubsw into 16-bit sums that packing proves cannot saturate, widened once a group; and the fast epilogue.
#include "kernel.h"
#include "target.h"

#if UNMASK_X86

#include <immintrin.h>

#include <cstring>

namespace unmask {

namespace {

constexpr int STRIPS = 6, CHANNELS = 16, DEEP_STRIPS = 4, DEEP = 32;

UNMASK_AVX2 UNMASK_INLINE __m256i spread4(const uint8_t* x) {
  int32_t four;
  std::memcpy(&four, x, sizeof four);
  return _mm256_set1_epi32(four);
}

// sums = or += pairs of 16-bit numbers
template <bool FIRST>
UNMASK_AVX2 UNMASK_INLINE void widen(int32_t* sums, __m256i sixteen) {
  __m256i* to = reinterpret_cast<__m256i*>(sums);
  const __m256i pairs = _mm256_madd_epi16(sixteen, _mm256_set1_epi16(1));
  _mm256_storeu_si256(to, FIRST ? pairs : _mm256_add_epi32(_mm256_loadu_si256(to), pairs));
}

// a += b in 16 bits. Written out because a compiler left to itself hoists the loads of all pixels before the first
// sum, runs out of registers, and keeps the sums in memory.
UNMASK_AVX2 UNMASK_INLINE void accumulate(__m256i& a, __m256i b) {
  __asm__ volatile("vpaddw %1, %0, %0" : "+x"(a) : "x"(b));
}

UNMASK_AVX2 UNMASK_INLINE void multiply_add(__m256i& a, __m256i& b, const uint8_t* x, __m256i w0, __m256i w1) {
  const __m256i bytes = spread4(x);
  accumulate(a, _mm256_maddubs_epi16(bytes, w0));
  accumulate(b, _mm256_maddubs_epi16(bytes, w1));
}

// acc += pairs of 16-bit numbers, in 32 bits
UNMASK_AVX2 UNMASK_INLINE void accumulate_pairs(__m256i& acc, __m256i sixteen) {
  const __m256i pairs = _mm256_madd_epi16(sixteen, _mm256_set1_epi16(1));
  __asm__ volatile("vpaddd %1, %0, %0" : "+x"(acc) : "x"(pairs));
}

template <int LENGTH>
UNMASK_AVX2 UNMASK_INLINE void multiply_short(__m256i& a, __m256i& b, const uint8_t* x, const int32_t* offsets,
                                              const __m256i* w) {
  __m256i bytes = spread4(x + offsets[0]);
  __m256i s = _mm256_maddubs_epi16(bytes, w[0]), t = _mm256_maddubs_epi16(bytes, w[1]);
#pragma GCC unroll 3
  for (int step = 1; step < LENGTH; ++step) {
    bytes = spread4(x + offsets[step]);
    accumulate(s, _mm256_maddubs_epi16(bytes, w[2 * step]));
    accumulate(t, _mm256_maddubs_epi16(bytes, w[2 * step + 1]));
  }
  accumulate_pairs(a, s);
  accumulate_pairs(b, t);
}

// Groups so short that widening costs as much as multiplying: three pixels' 32-bit sums stay in registers.
template <int LENGTH>
UNMASK_AVX2 void sum_short(const uint8_t* const* strips, const int32_t* offsets, const int8_t* from, int groups,
                           int32_t* sums) {
  const uint8_t *p0 = strips[0], *p1 = strips[1], *p2 = strips[2];
  __m256i acc[6];
#pragma GCC unroll 6
  for (int i = 0; i < 6; ++i) acc[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(sums + 8 * i));
  const __m256i* weights = reinterpret_cast<const __m256i*>(from);
  for (; groups > 0; --groups) {
    __m256i w[2 * LENGTH];
#pragma GCC unroll 6
    for (int i = 0; i < 2 * LENGTH; ++i) w[i] = _mm256_loadu_si256(weights + i);
    multiply_short<LENGTH>(acc[0], acc[1], p0, offsets, w);
    multiply_short<LENGTH>(acc[2], acc[3], p1, offsets, w);
    multiply_short<LENGTH>(acc[4], acc[5], p2, offsets, w);
    weights += 2 * LENGTH;
    offsets += LENGTH;
  }
#pragma GCC unroll 6
  for (int i = 0; i < 6; ++i) _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + 8 * i), acc[i]);
}

constexpr int SHORT = 3;

using Short = void (*)(const uint8_t* const*, const int32_t*, const int8_t*, int, int32_t*);
constexpr Short SHORTS[SHORT + 1] = {nullptr, sum_short<1>, sum_short<2>, sum_short<3>};

template <bool FIRST>
UNMASK_AVX2 UNMASK_INLINE void sum_group(const uint8_t* const* p, const int32_t* offsets, const __m256i* weights,
                                         int length, int32_t* sums) {
  __m256i a0 = _mm256_setzero_si256(), a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0;
  __m256i b0 = a0, b1 = a0, b2 = a0, b3 = a0, b4 = a0, b5 = a0;
  for (int step = 0; step < length; ++step) {
    const ptrdiff_t at = offsets[step];
    const __m256i w0 = _mm256_loadu_si256(weights + 2 * step);
    const __m256i w1 = _mm256_loadu_si256(weights + 2 * step + 1);
    multiply_add(a0, b0, p[0] + at, w0, w1);
    multiply_add(a1, b1, p[1] + at, w0, w1);
    multiply_add(a2, b2, p[2] + at, w0, w1);
    multiply_add(a3, b3, p[3] + at, w0, w1);
    multiply_add(a4, b4, p[4] + at, w0, w1);
    multiply_add(a5, b5, p[5] + at, w0, w1);
  }
  widen<FIRST>(sums, a0), widen<FIRST>(sums + 8, b0), widen<FIRST>(sums + 16, a1), widen<FIRST>(sums + 24, b1);
  widen<FIRST>(sums + 32, a2), widen<FIRST>(sums + 40, b2), widen<FIRST>(sums + 48, a3), widen<FIRST>(sums + 56, b3);
  widen<FIRST>(sums + 64, a4), widen<FIRST>(sums + 72, b4), widen<FIRST>(sums + 80, a5), widen<FIRST>(sums + 88, b5);
}

UNMASK_AVX2 void sum(const uint8_t* const* strips, ptrdiff_t, const Block& block, int32_t* sums) {
  const uint8_t* const p[STRIPS] = {strips[0], strips[1], strips[2], strips[3], strips[4], strips[5]};
  const int32_t* offsets = block.offsets;
  const __m256i* weights = reinterpret_cast<const __m256i*>(block.weights);
  bool first = block.run_count > 0 && block.runs[0] > SHORT;  // then the first group's sums are stored, not added
  for (int i = 0; i < STRIPS * CHANNELS && !first; i += 8)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + i), _mm256_setzero_si256());
  for (int run = 0; run < block.run_count; ++run) {
    const int length = block.runs[2 * run], groups = block.runs[2 * run + 1];
    if (length <= SHORT) {
      for (int half = 0; half < 2; ++half)
        SHORTS[length](strips + 3 * half, offsets, reinterpret_cast<const int8_t*>(weights), groups, sums + 48 * half);
      offsets += length * groups;
      weights += 2 * length * groups;
      continue;
    }
    for (int group = groups; group > 0; --group, first = false) {
      if (first) sum_group<true>(p, offsets, weights, length, sums);
      else sum_group<false>(p, offsets, weights, length, sums);
      offsets += length;
      weights += 2 * length;
    }
  }
}

UNMASK_AVX2 UNMASK_INLINE void accumulate_products(__m256i& acc, __m256i x, __m256i w) {
  const __m256i products = _mm256_madd_epi16(x, w);
  __asm__ volatile("vpaddd %1, %0, %0" : "+x"(acc) : "x"(products));
}

UNMASK_AVX2 void sum_wide(const int16_t* const* strips, const Block& block, int32_t* sums) {
  __m256i acc[2 * STRIPS];
#pragma GCC unroll 12
  for (int i = 0; i < 2 * STRIPS; ++i) acc[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(sums + 8 * i));
  const uint8_t* base[STRIPS];
#pragma GCC unroll 6
  for (int p = 0; p < STRIPS; ++p) base[p] = reinterpret_cast<const uint8_t*>(strips[p]);
  const __m256i* weights = reinterpret_cast<const __m256i*>(block.wide_weights);
  for (int step = 0; step < block.wide_steps; ++step) {
    const __m256i w0 = _mm256_loadu_si256(weights + 2 * step), w1 = _mm256_loadu_si256(weights + 2 * step + 1);
    const ptrdiff_t at = block.wide_offsets[step];
#pragma GCC unroll 6
    for (int p = 0; p < STRIPS; ++p) {
      const __m256i pair = spread4(base[p] + at);
      accumulate_products(acc[2 * p], pair, w0);
      accumulate_products(acc[2 * p + 1], pair, w1);
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < 2 * STRIPS; ++i) _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + 8 * i), acc[i]);
}

UNMASK_AVX2 void sum_deep(const uint8_t* const* strips, ptrdiff_t, const Block& block, int32_t* sums) {
  for (int strip = 0; strip < DEEP_STRIPS; ++strip) {
    __m256i s[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};
    for (int step = 0; step < block.steps; ++step) {
      const uint8_t* x = strips[strip] + block.offsets[step];
      const int8_t* w = block.weights + step * DEEP;
      for (int i = 0; i < 4; ++i) {
        const __m256i a = _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(x + 8 * i)));
        const __m256i b = _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(w + 8 * i)));
        s[i] = _mm256_add_epi32(s[i], _mm256_mullo_epi32(a, b));
      }
    }
    for (int i = 0; i < 4; ++i)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + strip * DEEP + 8 * i), s[i]);
  }
}

// 8 results of t in 32-bit lanes, not yet saturated to int8 where shift >= 0
UNMASK_AVX2 UNMASK_INLINE __m256i scaled(const Epilogue& e, const int32_t* sums, const int32_t* bias) {
  __m256i t = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(sums));
  t = _mm256_sll_epi32(t, _mm_cvtsi32_si128(e.doubling));
  t = _mm256_add_epi32(t, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bias)));
  if (e.shift >= 0) return _mm256_sra_epi32(t, _mm_cvtsi32_si128(e.shift));
  t = _mm256_max_epi32(_mm256_min_epi32(t, _mm256_set1_epi32(127)), _mm256_set1_epi32(-128));
  return _mm256_sll_epi32(t, _mm_cvtsi32_si128(-e.shift < 8 ? -e.shift : 8));
}

UNMASK_AVX2 UNMASK_INLINE __m128i sixteen(const Epilogue& e, const int32_t* sums, const int32_t* bias) {
  __m256i words = _mm256_packs_epi32(scaled(e, sums, bias), scaled(e, sums + 8, bias + 8));
  words = _mm256_permute4x64_epi64(words, 0xd8);
  __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  bytes = _mm_max_epi8(bytes, _mm_set1_epi8(static_cast<char>(e.low)));
  return _mm_min_epi8(bytes, _mm_set1_epi8(static_cast<char>(e.high)));
}

}  // namespace

const Kernel& avx2_kernel() {
  static const Kernel kernel{STRIPS, 1, CHANNELS, 1, true, nullptr, sum, nullptr, sum_wide};
  return kernel;
}

const Kernel& avx2_depthwise() {
  static const Kernel kernel{DEEP_STRIPS, 1, DEEP, 1, false, nullptr, sum_deep, nullptr, nullptr};
  return kernel;
}

UNMASK_AVX2 void avx2_finish(const Epilogue& epilogue, int channel, int channels, int width, const int32_t* sums,
                             int8_t* const* outs, int pixels) {
  const Epilogue e = epilogue;  // a copy, or each byte that is stored could change it
  if (!e.narrow || e.table != nullptr) {
    portable_finish(e, channel, channels, width, sums, outs, pixels);
    return;
  }
  for (int p = 0; p < pixels; ++p) {
    if (outs[p] == nullptr) continue;
    for (int c = 0; c < channels; c += 16) {
      const __m128i bytes = sixteen(e, sums + p * width + c, e.bias + channel + c);
      int8_t* to = outs[p] + channel + c;
      if (channels - c >= 16) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bytes);
      } else {
        int8_t rest[16];
        _mm_storeu_si128(reinterpret_cast<__m128i*>(rest), bytes);
        std::memcpy(to, rest, static_cast<size_t>(channels - c));
      }
    }
  }
}

}  // namespace unmask

#endif
