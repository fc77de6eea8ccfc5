"""A proof that a sum becomes the right int8: for every shift a file can have, over all sums that differ.

A convolution's result is t / 2**exponent, rounded half up and saturated, where t counts half steps of the accumulator
and exponent is shift_cut + 1. As a function of t it is a staircase: it changes only at t = (2k - 1) * 2**(exponent - 1)
for the results k from -127 to 127, the first and last of which are the saturation bounds. What the emulator does to t
(add a constant, shift right, clip) never decreases, and neither does the staircase, so two that agree on both sides
of all 255 changes agree for every t there is. Small shifts are tried on every t up to beyond the saturation bounds
all the same.

The fast kernels get the same sums through a 1x1 convolution: the bias of an output channel makes the coarse part and
its weights the rest, one channel a sum.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
import pytest

from runtime.emulator import reference
from runtime.emulator.layer import Layer
from runtime.emulator.native import native_selftest
from runtime.emulator.native.library import Isa
from runtime.emulator.node import FIX_POINT_LIMIT
from runtime.emulator.rounding import dpu_round
from runtime.emulator.spec import MAX_SHIFT_BIAS, MIN_SHIFT_CUT, Activation, Convolution, Window
from runtime.emulator.torch_conv import Path, prepare
from runtime.emulator.torch_selftest import verified
from tests.runtime.emulator.native import EVERY_ISA, library, needs_compiler
from xmodel.graph import Array

CUTS = range(MIN_SHIFT_CUT, 3 * FIX_POINT_LIMIT + 1)  # in + weights - out, each within the limit
COMPLETE = 5  # shifts up to here are tried on every sum
LARGEST = (1 << 61) - 1  # of t in `dpu_round`
DEEPEST = 25  # shifts up to here have every change within reach of weights: 2**24 is 1041 products of 127 by 127


def rounded(t: int, exponent: int) -> int:
    """t / 2**exponent, half up, saturated, in exact fractions."""
    return max(-128, min(127, math.floor(t * Fraction(2) ** -exponent + Fraction(1, 2))))


def sums(exponent: int) -> list[int]:
    """Every t up to beyond saturation where that is few, else those around every change, and the ends."""
    if exponent <= COMPLETE:
        beyond = 130 << max(0, exponent)
        near = list(range(-beyond, beyond + 1))
    else:
        changes = [(2 * k - 1) << (exponent - 1) for k in range(-127, 128)]
        near = [t for change in changes for t in (change - 1, change, change + 1)]
    return [t for t in (-LARGEST, *near, -1, 0, 1, LARGEST) if abs(t) <= LARGEST]


def expected(t: list[int], exponent: int) -> Array:
    return np.array([rounded(value, exponent) for value in t], np.int8)


def layer(cut: int, shift_bias: int, coarse: Array, rest: Array, negative: bool) -> tuple[Layer, Array]:
    """A 1x1 convolution of one pixel whose channels' sums are rest + coarse * 2**shift_bias, and the pixel.

    The pixel is 127 everywhere and 1 in the last channel, or the negative of that.
    """
    high = np.rint(rest / 127).astype(np.int64)
    deep = max(1, -(-int(np.abs(high).max()) // 127))
    weights = np.empty((len(rest), deep + 1), np.int64)
    for column in range(deep):
        weights[:, column] = np.clip(high, -127, 127)
        high = high - weights[:, column]
    weights[:, deep] = rest - 127 * weights[:, :deep].sum(axis=1)
    pixel = np.array([127] * deep + [1])
    sign = -1 if negative else 1
    spec = Convolution(Window((1, 1)), False, False, (1, 1), shift_bias, cut, Activation())
    channels = slice(0, deep + 1 if negative else 0)
    ohwi = (sign * weights).astype(np.int8).reshape(len(rest), 1, 1, deep + 1)
    made = Layer(spec, ohwi, coarse.astype(np.int8), 1, 1, channels)
    return made, (sign * pixel).astype(np.int8).reshape(1, 1, 1, deep + 1)


def parts(cut: int) -> Iterator[tuple[int, Array, Array]]:
    """(shift_bias, coarse, rest): the sums of `layer` that a shift needs."""
    if cut <= COMPLETE:
        beyond = 130 << max(0, cut)
        rest = np.arange(-beyond, beyond + 1)
        yield 0, np.zeros_like(rest), rest
        yield -1, np.ones_like(rest), rest  # half a step more: the sums between
    elif cut <= DEEPEST:
        coarse, near = np.meshgrid(np.arange(-128, 127), np.array([-1, 0, 1]))
        yield cut, coarse.ravel(), near.ravel() + (1 << (cut - 1))
    else:  # the bias alone makes the changes between -64 and 64, as far as a file's shift_bias goes
        coarse, near = np.meshgrid(np.arange(-127, 128, 2), np.array([-1, 0, 1]))
        yield min(cut - 1, MAX_SHIFT_BIAS), coarse.ravel(), near.ravel()


def cases() -> Iterator[tuple[Layer, Array, Array]]:
    """Layers, their pixels, and the bytes that exact fractions say."""
    for cut in CUTS:
        for shift_bias, coarse, rest in parts(cut):
            halves = [math.floor(int(b) * Fraction(2) ** (shift_bias + 1)) for b in coarse]
            wanted = expected([2 * int(r) + h for r, h in zip(rest, halves, strict=True)], cut + 1)
            for negative in (False, True):
                made, pixel = layer(cut, shift_bias, coarse, rest, negative)
                yield made, pixel, wanted


@pytest.fixture(scope="module")
def crafted() -> list[tuple[Layer, Array, Array]]:
    return list(cases())


def agree(crafted: list[tuple[Layer, Array, Array]], made: Callable[[Layer], Callable[..., Array] | None]) -> set[int]:
    """The shifts that were tried; fails where a byte is another than exact fractions say."""
    tried = set()
    for item, pixel, wanted in crafted:
        function = made(item)
        if function is not None:
            tried.add(item.spec.shift_cut)
            np.testing.assert_array_equal(function(pixel).ravel(), wanted, err_msg=f"shift_cut {item.spec.shift_cut}")
    return tried


@pytest.mark.parametrize("exponent", range(CUTS.start + 1, CUTS.stop + 1))
def test_rounding_is_that_of_exact_fractions(exponent: int) -> None:
    t = sums(exponent)
    np.testing.assert_array_equal(dpu_round(np.array(t, np.int64), exponent), expected(t, exponent))


@pytest.mark.parametrize("exponent", range(1, 62))
def test_every_change_is_among_the_sums(exponent: int) -> None:
    results = expected(sums(exponent), exponent)
    reached = min(127, (LARGEST >> exponent) + 1)
    assert set(range(-reached + 1, reached)) <= set(results.tolist())


def test_the_reference_convolution(crafted: list[tuple[Layer, Array, Array]]) -> None:
    def made(item: Layer) -> Callable[..., Array]:
        return lambda x: reference.convolution(item.spec, x, item.weights, item.bias)

    assert agree(crafted, made) == set(CUTS)


@pytest.mark.parametrize("path", Path, ids=lambda path: path.name.lower())
def test_the_torch_kernels(path: Path, crafted: list[tuple[Layer, Array, Array]]) -> None:
    if path not in verified()[0]:
        pytest.skip("this path is not exact on this CPU and is not taken")

    def made(item: Layer) -> Callable[..., Array] | None:
        found = prepare(item, frozenset({path}))
        return None if found is None else found[0]

    tried = agree(crafted, made)
    assert set(range(-8, 14)) <= tried
    assert path is not Path.FLOAT64 or set(range(MIN_SHIFT_CUT, 41)) <= tried


@needs_compiler
@pytest.mark.parametrize("isa", EVERY_ISA, ids=lambda isa: isa.name.lower())
def test_the_native_kernels(isa: Isa, crafted: list[tuple[Layer, Array, Array]]) -> None:
    used = library(isa)
    assert agree(crafted, lambda item: native_selftest.convolution(used, item)) == set(CUTS)
