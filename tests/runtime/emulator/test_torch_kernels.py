"""Every torch kernel gives the reference's bytes: random shapes, strides, pads, shifts, ties and saturation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from runtime.emulator import reference, torch_kernels, torch_selftest
from runtime.emulator.layer import Layer
from runtime.emulator.spec import Activation, Concat, Convolution, Eltwise, Pool, Window
from runtime.emulator.torch_conv import Path, prepare, split
from tests.runtime.emulator.cases import ACTIVATIONS, integers, layers, quick
from xmodel.graph import Array

EXACT = sorted(torch_selftest.verified()[0], key=lambda path: path.value)


@quick
@given(case=layers())
def test_convolution(case: tuple[Layer, Array]) -> None:
    layer, x = case
    wanted = reference.convolution(layer.spec, x, layer.weights, layer.bias)
    for path in EXACT:
        prepared = prepare(layer, frozenset({path}))
        if prepared is not None:
            np.testing.assert_array_equal(prepared[0](x), wanted, err_msg=str(path))


@quick
@given(case=layers())
def test_offset_inputs_with_weights_too_small_to_saturate_16_bits(case: tuple[Layer, Array]) -> None:
    layer, x = replace(case[0], weights=case[0].weights >> 1), case[1]  # 2 * 255 * 64 < 2**15
    prepared = prepare(layer, frozenset({Path.INT8_FULL}))
    assume(prepared is not None)
    assert prepared is not None
    wanted = reference.convolution(layer.spec, x, layer.weights, layer.bias)
    np.testing.assert_array_equal(prepared[0](x), wanted)


@pytest.mark.parametrize(("made", "kernel"), [(1024, 3), (2048, 3), (4096, 1)])
@pytest.mark.parametrize("signed", [False, True])
def test_deep_sums(made: int, kernel: int, signed: bool) -> None:
    random = np.random.default_rng(made)
    x = random.choice(np.array([-128 if signed else 0, 127, 126], np.int8), (1, 4, 4, made))
    weights = random.choice(np.array([-128, 127, -127], np.int8), (3, kernel, kernel, made))
    weights[0], weights[1] = 127, -128  # the largest sums there are
    pad = kernel // 2
    for cut in (3, 9, 14):
        spec = Convolution(Window((kernel, kernel), pad=(pad,) * 4), False, False, (4, 4), 2, cut, Activation())
        layer = Layer(spec, weights, np.array([-128, 127, 5], np.int8), 4, 4, slice(0, made if signed else 0))
        wanted = reference.convolution(spec, x, weights, layer.bias)
        for path in EXACT:
            prepared = prepare(layer, frozenset({path}))
            if prepared is not None:
                np.testing.assert_array_equal(prepared[0](x), wanted, err_msg=str(path))


@pytest.mark.parametrize("act", [Activation(), Activation("RELU")])
@pytest.mark.parametrize("cut", range(-3, 15))
def test_requantization_of_every_accumulator_that_can_round_or_saturate_differently(act: Activation, cut: int) -> None:
    """Accumulators a * 127 + b over the whole unsaturated range and beyond, by their digits."""
    limit = min(130 << max(0, cut), 127 * 127 + 126)
    sums = np.unique(np.linspace(0, limit, 4000).astype(np.int64))
    digits = np.stack([sums // 127, sums % 127], axis=1).astype(np.int8)  # each below 128: weights 127 and 1
    for shift_bias, bias in ((0, 0), (-1, 1), (-1, -3), (2, -31)):
        for sign in (1, -1):
            weights = (np.array([127, 1]) * sign).astype(np.int8).reshape(1, 1, 1, 2)
            x = np.ascontiguousarray(digits.reshape(1, 1, -1, 2))
            spec = Convolution(Window((1, 1)), False, False, (1, len(sums)), shift_bias, cut, act)
            layer = Layer(spec, weights, np.array([bias], np.int8), 1, len(sums), slice(0, 0))
            wanted = reference.convolution(spec, x, weights, layer.bias)
            for path in (Path.INT8, Path.FLOAT32):
                prepared = prepare(layer, frozenset({path}))
                assert prepared is not None
                np.testing.assert_array_equal(prepared[0](x), wanted)


def test_a_weight_of_minus_128_on_a_signed_channel_gets_a_second_channel() -> None:
    weights = np.array([-128, 5, -128, 127], np.int8).reshape(1, 1, 1, 4)
    spec = Convolution(Window((1, 1)), False, False, (1, 1), 0, 3, Activation())
    feed = split(Layer(spec, weights, None, 1, 1, slice(1, 4)))
    assert feed.weights.reshape(-1).tolist() == [-128, 5, -128, 127, -5, 127, -127, 1]
    x = torch.tensor([9, -7, -128, 6], dtype=torch.int8).reshape(1, 1, 1, 4)
    assert feed.make(x).reshape(-1).tolist() == [9, 0, 0, 6, 7, 128, 0, 128]


@quick
@given(data=st.data())
def test_pool(data: st.DataObject) -> None:
    draw = data.draw
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    pad = draw(st.tuples(*(st.integers(0, kernel[i // 2]) for i in range(4))))
    window = Window(kernel, stride, pad=pad)
    height, width, channels = (draw(st.integers(1, 10)) for _ in range(3))
    ceil = draw(st.booleans())
    out = window.outputs(1, height, ceil), window.outputs(0, width, ceil)
    assume(min(out) > 0)
    x = integers(draw, (2, height, width, channels), -128)
    rescale = draw(st.integers(-9, 9))
    largest = Pool(window, True, out, rescale)
    np.testing.assert_array_equal(torch_kernels.maximum_pool(largest)(x), reference.pool(largest, x))
    average = Pool(window, False, out, rescale, draw(st.integers(1, 60)), draw(st.integers(0, 12)))
    fast = torch_kernels.average_pool(average)
    if fast is not None:
        np.testing.assert_array_equal(fast(x), reference.pool(average, x))


@quick
@given(data=st.data())
def test_add(data: st.DataObject) -> None:
    draw = data.draw
    points = tuple(draw(st.lists(st.integers(-6, 9), min_size=1, max_size=4)))
    spec = Eltwise(False, points, draw(st.integers(-6, 9)), draw(st.sampled_from(ACTIVATIONS[:2])))
    shapes = [draw(st.sampled_from([(1, 3, 4, 5), (1, 1, 1, 5), (1, 3, 4, 1)])) for _ in points[1:]]
    inputs = [integers(draw, shape, -128) for shape in [(1, 3, 4, 5), *shapes]]
    fast = torch_kernels.add(spec)
    assume(fast is not None)
    assert fast is not None
    np.testing.assert_array_equal(fast(*inputs), reference.eltwise(spec, *inputs))


@quick
@given(data=st.data())
def test_concat(data: st.DataObject) -> None:
    draw = data.draw
    axis, count = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    shapes = [[2, 3, 4, 5] for _ in range(count)]
    for shape in shapes:
        shape[axis] = draw(st.integers(1, 9))
    inputs = [integers(draw, tuple(shape), -128) for shape in shapes]
    spec = Concat(axis, tuple(draw(st.integers(-10, 18)) for _ in range(count)))
    np.testing.assert_array_equal(torch_kernels.concat(spec)(*inputs), reference.concat(spec, *inputs))
