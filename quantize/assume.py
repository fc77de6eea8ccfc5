"""A network as if it were quantized, without calibration: what its placement on a DPU depends on, and nothing more.

The fixes stand where quantization puts them (`plan`). Their positions are assumed, as the vendor's inspector assumes
one: which device an op gets does not depend on them, but for three cases that the choice below leaves undisturbed.
"""

from __future__ import annotations

from quantize.approximate import approximate
from quantize.export import quantized_graph
from quantize.plan import Plan, plan
from xmodel.check import check
from xmodel.graph import Graph

POINT = 4  # the DPU's relu6 clamps at 96 = 6 * 2**4
GATE_POINT = 7  # results in [0, 1], where the DPU's hard-sigmoid needs 7 or more
_GATES = frozenset({"hard-sigmoid", "sigmoid", "softmax"})
_SAME = frozenset({"pad", "reshape"})  # integer ops only where input and result share a position


def assumed(graph: Graph) -> Graph:
    """`graph` (from `float_graph`) with a fix at an assumed position behind every tensor that would be quantized.

    For inspection alone: its numbers are those of no calibration.
    """
    prepared = approximate(graph)
    placed = plan(prepared)
    return check(quantized_graph(prepared, placed, _positions(prepared, placed), {}))


def _positions(graph: Graph, placed: Plan) -> dict[str, int]:
    positions = dict.fromkeys(placed.parameters, POINT)
    for op in graph.ops:
        if op.name not in placed.activations:
            continue
        point = GATE_POINT if op.type in _GATES else POINT
        source = op.arg("input")
        if op.type in _SAME and source is not None:
            point = positions.get(placed.fixed_by.get(source, ""), point)
        positions[op.name] = point
    return positions
