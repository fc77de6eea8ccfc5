// AVX512-VNNI: vpdpbusd adds four unsigned-by-signed products to each 32-bit sum; nothing saturates.
#include "kernel.h"
#include "target.h"

#if UNMASK_X86 || defined(UNMASK_SOFTWARE_MODEL)

#include <cstring>

#if defined(UNMASK_SOFTWARE_MODEL)
#include "model.h"
#undef UNMASK_VNNI
#define UNMASK_VNNI
#else
#include <immintrin.h>
#endif

namespace unmask {

namespace {

constexpr int STRIPS = 12, CHANNELS = 32;

#if defined(UNMASK_SOFTWARE_MODEL)
using Vector = model::Vector512;
using model::load, model::spread, model::store, model::zero;
inline Vector dot(Vector sums, Vector x, Vector w) { return model::vpdpbusd(sums, x, w); }
#else
using Vector = __m512i;
UNMASK_VNNI UNMASK_INLINE Vector zero() { return _mm512_setzero_si512(); }
UNMASK_VNNI UNMASK_INLINE Vector load(const void* from) { return _mm512_loadu_si512(from); }
UNMASK_VNNI UNMASK_INLINE void store(void* to, Vector v) { _mm512_storeu_si512(to, v); }
UNMASK_VNNI UNMASK_INLINE Vector spread(int32_t four) { return _mm512_set1_epi32(four); }
UNMASK_VNNI UNMASK_INLINE Vector dot(Vector sums, Vector x, Vector w) { return _mm512_dpbusd_epi32(sums, x, w); }
#endif

UNMASK_VNNI UNMASK_INLINE Vector spread4(const uint8_t* x) {
  int32_t four;
  std::memcpy(&four, x, sizeof four);
  return spread(four);
}

UNMASK_VNNI void sum(const uint8_t* const* strips, ptrdiff_t, const Block& block, int32_t* sums) {
  Vector left[STRIPS], right[STRIPS];
#pragma GCC unroll 12
  for (int p = 0; p < STRIPS; ++p) left[p] = right[p] = zero();
  const int8_t* weights = block.weights;
  for (int step = 0; step < block.steps; ++step, weights += CHANNELS * 4) {
    const Vector w0 = load(weights), w1 = load(weights + 64);
    const ptrdiff_t at = block.offsets[step];
#pragma GCC unroll 12
    for (int p = 0; p < STRIPS; ++p) {
      const Vector x = spread4(strips[p] + at);
      left[p] = dot(left[p], x, w0);
      right[p] = dot(right[p], x, w1);
    }
  }
#pragma GCC unroll 12
  for (int p = 0; p < STRIPS; ++p) {
    store(sums + p * CHANNELS, left[p]);
    store(sums + p * CHANNELS + 16, right[p]);
  }
}

}  // namespace

const Kernel& vnni_kernel() {
  static const Kernel kernel{STRIPS, 1, CHANNELS, 1, false, nullptr, sum, nullptr, nullptr};
  return kernel;
}

}  // namespace unmask

#endif
