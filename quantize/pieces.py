"""Rounding of CPU tensors in pieces that stay in the cache, a few threads sharing the pieces.

The same values as `rounding.half_up` and `half_away` on whole tensors, in a fifth of the memory
traffic and without a thread barrier per elementary operation.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from xmodel.graph import Array

_PIECE = 1 << 16  # elements: two float32 buffers of this size fit a level-2 cache
_BELOW_HALF = np.nextafter(np.float32(0.5), np.float32(0))
Kernel = Callable[[Array, Array], None]


def usable(x: Tensor) -> bool:
    """True for a contiguous float32 CPU tensor."""
    return x.device.type == "cpu" and x.dtype == torch.float32 and x.is_contiguous() and x.numel() > 0


def to_grid(x: Tensor, fix_point: int, weights: bool) -> Tensor:
    """`x` rounded and saturated to int8 at `fix_point`, as float32 values on the grid, without negative zeros.

    Ties go up, or away from zero for `weights`.
    """
    rounding = _half_away if weights else _rounding(x)
    return _map(x, lambda piece, out: _round(piece, fix_point, out, rounding))


def squared_errors(x: Tensor, fix_point: int, weights: bool, out: Tensor | None = None) -> Tensor:
    """(x - to_grid(x)) ** 2, elementwise, into `out` when one is given (fresh memory costs more than the sums)."""
    rounding = _half_away if weights else _rounding(x)

    def kernel(piece: Array, out: Array) -> None:
        _round(piece, fix_point, out, rounding)
        np.subtract(piece, out, out=out)
        np.multiply(out, out, out=out)

    return _map(x, kernel, out)


def _rounding(x: Tensor) -> Callable[[Array], None]:
    return _half_up_positive if bool(x.min() >= 0) else _half_up


def _round(x: Array, fix_point: int, out: Array, rounding: Callable[[Array], None]) -> None:
    np.multiply(x, np.float32(2.0**fix_point), out=out)
    rounding(out)
    np.clip(out, -128, 127, out=out)
    np.multiply(out, np.float32(2.0**-fix_point), out=out)
    np.add(out, np.float32(0), out=out)  # -0 becomes 0


def _half_up_positive(t: Array) -> None:
    # floor(t + h) with h just below one half is exact for t >= 0; one half itself would take 0.49999997 to 1
    np.add(t, _BELOW_HALF, out=t)
    np.floor(t, out=t)


def _half_up(t: Array) -> None:
    fraction = t.copy()
    np.floor(t, out=t)
    np.subtract(fraction, t, out=fraction)
    np.add(t, fraction >= 0.5, out=t)


def _half_away(t: Array) -> None:
    magnitude = np.abs(t)
    _half_up_positive(magnitude)
    np.copysign(magnitude, t, out=t)


def _map(x: Tensor, kernel: Kernel, out: Tensor | None = None) -> Tensor:
    result = torch.empty_like(x) if out is None else out
    source, target = x.view(-1).numpy(), result.view(-1).numpy()
    threads = min(torch.get_num_threads(), -(-source.size // _PIECE))

    def work(first: int) -> None:
        for start in range(first * _PIECE, source.size, threads * _PIECE):
            kernel(source[start : start + _PIECE], target[start : start + _PIECE])

    if threads == 1:
        work(0)
        return result
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, range(threads)):
            pass
    return result
