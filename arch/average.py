"""The DPU's fixed-point averages: 1 / (width * height) as an integer factor and a right shift."""

from __future__ import annotations

import math
from functools import cache

# spec: DPU integer arithmetic; kernels the hardware has constants for
_KNOWN = {(3, 3): (7, 6), (5, 5): (10, 8), (6, 6): (7, 8), (7, 7): (21, 10), (14, 14): (21, 12)}


@cache
def average_factor(width: int, height: int) -> tuple[int, int]:
    """(N, M) with which a width x height average pool is computed: sum * N / 2**M, rounded once.

    Kernels without constants take the shift below log2(128 * width * height) whose N / 2**M comes
    closest to 1 / (width * height), the smallest of equals.
    """
    if (width, height) in _KNOWN:
        return _KNOWN[width, height]
    count = width * height
    shifts = range(math.ceil(math.log2(count * 128)))
    best = min(shifts, key=lambda shift: abs(round(2**shift / count) / 2**shift - 1 / count))
    return round(2**best / count), best
