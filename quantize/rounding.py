"""Power-of-two rounding on the int8 grid, and the search for the fix position that fits a tensor best."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from quantize import pieces

MAX_FIX_POINT = 12  # spec: the vendor's quantizer clamps 8-bit positions to at most 12
LOW, HIGH = -128, 127
_SCOPE = 5  # candidates: no overflow, then up to four bits of saturation


def half_up(x: Tensor) -> Tensor:
    """Nearest integer, ties toward plus infinity (activations; the DPU's own rounding)."""
    low = torch.floor(x)
    return low.add_(x - low >= 0.5)


def half_away(x: Tensor) -> Tensor:
    """Nearest integer, ties away from zero (weights and biases)."""
    magnitude = x.abs()
    low = torch.floor(magnitude)
    return torch.copysign(low.add_(magnitude - low >= 0.5), x)


def to_grid(x: Tensor, fix_point: int, *, weights: bool = False) -> Tensor:
    """`x` (float32) rounded and saturated to int8 at `fix_point`, as float32 values on the grid."""
    if pieces.usable(x):
        return pieces.to_grid(x, fix_point, weights)
    return _integers(x, fix_point, weights).mul_(2.0**-fix_point).add_(0.0)  # no negative zero


def to_int8(x: Tensor, fix_point: int, *, weights: bool = False) -> Tensor:
    """`x` (float32) as int8 numbers q with real = q * 2**-fix_point."""
    return _integers(x, fix_point, weights).to(torch.int8)


def _integers(x: Tensor, fix_point: int, weights: bool) -> Tensor:
    scaled = x * 2.0**fix_point
    return (half_away(scaled) if weights else half_up(scaled)).clamp_(LOW, HIGH)


def first_position(x: Tensor) -> int:
    """The largest position at which nothing saturates: floor(log2(1 / step)), float32 as the vendor computes it."""
    low, high = torch.aminmax(x)
    step = torch.maximum(low / -128.5, high / 127.5)
    if not step > torch.finfo(torch.float64).tiny:
        return 18
    return int(torch.floor(torch.log2(1 / step)))


def search(x: Tensor, *, weights: bool = False) -> int | None:
    """The fix position with the least squared error among `first_position(x)` and the four above it.

    Errors are float32 sums; the first strict minimum wins. None for a tensor that holds NaN or infinity.
    """
    if not _finite(x):
        return None
    start = first_position(x)
    best, least = start, math.inf
    squares: Tensor | None = None
    for position in range(start, start + _SCOPE):
        if pieces.usable(x):
            squares = pieces.squared_errors(x, position, weights, squares)
        else:
            squares = (x - to_grid(x, position, weights=weights)) ** 2
        error = float(torch.sum(squares))  # one sum over the tensor: the order of additions decides its last bits
        if error < least:
            best, least = position, error
    return min(best, MAX_FIX_POINT)


def input_position(x: Tensor) -> int | None:
    """A network input's position: no saturation, no search."""
    return min(first_position(x), MAX_FIX_POINT) if _finite(x) else None


def _finite(x: Tensor) -> bool:
    return bool(torch.isfinite(x.sum())) or bool(torch.isfinite(x).all())
