// PNG's row filters undone for 8-bit RGB (PNG specification, chapter 9): most of what decoding a photograph costs
// beside inflating it, since each pixel needs the one to its left.
#include <cstdlib>
#include <cstring>
#include <exception>
#include <vector>

#include "api.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace {

constexpr int DONE = 0, NO_MEMORY = 1, UNKNOWN_FILTER = 2;
constexpr int64_t PIXEL = 3;  // bytes

void sub(const uint8_t* row, uint8_t* out, int64_t size) {
  std::memcpy(out, row, PIXEL);
  for (int64_t i = PIXEL; i < size; ++i) out[i] = static_cast<uint8_t>(row[i] + out[i - PIXEL]);
}

void up(const uint8_t* row, const uint8_t* above, uint8_t* out, int64_t size) {
  for (int64_t i = 0; i < size; ++i) out[i] = static_cast<uint8_t>(row[i] + above[i]);
}

void average(const uint8_t* row, const uint8_t* above, uint8_t* out, int64_t size) {
  for (int64_t i = 0; i < PIXEL; ++i) out[i] = static_cast<uint8_t>(row[i] + above[i] / 2);
  for (int64_t i = PIXEL; i < size; ++i) out[i] = static_cast<uint8_t>(row[i] + (out[i - PIXEL] + above[i]) / 2);
}

#if defined(__SSE2__)

// A pixel's three bytes in 16-bit lanes. The last pixel of a buffer may not be read as four bytes.
__m128i load(const uint8_t* at, bool last) {
  int32_t bytes = 0;
  std::memcpy(&bytes, at, last ? 3 : 4);
  return _mm_unpacklo_epi8(_mm_cvtsi32_si128(bytes), _mm_setzero_si128());
}

__m128i magnitude(__m128i x) { return _mm_max_epi16(x, _mm_sub_epi16(_mm_setzero_si128(), x)); }

__m128i either(__m128i mask, __m128i yes, __m128i no) {
  return _mm_or_si128(_mm_and_si128(mask, yes), _mm_andnot_si128(mask, no));
}

// With p = left + above - corner, the nearest to p of the three is |above - corner|, |left - corner| or
// |left + above - 2 corner| away from it; of equals the first counts.
template <bool LAST>
void paeth_pixel(const uint8_t* row, const uint8_t* above_row, uint8_t* out, __m128i& left, __m128i& corner) {
  const __m128i above = load(above_row, LAST);
  const __m128i rise = _mm_sub_epi16(above, corner), run = _mm_sub_epi16(left, corner);
  const __m128i to_left = magnitude(rise), to_above = magnitude(run), to_corner = magnitude(_mm_add_epi16(rise, run));
  const __m128i least = _mm_min_epi16(to_corner, _mm_min_epi16(to_left, to_above));
  const __m128i nearest = either(_mm_cmpeq_epi16(least, to_left), left,
                                 either(_mm_cmpeq_epi16(least, to_above), above, corner));
  left = _mm_add_epi8(load(row, LAST), nearest);  // the lanes' upper bytes are zero and stay so
  corner = above;
  const int32_t bytes = _mm_cvtsi128_si32(_mm_packus_epi16(left, left));
  std::memcpy(out, &bytes, LAST ? 3 : 4);
}

void paeth(const uint8_t* row, const uint8_t* above, uint8_t* out, int64_t size) {
  __m128i left = _mm_setzero_si128(), corner = _mm_setzero_si128();
  int64_t i = 0;
  for (; i + PIXEL < size; i += PIXEL) paeth_pixel<false>(row + i, above + i, out + i, left, corner);
  paeth_pixel<true>(row + i, above + i, out + i, left, corner);
}

#else

void paeth(const uint8_t* row, const uint8_t* above, uint8_t* out, int64_t size) {
  for (int64_t i = 0; i < size; ++i) {
    const int left = i < PIXEL ? 0 : out[i - PIXEL], corner = i < PIXEL ? 0 : above[i - PIXEL];
    const int rise = above[i] - corner, run = left - corner;
    const int to_left = std::abs(rise), to_above = std::abs(run), to_corner = std::abs(rise + run);
    const int nearest = to_left <= to_above && to_left <= to_corner ? left : to_above <= to_corner ? above[i] : corner;
    out[i] = static_cast<uint8_t>(row[i] + nearest);
  }
}

#endif

}  // namespace

// `raw` holds `height` rows of a filter's number and 3 * `width` bytes; `out` gets the bytes alone.
UNMASK_EXPORT int unmask_png_rows(const uint8_t* raw, int64_t height, int64_t width, uint8_t* out) {
  try {
    const int64_t size = PIXEL * width;
    const std::vector<uint8_t> black(static_cast<size_t>(size));
    const uint8_t* above = black.data();
    for (int64_t y = 0; y < height; ++y, raw += size + 1, above = out, out += size) {
      const uint8_t* row = raw + 1;
      switch (raw[0]) {
        case 0: std::memcpy(out, row, static_cast<size_t>(size)); break;
        case 1: sub(row, out, size); break;
        case 2: up(row, above, out, size); break;
        case 3: average(row, above, out, size); break;
        case 4: paeth(row, above, out, size); break;
        default: return UNKNOWN_FILTER;
      }
    }
    return DONE;
  } catch (const std::exception&) {
    return NO_MEMORY;
  }
}
