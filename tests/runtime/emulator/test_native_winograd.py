"""Winograd's tiles give the reference's bytes: any shape, any rounding, and both sides of the bound on their sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.emulator.layer import Layer
from runtime.emulator.native.library import Isa
from runtime.emulator.reference import concat
from runtime.emulator.reference import convolution as reference
from runtime.emulator.spec import Activation, Concat, Convolution, Window
from tests.runtime.emulator.cases import ACTIVATIONS, integers, quick
from tests.runtime.emulator.native import library, needs_compiler, packed
from xmodel.graph import Array

pytestmark = needs_compiler
each_tile = pytest.mark.parametrize("tile", [2, 4])


def wanted(layer: Layer, x: Array) -> Array:
    return reference(layer.spec, x, layer.weights, layer.bias)


def square(weights: Array, size: int, cut: int, signed: bool = False, bias: Array | None = None) -> Layer:
    """A 3x3 layer of 'same' padding on a square image."""
    spec = Convolution(Window((3, 3), pad=(1, 1, 1, 1)), False, False, (size, size), 0, cut, Activation())
    return Layer(spec, weights, bias, size, size, slice(0, weights.shape[3] if signed else 0))


@st.composite
def layers(draw: Any) -> tuple[Layer, Array]:
    pad = draw(st.tuples(*[st.integers(0, 3)] * 4))
    height, width = (draw(st.integers(max(1, 3 - sum(p)), 13)) for p in (pad[2:], pad[:2]))
    made, given_ = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    window = Window((3, 3), pad=pad)
    start, stop = sorted(draw(st.tuples(st.integers(0, made), st.integers(0, made))))
    x = integers(draw, (draw(st.integers(1, 3)), height, width, made), -128)
    x[..., :start] &= 127
    x[..., stop:] &= 127
    weights = integers(draw, (given_, 3, 3, made), -128)
    bias = integers(draw, (given_,), -128) if draw(st.booleans()) else None
    spec = Convolution(
        window, False, False, (window.outputs(1, height), window.outputs(0, width)), draw(st.integers(-9, 12)),
        draw(st.integers(-4, 16)), draw(st.sampled_from(ACTIVATIONS)),
    )  # fmt: skip
    return Layer(spec, weights, bias, height, width, slice(start, stop)), x


@quick
@given(case=layers(), tile=st.sampled_from([2, 4]))
def test_any_layer(case: tuple[Layer, Array], tile: int) -> None:
    np.testing.assert_array_equal(packed(case[0], tile)(case[1]), wanted(*case))


@quick
@given(case=layers(), tile=st.sampled_from([2, 4]), data=st.data())
def test_any_layer_of_inputs_side_by_side(case: tuple[Layer, Array], tile: int, data: st.DataObject) -> None:
    layer, x = case
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, x.shape[3] - 1)), max_size=3))) if x.shape[3] > 1 else []
    parts = np.split(x, cuts, axis=3)
    shifts = tuple(data.draw(st.integers(-10, 11)) for _ in parts)
    np.testing.assert_array_equal(
        packed(layer, tile).joined(shifts, parts), wanted(layer, concat(Concat(3, shifts), *parts))
    )


@pytest.mark.parametrize(
    ("signed", "total", "parts"),
    [(False, 264_208, 1), (False, 264_209, 2), (True, 262_144, 1), (True, 262_145, 2)],
    ids=["127 up to", "127 beyond", "-128 up to", "-128 beyond"],
)
def test_both_sides_of_the_bound(signed: bool, total: int, parts: int) -> None:
    """2^6 times a sum must fit 32 bits: 127 * 264208 < 2^25 and -128 * 262144 = -2^25 do, one weight more does not."""
    weights = np.zeros(9 * 232, np.int64)
    weights[:] = total // weights.size
    weights[: total % weights.size] += 1
    random = np.random.default_rng(total)
    random.shuffle(weights)
    both = np.stack([weights, -weights if not signed else weights // 2]).astype(np.int8).reshape(2, 3, 3, 232)
    x = np.full((2, 5, 5, 232), 127, np.int8)
    x[1] = -128 if signed else 126
    for cut in (17, 18, 19, 4):
        layer = square(both, 5, cut, signed)
        made = packed(layer, 4)
        assert made.parts == parts
        np.testing.assert_array_equal(made(x), wanted(layer, x))


@each_tile
@pytest.mark.parametrize("signed", [False, True])
def test_the_largest_sums(tile: int, signed: bool) -> None:
    random = np.random.default_rng(tile)
    x = random.choice(np.array([-128 if signed else 0, 127, 126], np.int8), (2, 3, 3, 1024))
    x[1] = -128 if signed else 127
    weights = random.choice(np.array([-128, 127, -127], np.int8), (5, 3, 3, 1024))
    weights[0], weights[1] = 127, -128
    for cut in (-1, 3, 14, 24):
        layer = square(weights, 3, cut, signed, np.array([-128, 127, 5, 0, -1], np.int8))
        made = packed(layer, tile)
        assert made.parts > 1 if tile == 4 else made.parts == 1
        np.testing.assert_array_equal(made(x), wanted(layer, x))


@each_tile
def test_weights_of_many_megabytes(tile: int) -> None:
    random = np.random.default_rng(tile)
    layer = square(random.integers(-128, 128, (310, 3, 3, 500)).astype(np.int8), 5, 14)
    x = random.integers(0, 128, (1, 5, 5, 500)).astype(np.int8)
    np.testing.assert_array_equal(packed(layer, tile)(x), wanted(layer, x))


@each_tile
def test_several_blocks_of_tiles_on_several_threads(tile: int) -> None:
    random = np.random.default_rng(tile)
    layer = square(random.integers(-128, 128, (70, 3, 3, 33)).astype(np.int8), 37, 13)
    x = random.integers(0, 128, (2, 37, 37, 33)).astype(np.int8)
    made, expected = packed(layer, tile), wanted(layer, x)
    try:
        for threads in (1, 2, 5):
            library(Isa.AVX2).set_threads(threads)
            np.testing.assert_array_equal(made(x), expected)
            np.testing.assert_array_equal(made(x[:1, :, :, :]), expected[:1])
    finally:
        library(Isa.AVX2).set_threads(1)


def test_tiles_are_for_3x3_windows_of_stride_1() -> None:
    for window in (Window((3, 3), (2, 2)), Window((3, 3), (1, 1), (2, 2)), Window((5, 5)), Window((3, 1))):
        weights = np.ones((1, window.kernel[1], window.kernel[0], 4), np.int8)
        spec = Convolution(window, False, False, (window.outputs(1, 9), window.outputs(0, 9)), 0, 0, Activation())
        negative = np.zeros(4, bool)
        assert library(Isa.AVX2).convolution(spec, 9, 9, weights, np.zeros(1, np.int64), negative, None, 4) is None
