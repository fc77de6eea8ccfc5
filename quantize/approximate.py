"""The DPU's own constants: by what its averages and hard sigmoids differ from true ones."""

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


def approximate(graph: Graph) -> Graph:
    """Mark what the DPU computes by other constants than the float network.

    Average pools get `__scale`; hard-sigmoid and hard-swish get `__approximate` (1/6 is 2731 / 16384, and the gate of
    a hard-swish is an 8-bit number at position 7). Execution and export apply the marks.
    """

    def rule(op: Op) -> Op | None:
        if op.type in ("hard-sigmoid", "hard-swish"):
            return op.with_attrs(__approximate=True)
        if op.type != "avgpool2d":
            return None
        width, height = op.get("kernel")
        return op.with_attrs(__scale=average_scale(width, height))

    return rewrite(graph, rule)
