"""Every native kernel gives the reference's bytes, on every instruction set: the CPU's own, or a software model's."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from runtime.emulator import reference
from runtime.emulator.layer import Layer
from runtime.emulator.native import native_kernels, native_selftest
from runtime.emulator.native.library import Isa, Library, PackedConvolution
from runtime.emulator.program import Program
from runtime.emulator.rounding import dpu_round
from runtime.emulator.spec import Activation, Concat, Convolution, Eltwise, Pool, Rules, Window
from tests.runtime.emulator.cases import ACTIVATIONS, integers, layers, quick
from tests.runtime.emulator.native import EVERY_ISA, library, needs_compiler
from tests.runtime.emulator.networks import Builder, uynet
from tests.runtime.emulator.vectors import OPS, index, vector
from tests.shared import needs_shared
from xmodel.graph import Array

pytestmark = needs_compiler
each_isa = pytest.mark.parametrize("isa", EVERY_ISA, ids=lambda isa: isa.name.lower())


def computed(isa: Isa, layer: Layer, x: Array) -> Array | None:
    function = native_selftest.convolution(library(isa), layer)
    return None if function is None else function(x)


def wanted(layer: Layer, x: Array) -> Array:
    return reference.convolution(layer.spec, x, layer.weights, layer.bias)


def program(graph: object, isa: Isa, monkeypatch: pytest.MonkeyPatch, rules: Rules = Rules.CARD) -> Program:
    monkeypatch.setattr(native_selftest, "verified", lambda: library(isa))
    return Program(graph, "native", rules)  # type: ignore[arg-type]


@each_isa
def test_self_test(isa: Isa) -> None:
    assert native_selftest.exact(library(isa))


@quick
@given(case=layers())
def test_convolution(case: tuple[Layer, Array]) -> None:
    expected = wanted(*case)
    for isa in EVERY_ISA:
        got = computed(isa, *case)
        assert got is not None
        np.testing.assert_array_equal(got, expected, err_msg=isa.name)


@quick
@given(case=layers(), data=st.data())
def test_convolution_of_inputs_side_by_side(case: tuple[Layer, Array], data: st.DataObject) -> None:
    layer, x = case
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, x.shape[3] - 1)), max_size=3))) if x.shape[3] > 1 else []
    parts = np.split(x, cuts, axis=3)
    shifts = tuple(data.draw(st.integers(-9, 10)) for _ in parts)
    expected = wanted(layer, reference.concat(Concat(3, shifts), *parts))
    for isa in EVERY_ISA:
        made = native_selftest.convolution(library(isa), layer)
        assert isinstance(made, PackedConvolution)
        if made.joins:
            np.testing.assert_array_equal(made.joined(shifts, parts), expected, err_msg=isa.name)
        elif shifts != (0,):
            with pytest.raises(ValueError, match="reads its input where it lies"):
                made.joined(shifts, parts)


@each_isa
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("made", "kernel"), [(1024, 3), (9216, 1), (4097, 1)])
def test_deep_sums(isa: Isa, made: int, kernel: int, signed: bool) -> None:
    random = np.random.default_rng(made)
    x = random.choice(np.array([-128 if signed else 0, 127, 126], np.int8), (1, 3, 3, made))
    weights = random.choice(np.array([-128, 127, -127], np.int8), (3, kernel, kernel, made))
    weights[0], weights[1] = 127, -128  # the largest sums there are
    pad = kernel // 2
    for cut in (-1, 3, 14, 24):
        window = Window((kernel, kernel), pad=(pad,) * 4)
        spec = Convolution(window, False, False, (3, 3), 2, cut, Activation())
        layer = Layer(spec, weights, np.array([-128, 127, 5], np.int8), 3, 3, slice(0, made if signed else 0))
        np.testing.assert_array_equal(computed(isa, layer, x), wanted(layer, x))


@each_isa
@pytest.mark.parametrize("spread", [1, 12, 60, 127])
@pytest.mark.parametrize("signed", [slice(0, 0), slice(20, 41), slice(0, 64)], ids=["positive", "mixed", "signed"])
def test_groups_of_16_bit_sums_of_any_length(isa: Isa, spread: int, signed: slice) -> None:
    """Inputs at the ends of their ranges, with the signs of one output channel's weights: the largest group sums."""
    random = np.random.default_rng(spread)
    weights = random.integers(-spread - 1, spread + 1, (20, 3, 3, 64)).astype(np.int8)
    tops = np.where(weights[:4].transpose(1, 2, 3, 0) > 0, 127, 0)
    x = np.ascontiguousarray(tops.transpose(3, 0, 1, 2)).astype(np.int8)
    x[..., signed] = np.where(weights[:4, :, :, signed] > 0, 127, -128)
    window = Window((3, 3), pad=(1, 1, 1, 1))
    layer = Layer(Convolution(window, False, False, (3, 3), 0, 13, Activation()), weights, None, 3, 3, signed)
    np.testing.assert_array_equal(computed(isa, layer, x), wanted(layer, x))


@pytest.mark.parametrize("isa", [Isa.PORTABLE, Isa.AVX2], ids=["portable", "avx2"])  # whose rounding the others take
@pytest.mark.parametrize("shift", range(-19, 64))
def test_rounding_of_every_sum_that_can_round_or_saturate_differently(isa: Isa, shift: int) -> None:
    """t / 2^shift around every tie and both ends of int8; t is the bias of its own channel, and a product"""
    results = np.arange(-131, 132, dtype=np.int64)
    near = np.arange(-3, 4, dtype=np.int64)
    halves = (2 * results[:, None] - 1 << shift) >> 1 if 0 <= shift < 40 else results[:, None]
    sums = np.unique(np.concatenate([(halves + near).ravel(), near, results]))
    sums = sums[np.abs(sums) < 1 << min(50, 52 + min(shift, 0))]
    for parity, act in product((None, 0), (Activation(), Activation("RELU"), Activation("RELU6"))):
        steps = sums if parity is None else sums[sums % 2 == 0]  # all even: the kernels halve both and save a shift
        for one in (0, 1, -1):
            weights = np.full((len(steps), 1, 1, 1), one, np.int8)
            spec = Convolution(Window((1, 1)), False, False, (1, 1), 0, shift - 1, act)
            function = library(isa).convolution(spec, 1, 1, weights, steps, np.zeros(1, bool), None)
            assert function is not None
            got = function(np.ones((1, 1, 1, 1), np.int8)).ravel()
            np.testing.assert_array_equal(got, reference.activate(act, steps + 2 * one, shift))


@pytest.mark.parametrize("isa", [Isa.PORTABLE, Isa.AVX2])
@pytest.mark.parametrize("shift", range(-12, 20))
def test_rescaling_of_every_int8(isa: Isa, shift: int) -> None:
    x = np.arange(-128, 128, dtype=np.int8).reshape(1, 16, 16, 1)
    np.testing.assert_array_equal(library(isa).concat(3, (shift,), (x,)), dpu_round(x, shift))
    pool = Pool(Window((1, 1)), True, (16, 16), shift)
    np.testing.assert_array_equal(library(isa).pool(pool, x), dpu_round(x, shift))


def test_sums_beyond_32_bits_are_left_to_the_reference() -> None:
    weights = np.full((1, 1, 1, 70_000), -128, np.int8)
    spec = Convolution(Window((1, 1)), False, False, (1, 1), 0, 3, Activation())
    assert computed(Isa.PORTABLE, Layer(spec, weights, None, 1, 1, slice(0, 0)), weights) is None


@quick
@given(data=st.data())
def test_pool(data: st.DataObject) -> None:
    draw = data.draw
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    pad = draw(st.tuples(*(st.integers(0, kernel[i // 2]) for i in range(4))))
    window = Window(kernel, stride, pad=pad)
    height, width = draw(st.integers(1, 10)), draw(st.integers(1, 10))
    channels = draw(st.sampled_from([1, 3, 32, 300]))
    ceil = draw(st.booleans())
    out = window.outputs(1, height, ceil), window.outputs(0, width, ceil)
    assume(min(out) > 0)
    x = integers(draw, (2, height, width, channels), -128)
    rescale = draw(st.integers(-9, 9))
    largest = Pool(window, True, out, rescale)
    average = Pool(window, False, out, rescale, draw(st.integers(1, 60)), draw(st.integers(0, 12)))
    for isa in (Isa.PORTABLE, Isa.AVX2):
        for spec in (largest, average):
            np.testing.assert_array_equal(library(isa).pool(spec, x), reference.pool(spec, x))


@quick
@given(data=st.data())
def test_add(data: st.DataObject) -> None:
    draw = data.draw
    points = tuple(draw(st.lists(st.integers(-6, 9), min_size=1, max_size=4)))
    spec = Eltwise(False, points, draw(st.integers(-6, 9)), draw(st.sampled_from(ACTIVATIONS[:4])))
    inputs = [integers(draw, (2, 3, 4, 97), -128) for _ in points]
    for isa in (Isa.PORTABLE, Isa.AVX2):
        fast = native_kernels.add(library(isa), spec)
        assert fast is not None
        np.testing.assert_array_equal(fast(*inputs), reference.eltwise(spec, *inputs))


@quick
@given(data=st.data())
def test_concat(data: st.DataObject) -> None:
    draw = data.draw
    axis, count = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    shapes = [[2, 3, 4, 5] for _ in range(count)]
    for shape in shapes:
        shape[axis] = draw(st.integers(1, 40))
    inputs = [integers(draw, tuple(shape), -128) for shape in shapes]
    spec = Concat(axis, tuple(draw(st.integers(-10, 18)) for _ in range(count)))
    for isa in (Isa.PORTABLE, Isa.AVX2):
        np.testing.assert_array_equal(
            native_kernels.concat(library(isa), spec)(*inputs), reference.concat(spec, *inputs)
        )


@needs_shared
@pytest.mark.parametrize("isa", [Isa.PORTABLE, Isa.VNNI, Isa.AMX], ids=lambda isa: isa.name.lower())
def test_every_recorded_vector_with_the_instruction_set_capped(isa: Isa, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, entry in index(OPS).items():
        if "conv" in entry["op"]:
            case = vector(OPS, name)
            (got,) = program(case.graph, isa, monkeypatch, Rules.CPU_RUNNER).run(case.feeds).values()
            np.testing.assert_array_equal(got, case.output, err_msg=name)


@each_isa
def test_whole_network(isa: Isa, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = uynet(8, 32)
    x = np.random.default_rng(1).integers(-128, 128, (2, 32, 32, 3), np.int8)
    fast, slow = program(graph, isa, monkeypatch), Program(graph, "reference")
    assert fast.kernels == "native"
    expected = slow.run({slow.inputs[0].name: x}, dump=True)
    for name, values in fast.run({fast.inputs[0].name: x}).items():  # without the concatenations
        np.testing.assert_array_equal(values, expected[name], err_msg=name)
    for name, values in fast.run({fast.inputs[0].name: x}, dump=True).items():
        np.testing.assert_array_equal(values, expected[name], err_msg=name)


@pytest.mark.parametrize("isa", [Isa.AVX2, Isa.AMX], ids=["avx2", "amx"])
@pytest.mark.parametrize("threads", [2, 5])
def test_threads_of_several_callers_at_once(isa: Isa, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    net = Builder("net")
    net.conv(net.pool(net.conv(net.data(12, 12, 12), 40)), 40)
    net_program = program(net.graph(), isa, monkeypatch)
    x = np.random.default_rng(2).integers(-128, 128, (3, 12, 12, 12), np.int8)
    feeds = {net_program.inputs[0].name: x}
    expected = next(iter(Program(net.graph(), "reference").run(feeds).values()))

    def run(_: int) -> bool:
        net_program.set_threads(threads)
        return all(np.array_equal(next(iter(net_program.run(feeds).values())), expected) for _ in range(3))

    with ThreadPoolExecutor(3) as callers:
        assert all(callers.map(run, range(6)))


def _in_a_child(path: object, layer: Layer, x: Array, expected: Array) -> bool:
    function = native_selftest.convolution(path, layer)  # type: ignore[arg-type]
    return function is not None and np.array_equal(function(x), expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_makes_its_own_threads() -> None:
    window = Window((3, 3), pad=(1, 1, 1, 1))
    weights = np.random.default_rng(3).integers(-128, 128, (32, 3, 3, 8)).astype(np.int8)
    layer = Layer(
        Convolution(window, False, False, (30, 30), 0, 9, Activation("RELU")), weights, None, 30, 30, slice(0)
    )
    x = np.random.default_rng(4).integers(0, 128, (4, 30, 30, 8)).astype(np.int8)
    expected, made = wanted(layer, x), library(Isa.PORTABLE)
    try:
        made.set_threads(3)
        assert _in_a_child(made, layer, x, expected)
        child = multiprocessing.get_context("fork").Process(
            target=lambda: os._exit(0 if _in_a_child(made, layer, x, expected) else 1)
        )
        child.start()
        child.join(60)
        assert child.exitcode == 0
        assert _in_a_child(made, layer, x, expected)
    finally:
        made.set_threads(1)


def test_an_array_of_another_size_is_refused() -> None:
    weights = np.ones((1, 1, 1, 4), np.int8)
    spec = Convolution(Window((1, 1)), False, False, (2, 2), 0, 0, Activation())
    function = native_selftest.convolution(library(Isa.PORTABLE), Layer(spec, weights, None, 2, 2, slice(0)))
    assert function is not None
    with pytest.raises(ValueError, match=r"made for int8 \[2, 2, 4\] was given int8 \[1, 3, 2, 4\]"):
        function(np.zeros((1, 3, 2, 4), np.int8))
    made = native_selftest.convolution(
        library(Isa.PORTABLE), Layer(spec, np.ones((1, 1, 1, 3), np.int8), None, 2, 2, slice(0))
    )
    assert isinstance(made, PackedConvolution) and made.joins
    for two in ((1, 2, 2, 2), (1, 2, 2, 2)), ((1, 2, 2, 2), (2, 2, 2, 1)):
        with pytest.raises(ValueError, match="was given int8"):
            made.joined((0, 0), [np.zeros(shape, np.int8) for shape in two])


def test_not_contiguous_inputs() -> None:
    made: Library = library(Isa.AVX2)
    x = np.random.default_rng(5).integers(-128, 128, (1, 6, 8, 10), np.int8)[:, ::2, :, 1::3]
    window = Window((2, 2), (2, 2))
    pool, join = Pool(window, True, (1, 4), 0), Concat(2, (1,))
    np.testing.assert_array_equal(made.pool(pool, x), reference.pool(pool, x))
    np.testing.assert_array_equal(native_kernels.concat(made, join)(x), reference.concat(join, x))
