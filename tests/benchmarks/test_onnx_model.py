from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.engine_case import ends
from benchmarks.engines import _signed, _unsigned
from runtime.emulator.program import Program
from tests.runtime.emulator.networks import Builder
from xmodel.errors import UsageError
from xmodel.graph import Graph, const

pytest.importorskip("onnx", reason="the extra `bench` is not installed")
from benchmarks import onnx_model

POINT = 4  # of every activation


def _convolution(net: Builder, x: str, made: int, kernel: int, relu: bool, transposed: bool = False) -> str:
    """Even weights and odd biases in accumulator steps: no sum is a tie, which ONNX would round to even."""
    _, height, width, channels = net.output(x).shape
    weights = 2 * net.random.integers(-2, 3, (made, kernel, kernel, channels)).astype(np.int8)
    bias = (2 * net.random.integers(-20, 20, made) + 1).astype(np.int8)
    names = {"weights": f"weights_{len(net.ops)}", "bias": f"bias_{len(net.ops)}"}
    net.ops.append(const(names["weights"], weights, "const-fix", fix_point=3))
    net.ops.append(const(names["bias"], bias, "const-fix", fix_point=3 + POINT))
    up = kernel if transposed else 1
    pad = 0 if transposed else kernel // 2
    return net.add(
        "transposed-conv2d-fix" if transposed else "conv2d-fix",
        {"input": (x,), **{key: (name,) for key, name in names.items()}}, (1, up * height, up * width, made), POINT,
        kernel=[kernel, kernel], stride=[up, up], dilation=[1, 1], pad=[pad] * 4, nonlinear="RELU" if relu else "NONE",
    )  # fmt: skip


def _network() -> Graph:
    """A small U: convolutions, a maximum, a transposed convolution, and a concat of a signed and an unsigned tensor."""
    net = Builder("u", seed=3)
    wide = _convolution(net, net.data(6, 8, 3, POINT), 8, 3, relu=True)
    low = _convolution(net, net.pool(wide), 8, 3, relu=True)
    up = _convolution(net, low, 4, 2, relu=False, transposed=True)
    joined = net.concat(wide, up, out=POINT)
    _convolution(net, joined, 2, 1, relu=False)
    return net.graph()


def _expected(graph: Graph, images: np.ndarray) -> np.ndarray:
    found = Program(graph, "reference").run({graph.inputs[0].name: images}, dump=True)
    assert all(int(found[op.output.name].max()) < 127 for op in graph.ops if op.type.endswith("conv2d-fix"))
    return found[graph.outputs[0].output.name]


def test_onnx_runtime_computes_our_integers(tmp_path: Path) -> None:
    """OpenVINO is not tried: without AMX it computes other integers around a concat of signed and unsigned tensors."""
    module = pytest.importorskip("onnxruntime", reason="the extra `bench` is not installed")
    graph, path = _network(), tmp_path / "model.onnx"
    onnx_model.write(graph, path)
    images = np.random.default_rng(1).integers(-8, 8, (2, 6, 8, 3)).astype(np.int8)
    feed = _unsigned(images)
    session = module.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: feed})
    (zero,) = onnx_model.zero_points(path).values()
    assert zero == onnx_model.ZERO_SIGNED
    assert ends(graph) == (graph.outputs[0].name,)
    expected = _expected(graph, images)
    assert len(np.unique(expected)) > 20
    np.testing.assert_array_equal(_signed(found, zero), expected)


def test_an_op_without_a_place_is_named(tmp_path: Path) -> None:
    net = Builder("average")
    x = net.data(4, 4, 2)
    name = net.add("pool-fix", {"input": (x,)}, (1, 2, 2, 2), 7, kernel=[2, 2], stride=[2, 2], pad=[0] * 4, type="AVG")
    with pytest.raises(UsageError, match=f"{name}.*has no place"):
        onnx_model.write(net.graph(), tmp_path / "model.onnx")
