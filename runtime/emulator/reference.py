"""What the hardware computes: the DPU's integer ops in NumPy, one short function an op.

Tensors are NHWC int8; real = q * 2**-fix_point. Everything here is exact; nothing here is fast. Convolution sums
are held in float64, which is exact below 2**53 (int8 products stay there up to 2**39 taps), because BLAS adds them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from runtime.emulator.rounding import dpu_round, shift_floor, whole
from runtime.emulator.spec import Activation, Concat, Convolution, Eltwise, HardSigmoid, Pool, Resize, Window
from xmodel.graph import Array


def taps(x: Array, window: Window, out: tuple[int, int], fill: int) -> Iterator[tuple[int, int, Array]]:
    """(row, column, NHWC view) of every kernel position over `x` padded with `fill`."""
    (left, _, top, _), (sw, sh), (dw, dh) = window.pad, window.stride, window.dilation
    height, width = (out[0] - 1) * sh + window.reach(1), (out[1] - 1) * sw + window.reach(0)
    n, h, w, c = x.shape
    padded = np.full((n, max(height, top + h), max(width, left + w), c), fill, x.dtype)
    padded[:, top : top + h, left : left + w] = x
    for row in range(window.kernel[1]):
        for column in range(window.kernel[0]):
            y, z = row * dh, column * dw
            yield row, column, padded[:, y : y + (out[0] - 1) * sh + 1 : sh, z : z + (out[1] - 1) * sw + 1 : sw]


def insert_zeros(x: Array, window: Window) -> tuple[Array, Window]:
    """A transposed convolution as an ordinary one: stride zeros between pixels, pad k - 1 - pad, stride 1."""
    (kw, kh), (sw, sh), (left, right, top, bottom) = window.kernel, window.stride, window.pad
    n, h, w, c = x.shape
    spread = np.zeros((n, (h - 1) * sh + 1, (w - 1) * sw + 1, c), x.dtype)
    spread[:, ::sh, ::sw] = x
    return spread, Window((kw, kh), pad=(kw - 1 - left, kw - 1 - right, kh - 1 - top, kh - 1 - bottom))


def accumulate(spec: Convolution, x: Array, weights: Array) -> Array:
    """int64 sums of products, N x out_h x out_w x out_channels."""
    window = spec.window
    if spec.transposed:
        x, window = insert_zeros(x, window)
    made = x.shape[3] if spec.depthwise else weights.shape[0]
    total = np.zeros((x.shape[0], *spec.out, made))
    for row, column, view in taps(x.astype(np.float64), window, spec.out, 0):
        tap = weights[:, row, column].astype(np.float64)
        total += view * tap if spec.depthwise else view @ tap.T
    return total.astype(np.int64)


def convolution(spec: Convolution, x: Array, weights: Array, bias: Array | None = None) -> Array:
    """conv2d-fix, depthwise-conv2d-fix, transposed-conv2d-fix, transposed-depthwise-conv2d-fix."""
    total = 2 * accumulate(spec, x, weights)
    if bias is not None:
        total += shift_floor(bias.astype(np.int64), spec.shift_bias + 1)
    return activate(spec.activation, total, spec.shift_cut + 1)


def activate(act: Activation, numerator: Array, exponent: int) -> Array:
    """int8 of the nonlinear function of numerator / 2**exponent."""
    numerator, exponent = whole(numerator, exponent)
    match act.name:
        case "RELU":
            return dpu_round(np.maximum(numerator, 0), exponent)
        case "RELU6":
            positive = np.maximum(numerator, 0)
            return dpu_round(positive, exponent) if act.relu6_limit is None else np.minimum(
                dpu_round(positive, exponent), np.int8(act.relu6_limit)
            )  # fmt: skip
        case "LEAKYRELU":
            return dpu_round(numerator * np.where(numerator < 0, 26, 256), exponent + 8)
        case "HSIGMOID":
            return sigmoid_ramp(dpu_round(numerator, exponent), act.hsigmoid_in, act.shift_hsigmoid)
        case "HSWISH":
            x = dpu_round(numerator, exponent)
            gate = sigmoid_ramp(x, act.hsigmoid_in, act.shift_hsigmoid)
            return dpu_round(x.astype(np.int64) * gate, act.shift_hswish)
    return dpu_round(numerator, exponent)


def sigmoid_ramp(x: Array, hsigmoid_in: int, shift: int) -> Array:
    """int8 of clamp(x + 3, 0, ...) / 6, with 1/6 as 2731 / 2**14; `x` is int8 at fix position `hsigmoid_in`."""
    fraction = max(0, -hsigmoid_in)  # keeps 3 * 2731 * 2**hsigmoid_in whole
    ramp = (x.astype(np.int64) * 2731 << fraction) + (3 * 2731 << hsigmoid_in + fraction)
    return dpu_round(np.clip(ramp, 0, 1 << 32 + min(fraction, 28)), shift + fraction)


def hard_sigmoid(spec: HardSigmoid, x: Array) -> Array:
    """hard-sigmoid-fix."""
    return sigmoid_ramp(x, spec.hsigmoid_in, spec.shift_hsigmoid)


def pool(spec: Pool, x: Array) -> Array:
    """pool-fix: padding is -128 under a maximum and 0 under an average, whose divisor never changes."""
    views = (view for _, _, view in taps(x, spec.window, spec.out, -128 if spec.maximum else 0))
    if spec.maximum:
        best = next(views).copy()
        for view in views:
            np.maximum(best, view, out=best)
        return dpu_round(best, spec.rescale)
    total = np.zeros((x.shape[0], *spec.out, x.shape[3]), np.int64)
    for view in views:
        total += view
    return dpu_round(total * spec.factor, spec.shift + spec.rescale)


def eltwise(spec: Eltwise, *inputs: Array) -> Array:
    """eltwise-fix: ADD keeps two fractional bits below the coarsest input; MUL is exact."""
    wide = [x.astype(np.int64) for x in inputs]
    if spec.product:
        numerator = wide[0]
        for x in wide[1:]:
            numerator = numerator * x
        return activate(spec.activation, numerator, sum(spec.fix_in) - spec.fix_out)
    coarsest = min(spec.fix_in)
    numerator = shift_floor(wide[0], 2 - (spec.fix_in[0] - coarsest))
    for x, fix_point in zip(wide[1:], spec.fix_in[1:], strict=True):
        numerator = numerator + shift_floor(x, 2 - (fix_point - coarsest))
    return activate(spec.activation, numerator, coarsest - spec.fix_out + 2)


def concat(spec: Concat, *inputs: Array) -> Array:
    """concat-fix: every input is brought to the output's fix position."""
    return np.concatenate([dpu_round(x, by) for x, by in zip(inputs, spec.rescale, strict=True)], axis=spec.axis)


def source_positions(out: int, size: int, spec: Resize) -> Array:
    """float32 positions in the input along one axis."""
    index = np.arange(out, dtype=np.float32)
    if spec.align_corners and out > 1:
        return index * np.float32((size - 1) / (out - 1))
    scale = np.float32(size / out)
    return (index + np.float32(0.5)) * scale - np.float32(0.5) if spec.half_pixel_centers else index * scale


def nearest_index(out: int, size: int, spec: Resize) -> Array:
    """The input pixel that each output pixel copies along one axis."""
    index = np.arange(out, dtype=np.float32)
    if spec.align_corners:
        chosen = np.floor(source_positions(out, size, spec) + np.float32(0.5))
    else:
        chosen = np.floor((index + np.float32(0.5 if spec.half_pixel_centers else 0)) * np.float32(size / out))
    return np.clip(chosen.astype(np.int64), 0, size - 1)


def lerp(x: Array, positions: Array, axis: int) -> Array:
    """float32 linear interpolation along `axis`; the weight is the position's fraction even where it is clamped."""
    size = x.shape[axis]
    floor = np.floor(positions)
    lower = np.maximum(floor, 0).astype(np.int64)
    upper = np.minimum(np.ceil(positions), size - 1).astype(np.int64)
    weight = (positions - floor).reshape([-1 if a == axis else 1 for a in range(x.ndim)])
    low = x.take(lower, axis)
    return np.asarray(low + (x.take(upper, axis) - low) * weight)


def resize_float(spec: Resize, x: Array) -> Array:
    """float32 image of `spec.out`; bilinear interpolates along the width first."""
    h, w = x.shape[1:3]
    if not spec.bilinear:
        return x[:, nearest_index(spec.out[0], h, spec)][:, :, nearest_index(spec.out[1], w, spec)]
    rows = lerp(x.astype(np.float32), source_positions(spec.out[1], w, spec), 2)
    return lerp(rows, source_positions(spec.out[0], h, spec), 1)


def resize(spec: Resize, x: Array) -> Array:
    """upsample-fix and downsample-fix."""
    if not spec.bilinear:
        return dpu_round(resize_float(spec, x), spec.rescale)
    scaled = resize_float(spec, x).astype(np.float64) * 2.0**-spec.rescale
    return np.clip(np.floor(scaled + 0.5), -128, 127).astype(np.int8)
