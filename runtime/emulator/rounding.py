"""Rounding and saturation: every way a real value becomes an integer on this accelerator.

A scaled value is kept as an integer `numerator` and an `exponent`: value = numerator / 2**exponent.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from xmodel.graph import Array

INT8_MIN, INT8_MAX = -128, 127
MAX_SHIFT = 62  # a shift of an int64 numerator that still leaves room for the rounding half


def dpu_round(numerator: Array, exponent: int) -> Array:
    """int8 of numerator / 2**exponent, rounded half toward +infinity, then saturated (DPU_ROUND).

    `numerator` is an integer array below 2**61 in magnitude.
    """
    wide = numerator.astype(np.int64)
    if exponent > 0:
        shift = min(exponent, MAX_SHIFT)
        wide = (wide + (1 << (shift - 1))) >> shift
    else:
        wide = np.clip(wide, INT8_MIN, INT8_MAX) << min(-exponent, 8)
    return np.clip(wide, INT8_MIN, INT8_MAX).astype(np.int8)


def whole(numerator: Array, exponent: int) -> tuple[Array, int]:
    """The same value with an exponent of at least 0."""
    return (numerator, exponent) if exponent >= 0 else (numerator << -exponent, 0)


def shift_floor(value: Array, shift: int) -> Array:
    """floor(value * 2**shift) of an int64 array."""
    return value << shift if shift >= 0 else value >> min(-shift, MAX_SHIFT)


def half_up(value: Array) -> Array:
    """Round half toward +infinity (DPU_ROUND), unsaturated float64."""
    return np.floor(value + 0.5)


def half_away(value: Array) -> Array:
    """Round half away from zero (STD_ROUND: C's round()), unsaturated float64."""
    return np.where(value < 0, np.ceil(value - 0.5), np.floor(value + 0.5))


ROUND_MODES: dict[str, Callable[[Array], Array]] = {
    "DPU_ROUND": half_up,
    "STD_ROUND": half_away,
    "PY3_ROUND": np.rint,  # half to even
}


def quantize(value: Array, fix_point: int, bits: int, round_mode: str = "DPU_ROUND", signed: bool = True) -> Array:
    """float64 integers round(value * 2**fix_point), saturated to `bits` bits; NaN becomes 0."""
    low, high = (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if signed else (0.0, 2.0**bits - 1)
    scaled = value.astype(np.float64) * 2.0**fix_point
    rounded = np.clip(ROUND_MODES[round_mode](scaled), low, high)
    whole_numbers: Array = np.where(np.isnan(rounded), 0.0, rounded) + 0.0  # + 0.0 turns -0 into 0
    return whole_numbers
