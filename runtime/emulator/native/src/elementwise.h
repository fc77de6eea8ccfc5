// The ops that move more bytes than they compute: pools, sums, concatenation.
#pragma once

#include <cstdint>

#include "api.h"

namespace unmask {

void pool(const UnmaskPool& spec, const int8_t* x, int images, int8_t* y);

// y = low..high of (sum of floor(4 x / 2^falls)) / 2^shift
void add(int count, const int8_t* const* inputs, const int32_t* falls, int shift, int low, int high, int64_t size,
         int8_t* y, int isa);

// Inputs of `rows` rows each, widths[i] bytes long, side by side, each rescaled by 2^-shifts[i].
void concat(int count, const int8_t* const* inputs, const int64_t* widths, const int32_t* shifts, int64_t rows,
            int8_t* y, int isa);

// The same, on the calling thread alone.
void concat_here(int count, const int8_t* const* inputs, const int64_t* widths, const int32_t* shifts, int64_t rows,
                 int8_t* y, int isa);

}  // namespace unmask
