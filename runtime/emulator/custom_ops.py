"""Float ops that XIR does not define, as a quantizer's file names them: `nndct_*` on NHWC, `aten::*` on NCHW tensors.

They run on the CPU. Where the vendor's quantizer leaves an attribute out of its file (the bounds of a clamp, the
padding of a convolution), the op is refused by name; files written by Unmask say it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from runtime.emulator.float_ops import Function, Maker, grouped, sigmoid
from runtime.emulator.node import Node, flag
from xmodel.graph import Array


def _said(node: Node, *names: str) -> None:
    """Raise `ArtifactError` for an attribute that the vendor's file does not record."""
    for name in names:
        node.need(name in node.op.attrs, f"does not say its {name!r}: the vendor's quantizer does not write it")


def _elementwise(function: Callable[[Array], Array]) -> Maker:
    """A maker for a function computed in float64 and rounded once."""
    return lambda node: lambda x: np.asarray(function(x.astype(np.float64)), np.float32)


def _softplus(x: Array) -> Array:
    return np.asarray(np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))


def softplus(node: Node) -> Function:
    """log(1 + exp(beta x)) / beta; x itself where beta x is above the threshold."""
    beta, threshold = node.real("beta", 1.0), node.real("threshold", 20.0)
    node.need(beta != 0, "has a beta of 0")

    def run(x: Array) -> Array:
        scaled = x.astype(np.float64) * beta
        return np.where(scaled > threshold, x, _softplus(scaled) / beta).astype(np.float32)

    return run


def elu(node: Node) -> Function:
    """alpha (exp(x) - 1) below zero."""
    alpha = node.real("alpha", 1.0)
    return lambda x: np.where(x < 0, alpha * np.expm1(np.minimum(x, 0).astype(np.float64)), x).astype(np.float32)


def power(node: Node) -> Function:
    """x ** exponent."""
    _said(node, "exponent")
    exponent = node.real("exponent")

    def run(x: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            return np.asarray(x.astype(np.float64) ** exponent, np.float32)

    return run


def clamp(node: Node) -> Function:
    """x within [min, max], either of which may be absent."""
    node.need(bool({"min", "max"} & set(node.op.attrs)), "does not say its bounds: the vendor's quantizer does not")
    low, high = node.real("min", -3.0e38), node.real("max", 3.0e38)
    return lambda x: np.clip(x, np.float32(low), np.float32(high))


def prelu(node: Node) -> Function:
    """max(x, 0) + slope * min(x, 0), a slope for each channel or one for all."""
    slopes = node.inputs[1].shape
    node.need(slopes in ((1,), (node.inputs[0].shape[-1],)), f"has slopes {list(slopes)}")
    return lambda x, slope: np.where(x < 0, x * slope, x).astype(np.float32)


def _normalize(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    wide = x.astype(np.float64)
    mean = wide.mean(axis=axes, keepdims=True)
    return np.asarray((wide - mean) / np.sqrt(wide.var(axis=axes, keepdims=True) + epsilon))


def group_norm(node: Node) -> Function:
    """Each image's groups of channels to mean 0 and variance 1, then gamma x + beta."""
    _, height, width, channels = node.image
    groups, epsilon = node.integer("num_groups", 1, channels), node.real("eps")
    node.need(channels % groups == 0, f"has {groups} groups of {channels} channels")
    _affine(node, channels)

    def run(x: Array, *affine: Array) -> Array:
        parts = x.reshape(-1, height * width, groups, channels // groups)
        return _scaled(_normalize(parts, (1, 3), epsilon).reshape(x.shape), affine)

    return run


def instance_norm(node: Node) -> Function:
    """Each image's channels to mean 0 and variance 1, then gamma x + beta."""
    epsilon = node.real("eps")
    _affine(node, node.image[3])
    return lambda x, *affine: _scaled(_normalize(x, (1, 2), epsilon), affine)


def _affine(node: Node, channels: int) -> None:
    shapes = [tensor.shape for tensor in node.inputs[1:]]
    node.need(shapes in ([], [(channels,)] * 2), f"needs gamma and beta of {channels} channels, not {shapes}")


def _scaled(x: Array, affine: tuple[Array, ...]) -> Array:
    return np.asarray(x * affine[0] + affine[1] if affine else x, np.float32)


def _windows(size: int, made: int) -> list[slice]:
    """The windows of an adaptive pool along one axis, as torch defines them."""
    return [slice(i * size // made, -(-(i + 1) * size // made)) for i in range(made)]


def adaptive(node: Node, first: int, reduce: Callable[..., Array]) -> Function:
    """An adaptive pool whose rows and columns are the axes `first` and `first + 1`."""
    shape, made = node.inputs[0].shape, node.output.shape
    node.need(len(shape) == 4 and len(made) == 4, "needs 4-D tensors")
    rows, columns = _windows(shape[first], made[first]), _windows(shape[first + 1], made[first + 1])
    ahead = (slice(None),) * first

    def run(x: Array) -> Array:
        out = [[reduce(x[(*ahead, r, c)], axis=(first, first + 1)) for c in columns] for r in rows]
        return np.asarray(np.moveaxis(np.array(out), (0, 1), (first, first + 1)), np.float32)

    return run


def mean(node: Node) -> Function:
    """The mean over NCHW axes."""
    _said(node, "axis", "keep_dims")
    rank = len(node.inputs[0].shape)
    axes = tuple(node.op.get("axis"))
    node.need(all(isinstance(a, int) and 0 < a < rank for a in axes), f"has axes {list(axes)} of {rank}")
    keep = flag(node, "keep_dims")
    return lambda x: np.asarray(x.mean(axis=axes, dtype=np.float64, keepdims=keep), np.float32)


def same_convolution(node: Node) -> Function:
    """A convolution whose output has the input's size: NCHW, OIHW weights, the odd pixel of padding at the far side."""
    _said(node, "stride", "dilation", "group")
    stride, dilation = node.ints("stride", 2, 1, 1), node.ints("dilation", 2, 1, 1 << 10)
    x, weights = node.inputs[0].shape, node.inputs[1].shape
    groups = node.integer("group", 1, 1 << 20)
    node.need(len(x) == len(weights) == 4 and stride == (1, 1), "needs NCHW images, OIHW weights and a stride of 1")
    fits = x[1] == weights[1] * groups and weights[0] % groups == 0
    node.need(fits, f"has weights {list(weights)} in {groups} groups for {x[1]} channels")
    reach = [step * (size - 1) for step, size in zip(dilation, weights[2:], strict=True)]
    node.need(math.prod(a + b for a, b in zip(x[2:], reach, strict=True)) < 1 << 26, "has a window beyond any image")

    def run(image: Array, kernel: Array, bias: Array | None = None) -> Array:
        before = [total // 2 for total in reach]
        widths = [(0, 0), *((b, total - b) for b, total in zip(before, reach, strict=True)), (0, 0)]
        padded = np.pad(image.transpose(0, 2, 3, 1).astype(np.float64), widths)
        height, width = image.shape[2:]
        total = np.zeros((len(image), height, width, weights[0]))
        for row in range(weights[2]):
            for column in range(weights[3]):
                top, left = row * dilation[0], column * dilation[1]
                view = padded[:, top : top + height, left : left + width]
                total += grouped(view, kernel[:, :, row, column].astype(np.float64), groups)
        total = total if bias is None else total + bias
        return np.asarray(total.transpose(0, 3, 1, 2), np.float32)

    return run


MAKERS: dict[str, Maker] = {
    "nndct_clamp": clamp,
    "nndct_hardtanh": clamp,
    "nndct_prelu": prelu,
    "nndct_mish": _elementwise(lambda x: x * np.tanh(_softplus(x))),
    "nndct_elemwise_exp": _elementwise(np.exp),
    "nndct_sqrt": _elementwise(lambda x: np.sqrt(np.maximum(x, 0))),
    "nndct_group_norm": group_norm,
    "nndct_instance_norm": instance_norm,
    "nndct_adaptive_avg_pool2d": lambda node: adaptive(node, 1, np.mean),
    "aten::silu": _elementwise(lambda x: x * sigmoid(x).astype(np.float64)),
    "aten::abs": _elementwise(np.abs),
    "aten::elu": elu,
    "aten::softplus": softplus,
    "aten::pow": power,
    "aten::mean": mean,
    "aten::adaptive_max_pool2d": lambda node: adaptive(node, 2, np.max),
    "aten::_convolution_mode": same_convolution,
}
