"""The host's float ops: values worked out by hand, and agreement with torch where it has the op."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from runtime.emulator import float_ops
from runtime.emulator.node import Node
from xmodel.errors import ArtifactError
from xmodel.graph import Array, Op, Tensor, attrs

X = np.random.default_rng(0).normal(0, 3, (2, 4, 6, 8)).astype(np.float32)


def compute(type_: str, *inputs: Array, out: tuple[int, ...] | None = None, **values: object) -> Array:
    """The op on `inputs`, whose batch may be anything; `out` is the output tensor's shape."""
    tensors = tuple(Tensor(f"x{i}", x.shape if i else (1, *x.shape[1:])) for i, x in enumerate(inputs))
    op = Op("op", type_, {}, attrs(**values), Tensor("op", out or tensors[0].shape))
    return float_ops.MAKERS[type_](Node(op, tensors))(*inputs)


def nchw(x: Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


@pytest.mark.parametrize(
    ("type_", "function"),
    [
        ("sigmoid", torch.sigmoid),
        ("tanh", torch.tanh),
        ("gelu", torch.nn.functional.gelu),
        ("elu", torch.nn.functional.elu),
        ("swish", torch.nn.functional.silu),
        ("hard-sigmoid", torch.nn.functional.hardsigmoid),
        ("hard-swish", torch.nn.functional.hardswish),
        ("hard-tanh", torch.nn.functional.hardtanh),
        ("relu6", torch.nn.functional.relu6),
        ("neg", torch.neg),
        ("exp", torch.exp),
    ],
)
def test_elementwise(type_: str, function: object) -> None:
    got = compute(type_, X)
    assert got.dtype == np.float32
    wanted = function(torch.from_numpy(X)).numpy()  # type: ignore[operator]
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_sigmoid_does_not_overflow() -> None:
    got = float_ops.sigmoid(np.array([-1e4, -100, 0, 100, 1e4], np.float32))
    assert got.tolist() == [0.0, pytest.approx(3.72e-44, rel=0.1), 0.5, 1.0, 1.0]


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_grouped_convolution(groups: int) -> None:
    weights = np.random.default_rng(1).normal(size=(12, 3, 3, 8 // groups)).astype(np.float32)
    bias = np.arange(12, dtype=np.float32)
    got = compute("conv2d", X, weights, bias, out=(1, 2, 3, 12), kernel=[3, 3], stride=[2, 2], pad=[1, 1, 1, 1])
    wanted = torch.nn.functional.conv2d(nchw(X), nchw(weights), torch.from_numpy(bias), 2, 1, groups=groups)
    np.testing.assert_allclose(got, wanted.permute(0, 2, 3, 1).numpy(), rtol=1e-4, atol=1e-4)


def test_transposed_convolution_has_its_taps_flipped() -> None:
    weights = np.random.default_rng(1).normal(size=(5, 4, 4, 8)).astype(np.float32)
    got = compute("transposed-conv2d", X, weights, out=(1, 8, 12, 5), kernel=[4, 4], stride=[2, 2], pad=[1, 1, 1, 1])
    torch_weights = torch.from_numpy(weights[:, ::-1, ::-1].transpose(3, 0, 1, 2).copy())
    wanted = torch.nn.functional.conv_transpose2d(nchw(X), torch_weights, None, 2, 1)
    np.testing.assert_allclose(got, wanted.permute(0, 2, 3, 1).numpy(), rtol=1e-4, atol=1e-4)


def test_pools() -> None:
    window = {"kernel": [3, 2], "stride": [3, 2]}
    largest = compute("maxpool2d", X, out=(1, 2, 2, 8), **window)
    np.testing.assert_array_equal(largest, X.reshape(2, 2, 2, 2, 3, 8).max(axis=(2, 4)))
    mean = compute("avgpool2d", X, out=(1, 2, 2, 8), **window)
    np.testing.assert_allclose(mean, X.reshape(2, 2, 2, 2, 3, 8).mean(axis=(2, 4)), rtol=1e-5, atol=1e-6)


def test_reductions_and_argmax() -> None:
    mean = compute("reduction_mean", X, out=(1, 8), axis=[1, 2], keep_dims=False)
    np.testing.assert_allclose(mean, X.mean(axis=(1, 2)), rtol=1e-5, atol=1e-6)
    best = compute("argmax", X, out=(1, 4, 6), axis=3)
    assert best.dtype == np.int32
    np.testing.assert_array_equal(best, X.argmax(axis=3))


def test_matmul_adds_its_bias_after_transposing() -> None:
    x, weights = np.ones((3, 4), np.float32), np.arange(8, dtype=np.float32).reshape(2, 4)
    got = compute("matmul", x, weights, np.array([1, -1], np.float32), transpose_a=False, transpose_b=True)
    assert got.tolist() == [[7, 21]] * 3


def test_moving_values_about() -> None:
    np.testing.assert_array_equal(compute("transpose", X, order=[0, 3, 1, 2]), X.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(compute("reshape", X, out=(1, 192)), X.reshape(2, 192))
    sliced = compute("strided_slice", X, begin=[0, 1, 0, 2], end=[1, 4, 2**31 - 1, 8], strides=[1, 2, 1, 3])
    np.testing.assert_array_equal(sliced, X[:, 1:4:2, :, 2:8:3])
    padded = compute("pad", X, out=(1, 6, 7, 8), paddings=[0, 0, 1, 1, 1, 0, 0, 0], mode="REFLECT")
    np.testing.assert_array_equal(padded[:, 1:-1, 1:], X)
    np.testing.assert_array_equal(padded[:, 0, 1:], X[:, 1])


@pytest.mark.parametrize(
    ("type_", "values", "message"),
    [
        ("transpose", {"order": [0, 0, 1, 2]}, "as order of 4 axes"),
        ("reshape", {}, "cannot make"),
        ("softmax", {"axis": 9}, "needs 'axis' as an integer within"),
        ("fix", {"fix_point": 3, "round_mode": "UP"}, "has 'round_mode' 'UP'"),
        ("leaky-relu", {"alpha": float("nan")}, "needs 'alpha' as a finite number"),
        ("pixel-shuffle", {"scale": 3, "upscale": True}, "cannot take 4x6x8 apart in steps of 3"),
    ],
)
def test_mistakes_are_named(type_: str, values: dict[str, object], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        compute(type_, X, out=(1, 5, 5, 5), **values)
