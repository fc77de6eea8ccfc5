"""Pixels multiplied one by one give the reference's bytes: 1x1 convolutions, transposed ones with tiled windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.emulator.layer import Layer
from runtime.emulator.native.library import Isa
from runtime.emulator.reference import concat, convolution
from runtime.emulator.spec import Activation, Concat, Convolution, Window
from tests.runtime.emulator.cases import ACTIVATIONS, integers, quick
from tests.runtime.emulator.native import library, needs_compiler, packed
from xmodel.graph import Array

pytestmark = needs_compiler


@st.composite
def layers(draw: Any) -> tuple[Layer, Array]:
    transposed = draw(st.booleans())
    step = draw(st.tuples(st.integers(1, 3), st.integers(1, 3))) if transposed else (1, 1)
    images, height, width, made, given_ = (draw(st.integers(1, n)) for n in (3, 12, 12, 40, 40))
    start, stop = sorted(draw(st.tuples(st.integers(0, made), st.integers(0, made))))
    x = integers(draw, (images, height, width, made), -128)
    x[..., :start] &= 127
    x[..., stop:] &= 127
    weights = integers(draw, (given_, step[1], step[0], made), -128)
    bias = integers(draw, (given_,), -128) if draw(st.booleans()) else None
    spec = Convolution(
        Window(step, step), False, transposed, (height * step[1], width * step[0]), draw(st.integers(-9, 12)),
        draw(st.integers(-4, 16)), draw(st.sampled_from(ACTIVATIONS)),
    )  # fmt: skip
    return Layer(spec, weights, bias, height, width, slice(start, stop)), x


@quick
@given(case=layers(), data=st.data())
def test_any_layer_of_inputs_side_by_side(case: tuple[Layer, Array], data: st.DataObject) -> None:
    layer, x = case
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, x.shape[3] - 1)), max_size=3))) if x.shape[3] > 1 else []
    parts = np.split(x, cuts, axis=3)
    shifts = tuple(data.draw(st.integers(-10, 11)) for _ in parts)
    made = packed(layer, 1)
    np.testing.assert_array_equal(made(x), convolution(layer.spec, x, layer.weights, layer.bias))
    joined = concat(Concat(3, shifts), *parts)
    expected = convolution(layer.spec, joined, layer.weights, layer.bias)
    np.testing.assert_array_equal(made.joined(shifts, parts), expected)


def test_several_blocks_of_pixels_on_several_threads() -> None:
    random = np.random.default_rng(0)
    spec = Convolution(Window((2, 2), (2, 2)), False, True, (78, 94), 0, 9, Activation("RELU"))
    layer = Layer(spec, random.integers(-128, 128, (37, 2, 2, 33)).astype(np.int8), None, 39, 47, slice(0))
    x = random.integers(0, 128, (2, 39, 47, 33)).astype(np.int8)
    made, expected = packed(layer, 1), convolution(spec, x, layer.weights, None)
    try:
        for threads in (1, 2, 5):
            library(Isa.AVX2).set_threads(threads)
            np.testing.assert_array_equal(made(x), expected)
    finally:
        library(Isa.AVX2).set_threads(1)


@pytest.mark.parametrize(
    ("window", "transposed", "out"),
    [
        (Window((2, 2)), False, (8, 8)),
        (Window((1, 1), (2, 2)), False, (5, 5)),
        (Window((1, 1), pad=(1, 1, 1, 1)), False, (11, 11)),
        (Window((3, 3), (2, 2)), True, (19, 19)),
        (Window((2, 2), (2, 2), pad=(1, 1, 1, 1)), True, (16, 16)),
    ],
)
def test_pixels_made_of_several_are_refused(window: Window, transposed: bool, out: tuple[int, int]) -> None:
    weights = np.ones((1, window.kernel[1], window.kernel[0], 4), np.int8)
    spec = Convolution(window, False, transposed, out, 0, 0, Activation())
    arrays = weights, np.zeros(1, np.int64), np.zeros(4, bool)
    assert library(Isa.AVX2).convolution(spec, 9, 9, *arrays, None, 1) is None
