"""Convolutions of the torch kernel set: oneDNN INT8 where it is exact, float32 or float64 sums where it is not.

All three give the reference's bytes. Which one a layer takes is decided from its weights when it is loaded:

- int8: oneDNN multiplies uint8 activations by int8 weights. Its result is rounded half to even; the bias carries a
  fraction of the accumulator's last place, so no tie is left and half goes up. Without VNNI the instruction
  vpmaddubsw saturates a sum of two products at 16 bits: exact for activations up to 128 (128 * -128 * 2 = -2**15).
  So a channel that can be negative is split into max(x, 0) and max(-x, 0), the latter with negated weights.
- float32: every partial sum is a multiple of half an accumulator step and stays below 2**23 of them.
- float64: the same up to 2**52.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch

from runtime.emulator import reference
from runtime.emulator.rounding import shift_floor
from runtime.emulator.spec import Convolution
from xmodel.graph import Array

Tensor = torch.Tensor
Function = Callable[..., Array]


class Path(Enum):
    """How the sums of products are taken."""

    INT8 = "int8"
    FLOAT32 = "float32"
    FLOAT64 = "float64"


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution with its constants; `signed` are the input channels that can be negative, as a slice."""

    spec: Convolution
    weights: Array
    bias: Array | None
    height: int
    width: int
    signed: slice

    def half_steps(self) -> Array:
        """int64 bias in halves of an accumulator step."""
        made = self.weights.shape[3] if self.spec.depthwise else self.weights.shape[0]
        if self.bias is None:
            return np.zeros(made, np.int64)
        return shift_floor(self.bias.astype(np.int64), self.spec.shift_bias + 1)

    def bound(self) -> float:
        """What no partial sum of products, bias and rounding half exceeds, in accumulator steps."""
        weights = np.abs(self.weights.astype(np.float64))
        worst = weights.sum(axis=(0, 1, 2) if self.spec.depthwise else (1, 2, 3))
        rounding = 2.0 ** max(0, self.spec.shift_cut)
        return float((128 * worst + np.abs(self.half_steps()) / 2).max()) + rounding


def as_tensor(x: Array) -> Tensor:
    """`x` without a copy where torch can take it."""
    return torch.from_numpy(x if x.flags.writeable else x.copy())


def as_array(x: Tensor) -> Array:
    """An int8 NHWC array of an NCHW tensor of one-byte values; no copy when it is channels_last."""
    return np.asarray(x.permute(0, 2, 3, 1).contiguous().view(torch.int8).numpy())


def prepare(layer: Layer, allowed: frozenset[Path]) -> tuple[Function, Path] | None:
    """The function of a layer's input, and the path it takes; None when no allowed path is exact."""
    if Path.INT8 in allowed and int8_is_exact(layer):
        with suppress(RuntimeError):  # oneDNN has no kernel for this shape
            return int8(layer), Path.INT8
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


def int8_is_exact(layer: Layer) -> bool:
    """Whether oneDNN's INT8 convolution gives the reference's bytes for every input.

    Its 32-bit sum becomes float32 before the bias is added. A result that is not saturated is below 2**7, so with
    shift_cut <= 14 its sum stays where float32 keeps quarters; a saturated one stays so, for rounding is monotone.
    """
    spec, half = layer.spec, layer.half_steps()
    if spec.depthwise or spec.activation.name not in ("NONE", "RELU", "RELU6") or not -8 <= spec.shift_cut <= 14:
        return False
    if spec.activation.name == "RELU6" and spec.activation.relu6_limit is None:
        return False
    if spec.transposed and not tiles(spec):
        return False
    return layer.bound() < 2.0**31 and float(np.abs(half).max(initial=0)) < 2.0**22


def tiles(spec: Convolution) -> bool:
    """True for a transposed convolution whose windows lie side by side: a 1x1 convolution and a rearrangement."""
    return spec.transposed and spec.window.kernel == spec.window.stride and not any(spec.window.pad)


def as_pointwise(weights: Array) -> Array:
    """OHWI weights of such a transposed convolution as [(row, column, out), 1, 1, in], taps unflipped."""
    flipped = weights[:, ::-1, ::-1].transpose(1, 2, 0, 3)
    return flipped.reshape(-1, 1, 1, weights.shape[3])


def split_weights(weights: Array, signed: slice) -> tuple[Array, Array]:
    """Weights for [max(x, 0), max(-x, 0) of signed channels, repeated channels], and which are repeated.

    A weight of -128 negates to 128, one more than int8 holds: its channel is repeated and adds the missing 1.
    """
    negated = -weights[..., signed].astype(np.int16)
    rest = np.maximum(negated - 127, 0)
    repeated = np.flatnonzero(rest.any(axis=(0, 1, 2)))
    parts = (weights, np.minimum(negated, 127), rest[..., repeated])
    return np.concatenate(parts, axis=3).astype(np.int8), repeated


def split(x: Tensor, signed: slice, repeated: Tensor) -> Tensor:
    """uint8 NHWC channels [max(x, 0), max(-x, 0) of signed channels, repeated channels] of an int8 tensor."""
    channels, negative = x.shape[3], signed.stop - signed.start
    out = torch.empty((*x.shape[:3], channels + negative + len(repeated)), dtype=torch.int8)
    for image, target in zip(x, out, strict=True):
        plus = image.clamp(min=0)
        minus = (plus - image)[..., signed]  # wraps to -128 for x = -128, which is 128 as uint8
        target[..., :channels].copy_(plus)
        target[..., channels : channels + negative].copy_(minus)
        if len(repeated):
            target[..., channels + negative :] = minus[..., repeated]
    return out.view(torch.uint8)


def symmetric(layer: Layer) -> bool:
    """True when left equals right and top equals bottom, which is all that torch's operators take."""
    left, right, top, bottom = layer.spec.window.pad
    return left == right and top == bottom


def bordered(x: Tensor, layer: Layer) -> Tensor:
    """An NHWC tensor with the layer's padding written out where it is not symmetric."""
    if symmetric(layer):
        return x
    left, right, top, bottom = layer.spec.window.pad
    return torch.nn.functional.pad(x, (0, 0, left, right, top, bottom))


def int8(layer: Layer) -> Function:
    """oneDNN's INT8 convolution with rounding, ReLU and saturation in its epilogue."""
    spec, window, half = layer.spec, layer.spec.window, layer.half_steps()
    weights, repeat = layer.weights, 1
    if spec.transposed:
        weights, repeat = as_pointwise(weights), window.kernel[0] * window.kernel[1]
    negative = layer.signed.stop > layer.signed.start
    weights, repeated = split_weights(weights, layer.signed) if negative else (weights, np.empty(0, np.int64))
    stride = [1, 1] if spec.transposed else [window.stride[1], window.stride[0]]
    pad = [window.pad[2], window.pad[0]] if symmetric(layer) else [0, 0]
    dilation = [window.dilation[1], window.dilation[0]]
    made = weights.shape[0]
    ones, zeros = torch.ones(made), torch.zeros(made, dtype=torch.int64)
    bias = torch.from_numpy(np.tile(half / 2 + tie_breaker(spec, half), repeat).astype(np.float32))
    oihw = torch.from_numpy(weights.transpose(0, 3, 1, 2).copy())
    left, right, top, bottom = (0, 0, 0, 0) if symmetric(layer) else window.pad  # what `bordered` adds
    shape = [1, weights.shape[3], layer.height + top + bottom, layer.width + left + right]
    packed = torch.ops.onednn.qconv_prepack(oihw, ones, 1.0, 0, stride, pad, dilation, 1, shape)
    step = 2.0**spec.shift_cut
    kind, after, limits = torch.int8, "none", []
    if spec.activation.name != "NONE":
        kind, after = torch.uint8, "hardtanh"
        limits = [0.0, step * (127 if spec.activation.name == "RELU" else float(spec.activation.relu6_limit or 0))]
    indices = torch.from_numpy(repeated)

    def run(x: Array, *_: Array) -> Array:
        given = as_tensor(x)
        bytes_ = split(given, layer.signed, indices) if negative else given.view(torch.uint8)
        y = torch.ops.onednn.qconv2d_pointwise(
            bordered(bytes_, layer).permute(0, 3, 1, 2), 1.0, 0, packed, ones, zeros, bias, stride, pad, dilation, 1,
            step, 0, kind, after, limits, "",
        )  # fmt: skip
        return spread(as_array(y), spec) if spec.transposed else as_array(y)

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
    pad = (window.pad[2], window.pad[0]) if symmetric(layer) else (0, 0)

    def total(image: Tensor) -> Tensor:
        if not spec.transposed:
            x = bordered(image, layer).permute(0, 3, 1, 2).to(dtype)
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
