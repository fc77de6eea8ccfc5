"""Output dimensions follow from inputs and attributes: as recorded, and by hand for what was not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from runtime.dropin.freeze import thaw
from runtime.dropin.graph import Graph
from runtime.dropin.infer import infer
from tests.runtime.emulator.vectors import OPS, index, vector
from tests.shared import needs_shared
from xmodel.errors import UsageError


@needs_shared
def test_every_recorded_operator() -> None:
    for name in index(OPS):
        recorded = vector(OPS, name)
        op = thaw(recorded.graph).get_op("output")
        assert op is not None
        dims, data_type = infer(op)
        output = recorded.graph.op("output").output
        assert dims == output.shape, name
        assert data_type.upper() == output.data_type or op.get_type() == "float2fix", name


WINDOW = {"kernel": [3, 2], "stride": [2, 1]}  # wide, high


@pytest.mark.parametrize(
    ("kind", "attrs", "inputs", "dims"),
    [
        ("maxpool2d", {**WINDOW, "pad_mode": "FLOOR"}, [(1, 8, 9, 4)], (1, 7, 4, 4)),
        ("maxpool2d", {**WINDOW, "pad_mode": "CEIL"}, [(1, 8, 10, 4)], (1, 7, 5, 4)),
        ("maxpool2d", {**WINDOW, "pad_mode": "SAME"}, [(1, 8, 9, 4)], (1, 8, 5, 4)),
        ("maxpool2d", {**WINDOW, "pad_mode": "VALID"}, [(1, 8, 9, 4)], (1, 7, 4, 4)),
        ("avgpool2d", {**WINDOW, "pad_mode": "FLOOR", "global": True}, [(2, 8, 9, 4)], (2, 1, 1, 4)),
        ("add", {}, [(1, 4, 4, 3), (1, 1, 1, 3)], (1, 4, 4, 3)),
        ("stack", {"axis": 0}, [(1,), (1,)], (2, 1)),
        ("stack", {"axis": -1}, [(2, 3), (2, 3)], (2, 3, 2)),
        ("concat", {"axis": -1}, [(1, 2, 3), (1, 2, 4)], (1, 2, 7)),
        ("reshape", {"shape": [1, -1, 3]}, [(1, 4, 6)], (1, 8, 3)),
        ("flatten", {"start_axis": 1, "end_axis": -1}, [(2, 3, 4, 5)], (2, 60)),
        ("squeeze", {"axis": [1, 2]}, [(1, 1, 1, 5)], (1, 5)),
        ("squeeze", {}, [(1, 1, 5)], (5,)),
        ("matmul", {"transpose_a": False, "transpose_b": True}, [(2, 7), (5, 7)], (2, 5)),
        ("matmul", {"transpose_a": True, "transpose_b": False}, [(4, 7, 2), (7, 5)], (4, 2, 5)),
        ("reduction_mean", {"axis": [1, 2], "keep_dims": False}, [(1, 4, 4, 3)], (1, 3)),
        ("reduction_max", {"axis": [-1], "keep_dims": True}, [(1, 4, 4, 3)], (1, 4, 4, 1)),
        ("transpose", {"order": [0, 3, 1, 2]}, [(1, 4, 5, 3)], (1, 3, 4, 5)),
        ("strided_slice", {"begin": [0, 1], "end": [1, 9], "strides": [1, 2]}, [(1, 8)], (1, 4)),
        ("pad", {"paddings": [0, 0, 1, 2], "mode": "CONSTANT"}, [(1, 4)], (1, 7)),
        ("resize", {"scale": [2.0, 3.0], "mode": "NEAREST"}, [(1, 4, 5, 3)], (1, 12, 10, 3)),
        ("pixel-shuffle", {"scale": 2, "upscale": True}, [(1, 4, 5, 8)], (1, 8, 10, 2)),
        ("pixel-shuffle-fix", {"scale": 2, "reverse": True}, [(1, 4, 6, 8)], (1, 2, 3, 32)),
        ("gstiling", {"stride": 2, "reverse": False}, [(1, 4, 6, 1)], (1, 2, 3, 4)),
        ("shape", {}, [(1, 4, 6, 1)], (4,)),
        ("softmax", {"axis": -1}, [(1, 4)], (1, 4)),
    ],
)  # fmt: skip
def test_by_hand(kind: str, attrs: dict[str, Any], inputs: list[tuple[int, ...]], dims: tuple[int, ...]) -> None:
    graph = Graph("g")
    sources = [
        graph.create_op(f"x{i}", "data", {"shape": list(shape), "data_type": "FLOAT32"})
        for i, shape in enumerate(inputs)
    ]
    assert tuple(graph.create_op("y", kind, attrs, {"input": sources}).get_output_tensor().dims) == dims


@pytest.mark.parametrize(
    ("kind", "attrs", "weights", "dims"),
    [
        ("conv2d", {"dilation": [2, 1], "pad": [1, 1, 0, 0]}, (6, 2, 3, 4), (1, 7, 3, 6)),
        ("depthwise-conv2d", {}, (2, 2, 3, 4), (1, 7, 3, 8)),
        ("transposed-conv2d", {"pad": [1, 0, 0, 1]}, (6, 2, 3, 4), (1, 8, 16, 6)),
        ("transposed-conv2d", {"pad_mode": "SAME"}, (6, 2, 3, 4), (1, 8, 16, 6)),
        ("transposed-depthwise-conv2d", {}, (1, 2, 3, 4), (1, 9, 17, 4)),
        ("inner-product", {"axis": 1}, (6, 256), (1, 6)),
    ],
)
def test_with_weights(kind: str, attrs: dict[str, Any], weights: tuple[int, ...], dims: tuple[int, ...]) -> None:
    graph = Graph("g")
    x = graph.create_op("x", "data", {"shape": [1, 8, 8, 4], "data_type": "FLOAT32"})
    w = graph.create_const_op("w", np.zeros(weights, np.float32))
    values = attrs if kind == "inner-product" else {**WINDOW, "pad_mode": "FLOOR", **attrs}
    op = graph.create_op("y", kind, values, {"input": [x], "weights": [w]})
    assert tuple(op.get_output_tensor().dims) == dims


def test_a_reshape_by_an_operand() -> None:
    graph = Graph("g")
    x = graph.create_op("x", "data", {"shape": [1, 4, 6], "data_type": "FLOAT32"})
    parts = [graph.create_const_op(f"s{size}", np.array([size], np.float32)) for size in (1, 24)]
    shape = graph.create_op("shape", "stack", {"axis": 0}, {"input": parts})
    op = graph.create_op("y", "reshape", {}, {"input": [x], "shape": [shape]})
    assert op.get_output_tensor().dims == [1, 24]


def test_what_cannot_be_worked_out_is_named() -> None:
    graph = Graph("g")
    x = graph.create_op("x", "data", {"shape": [1, 4, 6], "data_type": "FLOAT32"})
    with pytest.raises(UsageError, match=r"of op 'y' of type 'transpose' .* inputs \[\[1, 4, 6\]\]: the order"):
        graph.create_op("y", "transpose", {"order": [0, 1, 1]}, {"input": [x]})
    with pytest.raises(UsageError, match="they differ outside axis 1"):
        y = graph.create_op("z", "data", {"shape": [2, 4, 6], "data_type": "FLOAT32"})
        graph.create_op("y", "concat", {"axis": 1}, {"input": [x, y]})
    with pytest.raises(UsageError, match="the pad_mode 'WIDE' is none of"):
        image = graph.create_op("i", "data", {"shape": [1, 4, 4, 1], "data_type": "FLOAT32"})
        graph.create_op("y", "maxpool2d", {**WINDOW, "pad_mode": "WIDE"}, {"input": [image]})
