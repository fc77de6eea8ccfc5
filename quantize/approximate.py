"""The DPU's fixed-point average: the factor by which its result differs from a true mean."""

from __future__ import annotations

from arch.average import average_factor
from xmodel.graph import Graph, Op, rewrite


def average_scale(width: int, height: int) -> float:
    """k such that the DPU's average pool of width x height gives mean * k (1.0 for powers of two).

    The DPU multiplies the sum by N / 2**M; k = width * height * N / 2**M. For 3x6 and 6x3 the
    vendor's quantizer applies the k of 6x6.
    """
    if {width, height} == {3, 6}:
        width = height = 6
    factor, shift = average_factor(width, height)
    return width * height * factor * 2.0**-shift


def approximate_averages(graph: Graph) -> Graph:
    """Mark every average pool with the DPU's `__scale`, which execution and export apply."""

    def rule(op: Op) -> Op | None:
        if op.type != "avgpool2d":
            return None
        width, height = op.get("kernel")
        return op.with_attrs(__scale=average_scale(width, height))

    return rewrite(graph, rule)
