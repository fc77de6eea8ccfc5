"""Shift clamps at export."""

from __future__ import annotations

from quantize.clamp import clamp_positions
from quantize.pipeline import float_graph
from quantize.plan import plan
from tests.quantize.networks import images, small


def test_shifts_are_brought_into_range() -> None:
    graph = float_graph(small(), "Small", images(1))
    placed = plan(graph)
    positions = dict.fromkeys(placed.activations | placed.parameters, 6)
    conv = next(op for op in graph.ops if op.type == "conv2d")
    relu = placed.fixed_by[conv.name]
    positions |= {"Small__conv1_weight": 2, relu: 10, "Small__conv1_bias": 12}
    clamped, changes = clamp_positions(graph, placed, positions)
    # shift_cut = 2 + 6 - 10 = -2: the output moves to 8; shift_bias = 2 + 6 - 12 = -4 >= -(16 - -2)
    assert clamped[relu] == 8
    assert clamped["Small__conv1_bias"] == 12
    assert [(c.op, c.before, c.after) for c in changes] == [(relu, 10, 8)]
    assert changes[0].reason == "shift_cut -2 is below 0"


def test_a_too_precise_weight_is_coarsened() -> None:
    graph = float_graph(small(), "Small", images(1))
    placed = plan(graph)
    positions = dict.fromkeys(placed.activations | placed.parameters, 6)
    conv = next(op for op in graph.ops if op.type == "conv2d")
    positions |= {"Small__conv1_weight": 12, placed.fixed_by[conv.name]: -1}
    clamped, _ = clamp_positions(graph, placed, positions)
    assert clamped["Small__conv1_weight"] == 9  # 12 + 6 + 1 = 19, three above 16
