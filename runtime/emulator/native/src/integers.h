// Whole quotients and multiples.
#pragma once

namespace unmask {

inline int ceil_div(int a, int b) { return (a + b - 1) / b; }
inline int round_up(int a, int b) { return ceil_div(a, b) * b; }

}  // namespace unmask
