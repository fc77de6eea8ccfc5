"""The torch kernel set: the reference's bytes from torch's vectorized, multithreaded operators."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from runtime.emulator import torch_conv
from runtime.emulator.layer import Layer, constant_parameters
from runtime.emulator.node import Node
from runtime.emulator.operations import Function, Spec
from runtime.emulator.spec import Concat, Convolution, Eltwise, Pool
from runtime.emulator.torch_conv import Path, Tensor, as_tensor
from xmodel.graph import Array


def requantize(x: Tensor, shift: int) -> Tensor:
    """int8 of x / 2**shift, rounded half up and saturated; `x` is an integer tensor that leaves room for the half."""
    if shift > 0:
        wide = x.to(torch.int16) if x.dtype == torch.int8 else x
        by = min(shift, 14)
        rounded = (wide + (1 << (by - 1))).bitwise_right_shift_(by)
        return rounded.to(torch.int8) if x.dtype == torch.int8 else rounded.clamp_(-128, 127).to(torch.int8)
    if shift < 0:
        wide = x.clamp(-128, 127).to(torch.int16) << min(-shift, 8)
        return wide.clamp_(-128, 127).to(torch.int8)
    return x.clamp(-128, 127).to(torch.int8)


def maximum_pool(spec: Pool) -> Function:
    """Windows side by side: maxima of row pairs, then of column pairs. Other windows: maxima of strided views."""
    (kw, kh), (sw, sh), (dw, dh) = spec.window.kernel, spec.window.stride, spec.window.dilation
    left, right, top, bottom = spec.window.pad

    def run(x: Array, *_: Array) -> Array:
        image = as_tensor(x)
        need_h, need_w = (spec.out[0] - 1) * sh + spec.window.reach(1), (spec.out[1] - 1) * sw + spec.window.reach(0)
        more_h, more_w = max(bottom, need_h - top - x.shape[1]), max(right, need_w - left - x.shape[2])
        if left or top or more_h > 0 or more_w > 0:
            border = (0, 0, left, max(0, more_w), top, max(0, more_h))
            image = torch.nn.functional.pad(image, border, value=-128)
        end_h, end_w = (spec.out[0] - 1) * sh + 1, (spec.out[1] - 1) * sw + 1
        best = image[:, 0:end_h:sh]
        for row in range(1, kh):
            best = torch.maximum(best, image[:, row * dh : row * dh + end_h : sh])
        rows = best
        best = rows[:, :, 0:end_w:sw]
        for column in range(1, kw):
            best = torch.maximum(best, rows[:, :, column * dw : column * dw + end_w : sw])
        return np.asarray(requantize(best, spec.rescale).contiguous().numpy())

    return run


def average_pool(spec: Pool) -> Function | None:
    """Sums in int32; None when a product with the factor could leave it."""
    (kw, kh), (sw, sh), (dw, dh) = spec.window.kernel, spec.window.stride, spec.window.dilation
    (left, _, top, _), shift = spec.window.pad, spec.shift + spec.rescale
    if kw * kh * 128 * spec.factor >= 1 << 30 or not 0 < shift <= 14:
        return None

    def run(x: Array, *_: Array) -> Array:
        n, h, w, c = x.shape
        end_h, end_w = (spec.out[0] - 1) * sh + 1, (spec.out[1] - 1) * sw + 1
        tall, wide = max(top + h, end_h + (kh - 1) * dh), max(left + w, end_w + (kw - 1) * dw)
        image = torch.nn.functional.pad(as_tensor(x), (0, 0, left, wide - left - w, top, tall - top - h))
        total = torch.zeros((n, *spec.out, c), dtype=torch.int32)
        for row in range(0, kh * dh, dh):
            for column in range(0, kw * dw, dw):
                total += image[:, row : row + end_h : sh, column : column + end_w : sw]
        return np.asarray(requantize(total.mul_(spec.factor), shift).numpy())

    return run


def add(spec: Eltwise) -> Function | None:
    """ADD with NONE or RELU in int16; None when it does not fit."""
    coarsest = min(spec.fix_in)
    shift = coarsest - spec.fix_out + 2
    falls = [min(fix_point - coarsest, 14) for fix_point in spec.fix_in]
    if spec.product or spec.activation.name not in ("NONE", "RELU") or len(falls) > 16 or shift > 13:
        return None

    def run(*inputs: Array) -> Array:
        total: Tensor | None = None
        for x, fall in zip(inputs, falls, strict=True):
            term = (as_tensor(x).to(torch.int16) << 2).bitwise_right_shift_(fall)
            total = term if total is None else total + term
        assert total is not None
        if spec.activation.name == "RELU":
            total = total.clamp(min=0)
        return np.asarray(requantize(total, shift).contiguous().numpy())

    return run


def concat(spec: Concat) -> Function:
    """Every input requantized straight into its place."""

    def run(*inputs: Array) -> Array:
        images, shape = [as_tensor(x) for x in inputs], list(inputs[0].shape)
        shape[spec.axis] = sum(x.shape[spec.axis] for x in inputs)
        out = torch.empty(shape, dtype=torch.int8)
        start = 0
        for x, shift in zip(images, spec.rescale, strict=True):
            place = out.narrow(spec.axis, start, x.shape[spec.axis])
            for image, target in zip(x, place, strict=True):  # one image at a time stays in cache
                target.copy_(requantize(image, shift) if shift else image)
            start += x.shape[spec.axis]
        return np.asarray(out.numpy())

    return run


def convolution(
    node: Node, spec: Convolution, constants: Sequence[Array | None], nonnegative: Array, allowed: frozenset[Path]
) -> Function | None:
    """The fastest exact path for a layer with constant weights and bias, None when there is none."""
    parameters = constant_parameters(constants)
    if parameters is None:
        return None
    negative = np.flatnonzero(~nonnegative)
    signed = slice(int(negative[0]), int(negative[-1]) + 1) if len(negative) else slice(0, 0)
    _, height, width, _ = node.image
    chosen = torch_conv.prepare(Layer(spec, *parameters, height, width, signed), allowed)
    return None if chosen is None else chosen[0]


class TorchKernels:
    """Fast kernels for the ops that cost time; every other op is left to the reference."""

    name = "torch"

    def __init__(self, allowed: frozenset[Path] = frozenset(Path), notes: tuple[str, ...] = ()) -> None:
        self.allowed = allowed
        self.notes = notes

    def prepare(
        self, node: Node, spec: Spec | None, constants: Sequence[Array | None], nonnegative: Sequence[Array]
    ) -> Function | None:
        """A function of the operands' arrays with the reference's bytes, or None."""
        match spec:
            case Convolution():
                return convolution(node, spec, constants, nonnegative[0], self.allowed)
            case Pool():
                return maximum_pool(spec) if spec.maximum else average_pool(spec)
            case Eltwise():
                return add(spec)
            case Concat():
                return concat(spec)
        return None

    def join(self, concat: Concat, reader: Function) -> Function | None:
        """None: torch's convolutions take one tensor."""
        return None

    def set_threads(self, count: int) -> None:
        """How many cores the calling thread's operators may use."""
        torch.set_num_threads(count)
