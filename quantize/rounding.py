"""Power-of-two rounding on the int8 grid, and the search for the fix position that fits a tensor best."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from quantize import pieces, race
from quantize.pieces import Span

MAX_FIX_POINT = 12  # spec: the vendor's quantizer clamps 8-bit positions to at most 12
LOW, HIGH = -128, 127
_CANDIDATES = 5  # no overflow, then up to four bits of saturation


def half_up(x: Tensor) -> Tensor:
    """Nearest integer, ties toward plus infinity (activations; the DPU's own rounding)."""
    low = torch.floor(x)
    return low.add_(x - low >= 0.5)


def half_away(x: Tensor) -> Tensor:
    """Nearest integer, ties away from zero (weights and biases)."""
    magnitude = x.abs()
    low = torch.floor(magnitude)
    return torch.copysign(low.add_(magnitude - low >= 0.5), x)


def to_grid(
    x: Tensor, fix_point: int, *, weights: bool = False, span: Span | None = None, out: Tensor | None = None
) -> Tensor:
    """`x` (float32) rounded and saturated to int8 at `fix_point`, as float32 values on the grid.

    `span` is that of `x`, where it is known. The result replaces the values of `out`, where given: `x` itself.
    """
    source = pieces.flat(x)
    if source is not None:
        result = torch.empty_like(x) if out is None else out
        target = pieces.flat(result)
        assert target is not None  # the layout is that of `x`
        pieces.to_grid(source, fix_point, weights, span or Span.of(x), target)
        return result
    scaled = x * 2.0**fix_point
    rounded = (half_away(scaled) if weights else half_up(scaled)).clamp_(LOW, HIGH)
    return rounded.mul_(2.0**-fix_point).add_(0.0)  # no negative zero


def first_position(span: Span) -> int:
    """The largest position at which nothing saturates: floor(log2(1 / step)), float32 as the vendor computes it."""
    low, high = torch.tensor([span.low, span.high])
    step = torch.maximum(low / -128.5, high / 127.5)
    if not step > torch.finfo(torch.float64).tiny:
        return 18
    return int(torch.floor(torch.log2(1 / step)))


def search(x: Tensor, *, weights: bool = False, span: Span | None = None) -> int | None:
    """The fix position with the least squared error among `first_position` and the four above it.

    Errors are float32 sums; the first strict minimum wins. None for a tensor that holds NaN or
    infinity. `span` is that of `x`, where it is known.
    """
    span = span or Span.of(x)
    if not span.finite:
        return None
    start = first_position(span)
    if start >= MAX_FIX_POINT:
        return MAX_FIX_POINT
    elements = pieces.flat(x)
    candidates: Sequence[int] = range(start, start + _CANDIDATES)
    if elements is not None:
        candidates = race.contenders(elements, candidates, span)
    if len(candidates) == 1:
        return min(candidates[0], MAX_FIX_POINT)
    return min(least_error(x.contiguous(), candidates, weights=weights), MAX_FIX_POINT)


def least_error(x: Tensor, candidates: Sequence[int], *, weights: bool = False) -> int:
    """The definition: the first of the candidates (ascending) whose float32 squared error is strictly the least."""
    best, least = candidates[0], math.inf
    for position in candidates:
        squares = (x - to_grid(x, position, weights=weights)) ** 2
        error = float(torch.sum(squares))  # one sum over the tensor: the order of additions decides its last bits
        if error < least:
            best, least = position, error
    return best


def input_position(x: Tensor, *, span: Span | None = None) -> int | None:
    """A network input's position: no saturation, no search."""
    span = span or Span.of(x)
    return min(first_position(span), MAX_FIX_POINT) if span.finite else None
