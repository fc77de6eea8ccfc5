// The exported functions: no exception leaves them.
#include "api.h"

#include <exception>

#include "convolution.h"
#include "elementwise.h"
#include "pool.h"
#include "target.h"

namespace {

constexpr int ABI = 2;  // library.py names the same number
constexpr int DONE = 0, NO_MEMORY = 1;

}  // namespace

UNMASK_EXPORT int unmask_abi() { return ABI; }
UNMASK_EXPORT int unmask_best_isa() { return unmask::best_isa(); }
UNMASK_EXPORT void unmask_set_default_threads(int count) { unmask::set_default_threads(count); }
UNMASK_EXPORT void unmask_set_threads(int count) { unmask::set_threads(count); }
UNMASK_EXPORT int unmask_threads() { return unmask::threads(); }

UNMASK_EXPORT unmask::Convolution* unmask_convolution_new(const UnmaskConvolution* spec, const int8_t* weights,
                                                          const int64_t* half_steps, const uint8_t* negative,
                                                          const int8_t* table) {
  try {
    return new unmask::Convolution(*spec, weights, half_steps, negative, table);
  } catch (const std::exception&) {  // sums too large, or no memory: the reference takes the layer
    return nullptr;
  }
}

UNMASK_EXPORT void unmask_convolution_delete(unmask::Convolution* convolution) { delete convolution; }

UNMASK_EXPORT int unmask_convolution_parts(const unmask::Convolution* convolution) { return convolution->parts(); }

UNMASK_EXPORT int unmask_convolution_joins(const unmask::Convolution* convolution) { return convolution->joins(); }

// Reads the channels of several sources side by side; only a convolution that joins takes more than one, or a shift.
UNMASK_EXPORT int unmask_convolution_run(const unmask::Convolution* convolution, const UnmaskSource* sources, int count,
                                         int images, int8_t* y) {
  try {
    convolution->run({sources, count}, images, y);
    return DONE;
  } catch (const std::exception&) {
    return NO_MEMORY;
  }
}

UNMASK_EXPORT int unmask_pool(const UnmaskPool* spec, const int8_t* x, int images, int8_t* y) {
  try {
    unmask::pool(*spec, x, images, y);
    return DONE;
  } catch (const std::exception&) {
    return NO_MEMORY;
  }
}

UNMASK_EXPORT int unmask_add(int count, const int8_t* const* inputs, const int32_t* falls, int shift, int low, int high,
                             int64_t size, int8_t* y, int isa) {
  try {
    unmask::add(count, inputs, falls, shift, low, high, size, y, isa);
    return DONE;
  } catch (const std::exception&) {
    return NO_MEMORY;
  }
}

UNMASK_EXPORT int unmask_concat(int count, const int8_t* const* inputs, const int64_t* widths, const int32_t* shifts,
                                int64_t rows, int8_t* y, int isa) {
  try {
    unmask::concat(count, inputs, widths, shifts, rows, y, isa);
    return DONE;
  } catch (const std::exception&) {
    return NO_MEMORY;
  }
}
