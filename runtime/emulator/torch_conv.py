"""Convolutions of the torch kernel set: oneDNN INT8 where it is exact, float32 or float64 sums where it is not.

All give the reference's bytes. Which one a layer takes is decided from its weights when it is loaded:

- int8: oneDNN multiplies uint8 activations by int8 weights. Its result is rounded half to even; the bias carries a
  fraction of the accumulator's last place, so no tie is left and half goes up. Without VNNI the instruction
  vpmaddubsw saturates a sum of two products at 16 bits: exact for activations up to 128 (128 * -128 * 2 = -2**15).
  So a channel that can be negative is split into max(x, 0) and max(-x, 0), the latter with negated weights.
- int8 over the full range: with VNNI or AMX nothing saturates, and such a channel is x + 128.
- float32: every partial sum is a multiple of half an accumulator step and stays below 2**23 of them.
- float64: the same up to 2**52.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
import torch

from runtime.emulator import reference
from runtime.emulator.layer import Layer
from runtime.emulator.spec import Convolution, Window
from xmodel.graph import Array

Tensor = torch.Tensor
Function = Callable[..., Array]


class Path(Enum):
    """How the sums of products are taken."""

    INT8_FULL = "int8 over the full range"
    INT8 = "int8"
    FLOAT32 = "float32"
    FLOAT64 = "float64"


def as_tensor(x: Array) -> Tensor:
    """`x` without a copy where torch can take it."""
    return torch.from_numpy(x if x.flags.writeable else x.copy())


def as_array(x: Tensor) -> Array:
    """An int8 NHWC array of an NCHW tensor of one-byte values; no copy when it is channels_last."""
    return np.asarray(x.permute(0, 2, 3, 1).contiguous().view(torch.int8).numpy())


def prepare(layer: Layer, allowed: frozenset[Path]) -> tuple[Function, Path] | None:
    """The function of a layer's input, and the path it takes; None when no allowed path is exact."""
    inner = pointwise(layer) if tiles(layer.spec) else layer
    signed = layer.signed.stop > layer.signed.start
    if Path.INT8_FULL in allowed and signed and int8_is_exact(inner, offset_steps(inner)):
        with suppress(RuntimeError):  # oneDNN has no kernel for this shape
            return int8(layer, inner, offset(inner)), Path.INT8_FULL
    if Path.INT8 in allowed and int8_is_exact(inner, inner.half_steps()):
        with suppress(RuntimeError):
            return int8(layer, inner, split(inner) if signed else plain(inner)), Path.INT8
    if Path.FLOAT32 in allowed and layer.bound() < 2.0**23 and layer.spec.shift_cut <= 15:
        return floating(layer, torch.float32), Path.FLOAT32
    if Path.FLOAT64 in allowed and layer.bound() < 2.0**52 and layer.spec.shift_cut <= 40:
        return floating(layer, torch.float64), Path.FLOAT64
    return None


def tie_breaker(spec: Convolution, half_steps: Array) -> float:
    """A fraction of an accumulator step that turns half to even into half up and changes nothing else.

    Results are multiples of 2**-shift_cut, or half of that when a bias is fractional; below 1 nothing is rounded.
    """
    if bool((half_steps % 2 == 0).all()):
        return 0.5 if spec.shift_cut >= 1 else 0.0
    return 0.25 if spec.shift_cut >= 0 else 0.0


def int8_is_exact(layer: Layer, half_steps: Array) -> bool:
    """Whether oneDNN's INT8 convolution with this bias gives the reference's bytes for every input.

    Its 32-bit sum becomes float32 before the bias is added. A result that is not saturated is below 2**7, so with
    shift_cut <= 14 its sum stays where float32 keeps quarters; a saturated one stays so, for rounding is monotone.
    """
    spec = layer.spec
    if spec.depthwise or spec.transposed or spec.activation.name not in ("NONE", "RELU", "RELU6"):
        return False
    if spec.activation.name == "RELU6" and spec.activation.relu6_limit is None:
        return False
    small = float(np.abs(half_steps).max(initial=0)) < 2.0**22
    return -8 <= spec.shift_cut <= 14 and small and layer.bound() < 2.0**30


def tiles(spec: Convolution) -> bool:
    """True for a transposed convolution whose windows lie side by side: a 1x1 convolution and a rearrangement."""
    side_by_side = spec.window.kernel == spec.window.stride and not any(spec.window.pad)
    return spec.transposed and not spec.depthwise and side_by_side


def pointwise(layer: Layer) -> Layer:
    """The 1x1 convolution in such a transposed one: its channels are (row, column, channel), taps unflipped."""
    kw, kh = layer.spec.window.kernel
    spec = replace(layer.spec, window=Window((1, 1)), transposed=False, out=(layer.height, layer.width))
    flipped = layer.weights[:, ::-1, ::-1].transpose(1, 2, 0, 3)
    bias = None if layer.bias is None else np.tile(layer.bias, kw * kh)
    return replace(layer, spec=spec, weights=flipped.reshape(-1, 1, 1, layer.weights.shape[3]), bias=bias)


@dataclass(frozen=True, slots=True)
class Feed:
    """How a layer's int8 NHWC input becomes what oneDNN takes: uint8, with weights and bias to match.

    `border` (left, right, top, bottom) is already in the bytes that `make` gives; `pad` (height, width) is not.
    """

    weights: Array
    half_steps: Array
    make: Callable[[Tensor], Tensor]
    border: tuple[int, int, int, int]
    pad: tuple[int, int]


def plain(layer: Layer) -> Feed:
    """Channels that are never negative are uint8 as they are."""
    border, pad = borders(layer)
    return Feed(layer.weights, layer.half_steps(), lambda x: bordered(x.view(torch.uint8), border), border, pad)


def split(layer: Layer) -> Feed:
    """max(x, 0) of all channels, then max(-x, 0) of the signed ones with negated weights.

    A weight of -128 negates to 128, one more than int8 holds: its channel is repeated and adds the missing 1.
    """
    signed, channels = layer.signed, layer.weights.shape[3]
    negated = -layer.weights[..., signed].astype(np.int16)
    rest = np.maximum(negated - 127, 0)
    repeated = np.flatnonzero(rest.any(axis=(0, 1, 2)))
    weights = np.concatenate((layer.weights, np.minimum(negated, 127), rest[..., repeated]), axis=3).astype(np.int8)
    end, indices = channels + negated.shape[3], torch.from_numpy(repeated)
    border, pad = borders(layer)

    def make(x: Tensor) -> Tensor:
        out = torch.empty((*x.shape[:3], weights.shape[3]), dtype=torch.int8)
        for image, target in zip(x, out, strict=True):
            plus = image.clamp(min=0)
            minus = (plus - image)[..., signed]  # wraps to -128 for x = -128, which is 128 as uint8
            target[..., :channels].copy_(plus)
            target[..., channels:end].copy_(minus)
            if len(indices):
                target[..., end:] = minus[..., indices]
        return bordered(out.view(torch.uint8), border)

    return Feed(weights, layer.half_steps(), make, border, pad)


def offset_steps(layer: Layer) -> Array:
    """The bias in half steps that takes 128 * (sum of weights) off again."""
    return np.asarray(layer.half_steps() - 256 * layer.weights.astype(np.int64).sum(axis=(1, 2, 3)))


def offset(layer: Layer) -> Feed:
    """x + 128 of all channels, borders of 128 written out; needs the full range of uint8."""
    left, right, top, bottom = border = layer.spec.window.pad

    def make(x: Tensor) -> Tensor:
        n, h, w, c = x.shape
        out = torch.empty((n, top + h + bottom, left + w + right, c), dtype=torch.int8)
        if any(border):
            out.fill_(-128)
        torch.bitwise_xor(x, -128, out=out[:, top : top + h, left : left + w])
        return out.view(torch.uint8)

    return Feed(layer.weights, offset_steps(layer), make, border, (0, 0))


def borders(layer: Layer) -> tuple[tuple[int, int, int, int], tuple[int, int]]:
    """The layer's padding, as a border where it is not symmetric, and else as what torch pads: (border, pad)."""
    left, right, top, bottom = layer.spec.window.pad
    if left == right and top == bottom:
        return (0, 0, 0, 0), (top, left)
    return layer.spec.window.pad, (0, 0)


def bordered(x: Tensor, border: tuple[int, int, int, int]) -> Tensor:
    """An NHWC tensor with a border of zeros."""
    left, right, top, bottom = border
    return torch.nn.functional.pad(x, (0, 0, left, right, top, bottom)) if any(border) else x


def int8(layer: Layer, inner: Layer, feed: Feed) -> Function:
    """oneDNN's INT8 convolution with rounding, ReLU and saturation in its epilogue; `inner` is what it computes."""
    spec, half = inner.spec, feed.half_steps
    stride, dilation, pad = list(spec.window.stride[::-1]), list(spec.window.dilation[::-1]), list(feed.pad)
    made = feed.weights.shape[0]
    ones, zeros = torch.ones(made), torch.zeros(made, dtype=torch.int64)
    bias = torch.from_numpy((half / 2 + tie_breaker(spec, half)).astype(np.float32))
    oihw = torch.from_numpy(feed.weights.transpose(0, 3, 1, 2).copy())
    left, right, top, bottom = feed.border
    shape = [1, feed.weights.shape[3], layer.height + top + bottom, layer.width + left + right]
    packed = torch.ops.onednn.qconv_prepack(oihw, ones, 1.0, 0, stride, pad, dilation, 1, shape)
    step = 2.0**spec.shift_cut
    kind, after, limits = torch.int8, "none", []
    if spec.activation.name != "NONE":
        kind, after = torch.uint8, "hardtanh"
        limits = [0.0, step * (127 if spec.activation.name == "RELU" else float(spec.activation.relu6_limit or 0))]
    make, whole = feed.make, layer.spec

    def run(x: Array, *_: Array) -> Array:
        y = torch.ops.onednn.qconv2d_pointwise(
            make(as_tensor(x)).permute(0, 3, 1, 2), 1.0, 0, packed, ones, zeros, bias, stride, pad, dilation, 1,
            step, 0, kind, after, limits, "",
        )  # fmt: skip
        return spread(as_array(y), whole) if whole.transposed else as_array(y)

    return run


def spread(y: Array, spec: Convolution) -> Array:
    """[N, H, W, (row, column, channel)] as the image whose pixels they are."""
    n, h, w, _ = y.shape
    kw, kh = spec.window.kernel
    pixels = torch.from_numpy(y).view(n, h, w, kh, kw, -1).permute(0, 1, 3, 2, 4, 5).contiguous()
    return np.asarray(pixels.view(n, h * kh, w * kw, -1).numpy())


def floating(layer: Layer, dtype: torch.dtype) -> Function:
    """Sums in floating point, scaled by 2**-shift_cut beforehand; image by image, so that they stay in cache."""
    spec, window = layer.spec, layer.spec.window
    kernel = torch.from_numpy(layer.weights.astype(np.float64)) * 2.0**-spec.shift_cut
    simple = spec.activation.name in ("NONE", "RELU")
    rounding = 0.5 if simple and spec.shift_cut >= 0 else 0.0  # below 0 every result is whole
    bias = torch.from_numpy(layer.half_steps() * 2.0 ** -(spec.shift_cut + 1) + rounding).to(dtype)
    groups = layer.weights.shape[3] if spec.depthwise else 1
    if spec.transposed:  # torch flips taps, XIR stores them flipped; torch takes [in, out / groups, h, w]
        order = (3, 0, 1, 2)
        kernel = kernel.flip(1, 2)
    else:
        order = (3, 0, 1, 2) if spec.depthwise else (0, 3, 1, 2)
    kernel = kernel.permute(order).to(dtype).contiguous(memory_format=torch.channels_last)
    stride, dilation = window.stride[::-1], window.dilation[::-1]
    border, pad = borders(layer)

    def total(image: Tensor) -> Tensor:
        if not spec.transposed:
            x = bordered(image, border).permute(0, 3, 1, 2).to(dtype)
            return torch.nn.functional.conv2d(x, kernel, bias, stride, pad, dilation, groups)
        x = image.permute(0, 3, 1, 2).to(dtype)
        full = torch.nn.functional.conv_transpose2d(x, kernel, bias, stride, groups=groups)
        left, _, top, _ = window.pad
        return full[:, :, top : top + spec.out[0], left : left + spec.out[1]]

    def finish(y: Tensor) -> Array:
        if not simple:
            numerator = y.to(torch.float64).mul_(2.0 ** (spec.shift_cut + 1)).to(torch.int64)
            return reference.activate(spec.activation, numerator.permute(0, 2, 3, 1).numpy(), spec.shift_cut + 1)
        low = 0 if spec.activation.name == "RELU" else -128
        whole = y.clamp_(0, 127.5) if low == 0 else y.floor_().clamp_(-128, 127)
        return as_array(whole.to(torch.int8))  # truncates, which is floor from 0 up

    def run(x: Array, *_: Array) -> Array:
        images = as_tensor(x)
        return np.concatenate([finish(total(images[i : i + 1])) for i in range(len(images))])

    return run
