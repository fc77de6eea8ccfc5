"""Two int8 tensors that should be equal: does rounding, saturation or a shift explain the difference?"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from xmodel.graph import Array


class Cause(StrEnum):
    """What explains every differing value of a tensor."""

    ROUNDING = "rounding"
    SATURATION = "saturation"
    SHIFT = "shift"
    NONE = "none of them"


@dataclass(frozen=True, slots=True)
class Explanation:
    """A cause and a sentence about it."""

    cause: Cause
    sentence: str


def explain(recorded: Array, replayed: Array) -> Explanation:
    """Why int8 tensors of one shape differ; they must.

    Rounding: no value is off by more than one step. Saturation: wherever they differ, one side stands at its end
    while the other goes past it or wraps around. Shift: one is the other times a power of two, up to rounding.
    """
    a, b = recorded.astype(np.int64).reshape(-1), replayed.astype(np.int64).reshape(-1)
    at = a != b
    x, y = a[at], b[at]
    if np.abs(x - y).max() <= 1:
        way = "upwards" if (y > x).all() else "downwards" if (y < x).all() else "both ways"
        return Explanation(Cause.ROUNDING, f"rounding explains it: no value is off by more than one step, {way}")
    for name, side, other, ends in (("the recorded", x, y, a), ("the replayed", y, x, b)):
        if _stops(side, other, int(ends.min()), int(ends.max())):
            limits = " and ".join(str(v) for v in np.unique(side))
            return Explanation(
                Cause.SATURATION, f"saturation explains it: {name} tensor stops at {limits}, the other goes on or wraps"
            )
    for bits in range(1, 9):
        for way, small, large in (("left", a, b), ("right", b, a)):
            if _shifted(small, large, bits):
                return Explanation(
                    Cause.SHIFT, f"a shift explains it: every value is the recorded one shifted {way} by {bits}"
                )
    return Explanation(Cause.NONE, "neither rounding nor saturation nor a shift explains it")


def _stops(side: Array, other: Array, low: int, high: int) -> bool:
    """Whether `side` stands at an end wherever the two differ, and `other` is past that end or wrapped around."""
    above = (side == high) & ((other > high) | ((high == 127) & (other < 0)))
    below = (side == low) & ((other < low) | ((low == -128) & (other > 0)))
    return bool((above | below).all())


def _shifted(small: Array, large: Array, bits: int) -> bool:
    """Whether `large` is `small` times 2**bits: off by what rounding `small` lost, or saturated."""
    lost = (1 << bits - 1) + 1
    exact = small << bits
    near = np.abs(large - exact) <= lost
    full = ((large == 127) & (exact >= 127 - lost)) | ((large == -128) & (exact <= -128 + lost))
    return bool((near | full).all()) and bool((np.abs(exact) > lost).any())
