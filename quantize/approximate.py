"""The DPU's fixed-point average: the factor by which its result differs from a true mean."""

from __future__ import annotations

import math

from xmodel.graph import Graph, Op, rewrite

# spec: DPU average-pool constants, (kernel w, h) -> factor / 2**shift of 1 / (w * h)
_TABLE = {
    (3, 3): (7, 6),
    (5, 5): (10, 8),
    (6, 6): (7, 8),
    (3, 6): (7, 8),
    (6, 3): (7, 8),
    (7, 7): (21, 10),
    (14, 14): (21, 12),
}


def average_scale(width: int, height: int) -> float:
    """k such that the DPU's average pool of width x height gives mean * k (1.0 for powers of two).

    The DPU multiplies the sum by factor / 2**shift; k = width * height * factor / 2**shift.
    (3x6 and 6x3 share the constants of 6x6 but are scaled by 36, as the vendor's tool does.)
    """
    count = width * height
    if (width, height) in _TABLE:
        factor, shift = _TABLE[width, height]
        return (36 if {width, height} == {3, 6} else count) * factor * 2.0**-shift
    best, least = 1.0, math.inf
    for shift in range(math.ceil(math.log2(count * 128))):
        factor = round(2**shift / count)
        difference = abs(factor / 2**shift - 1 / count)
        if difference < least:
            best, least = count * factor * 2.0**-shift, difference
    return best


def approximate_averages(graph: Graph) -> Graph:
    """Mark every average pool with the DPU's `__scale`, which execution and export apply."""

    def rule(op: Op) -> Op | None:
        if op.type != "avgpool2d":
            return None
        width, height = op.get("kernel")
        return op.with_attrs(__scale=average_scale(width, height))

    return rewrite(graph, rule)
