"""The float ops that XIR does not define: agreement with torch, and refusal of what the vendor's file leaves out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from runtime.emulator import custom_ops
from runtime.emulator.node import Node
from xmodel.errors import ArtifactError
from xmodel.graph import Array, Op, Tensor, attrs

X = np.random.default_rng(0).normal(0, 3, (2, 5, 7, 8)).astype(np.float32)


def compute(type_: str, *inputs: Array, out: tuple[int, ...] | None = None, **values: object) -> Array:
    """The op on `inputs`, the first of which may have any batch; `out` is the output tensor's shape."""
    tensors = tuple(Tensor(f"x{i}", x.shape if i else (1, *x.shape[1:])) for i, x in enumerate(inputs))
    op = Op("op", type_, {}, attrs(**values), Tensor("op", out or tensors[0].shape))
    return custom_ops.MAKERS[type_](Node(op, tensors))(*inputs)


def nchw(x: Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


@pytest.mark.parametrize(
    ("type_", "function", "values"),
    [
        ("aten::silu", F.silu, {}),
        ("aten::abs", torch.abs, {}),
        ("aten::elu", lambda x: F.elu(x, 0.5), {"alpha": 0.5}),
        ("aten::softplus", lambda x: F.softplus(x, 2.0, 3.0), {"beta": 2.0, "threshold": 3.0}),
        ("aten::pow", lambda x: x**2, {"exponent": 2.0}),
        ("nndct_mish", F.mish, {}),
        ("nndct_elemwise_exp", torch.exp, {}),
        ("nndct_clamp", lambda x: x.clamp(-1, 2), {"min": -1.0, "max": 2.0}),
        ("nndct_clamp", lambda x: x.clamp(max=0.5), {"max": 0.5}),
        ("nndct_hardtanh", F.hardtanh, {"min": -1.0, "max": 1.0}),
    ],
)
def test_elementwise_ops_are_torchs(
    type_: str, function: Callable[[torch.Tensor], torch.Tensor], values: dict[str, Any]
) -> None:
    expected = function(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(compute(type_, X, **values), expected, rtol=3e-6, atol=1e-6)


def test_sqrt_and_prelu() -> None:
    assert np.array_equal(compute("nndct_sqrt", X**2), np.abs(X))
    slopes = np.linspace(-0.5, 0.5, 8, dtype=np.float32)
    expected = F.prelu(nchw(X), torch.from_numpy(slopes)).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(compute("nndct_prelu", X, slopes), expected, rtol=1e-6)


def test_normalizations() -> None:
    gamma, beta = np.linspace(0.5, 1.5, 8, dtype=np.float32), np.linspace(-1, 1, 8, dtype=np.float32)
    weights = (torch.from_numpy(gamma), torch.from_numpy(beta))
    group = F.group_norm(nchw(X), 2, *weights).permute(0, 2, 3, 1).numpy()
    found = compute("nndct_group_norm", X, gamma, beta, num_groups=2, eps=1e-5)
    np.testing.assert_allclose(found, group, rtol=1e-4, atol=1e-5)
    instance = F.instance_norm(nchw(X)).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(compute("nndct_instance_norm", X, eps=1e-5), instance, rtol=1e-4, atol=1e-5)


def test_adaptive_pools_with_uneven_windows() -> None:
    average = F.adaptive_avg_pool2d(nchw(X), (3, 2)).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(compute("nndct_adaptive_avg_pool2d", X, out=(1, 3, 2, 8)), average, rtol=1e-5, atol=1e-6)
    image = nchw(X)
    largest = F.adaptive_max_pool2d(image, (3, 2)).numpy()
    assert np.array_equal(compute("aten::adaptive_max_pool2d", image.numpy(), out=(1, 8, 3, 2)), largest)


def test_mean_takes_nchw_axes() -> None:
    image = nchw(X).numpy()
    found = compute("aten::mean", image, out=(1, 8), axis=[2, 3], keep_dims=False)
    np.testing.assert_allclose(found, image.mean((2, 3)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("kernel", "groups"), [(3, 1), (4, 2)])
def test_same_convolution_pads_the_odd_pixel_at_the_far_side(kernel: int, groups: int) -> None:
    image = nchw(X).numpy()
    weights = np.random.default_rng(1).normal(size=(6, 8 // groups, kernel, kernel)).astype(np.float32)
    bias = np.arange(6, dtype=np.float32)
    x, w, b = (torch.from_numpy(a) for a in (image, weights, bias))
    expected = F.conv2d(x, w, b, padding="same", groups=groups).numpy()
    found = compute(
        "aten::_convolution_mode", image, weights, bias, out=(1, 6, 5, 7), stride=[1, 1], dilation=[1, 1], group=groups
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("type_", "what"),
    [("nndct_clamp", "bounds"), ("aten::pow", "'exponent'"), ("aten::mean", "'axis'")],
)
def test_what_the_vendors_file_does_not_say_is_refused_by_name(type_: str, what: str) -> None:
    with pytest.raises(ArtifactError, match=f"Op 'op' of type '{type_}' does not say its {what}"):
        compute(type_, X)
