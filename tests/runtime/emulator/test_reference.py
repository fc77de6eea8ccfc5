"""The definition's corners, with numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.emulator import layout, reference
from runtime.emulator.rounding import ROUND_MODES, dpu_round, quantize
from runtime.emulator.spec import Activation, Concat, Convolution, Eltwise, Pool, Window


def test_dpu_round_takes_halves_up_and_saturates() -> None:
    numerators = np.array([-3, -1, 1, 3, 5, 253, 254, 255, -257, -258, 9999])
    assert dpu_round(numerators, 1).tolist() == [-1, 0, 1, 2, 3, 127, 127, 127, -128, -128, 127]


def test_dpu_round_of_a_negative_exponent_multiplies() -> None:
    assert dpu_round(np.array([-2, 1, 31, 40, 2**40]), -2).tolist() == [-8, 4, 124, 127, 127]
    assert dpu_round(np.array([-1, 0, 1]), -60).tolist() == [-128, 0, 127]


def test_dpu_round_of_a_huge_exponent_is_zero() -> None:
    assert dpu_round(np.array([-(2**60), 2**60 - 1]), 80).tolist() == [0, 0]


@pytest.mark.parametrize("shift", range(-8, 45))
def test_requantization_is_exact_at_every_accumulator_where_a_result_changes(shift: int) -> None:
    if shift <= 8:
        numerators = np.arange(-(130 << max(0, shift)), (130 << max(0, shift)) + 1)
    else:  # a result changes at half steps only
        halves = (np.arange(-131, 131)[:, None] << shift) + (1 << (shift - 1))
        numerators = (halves + np.arange(-2, 3)).reshape(-1)
    exact = np.floor(numerators.astype(np.float64) * 2.0**-shift + 0.5)  # float64 holds these exactly
    np.testing.assert_array_equal(dpu_round(numerators, shift), np.clip(exact, -128, 127))


def test_round_modes() -> None:
    values = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
    assert ROUND_MODES["DPU_ROUND"](values).tolist() == [-2, -1, 0, 1, 2, 3]
    assert ROUND_MODES["STD_ROUND"](values).tolist() == [-3, -2, -1, 1, 2, 3]
    assert ROUND_MODES["PY3_ROUND"](values).tolist() == [-2, -2, 0, 0, 2, 2]


def test_quantize_takes_anything_a_float_can_be() -> None:
    values = np.array([np.nan, np.inf, -np.inf, 1e38, -0.001], np.float32)
    assert quantize(values, 7, 8).tolist() == [0, 127, -128, 127, 0]


def one_pixel(weight: int, bias: int, shift_bias: int, shift_cut: int, act: Activation, x: int) -> int:
    spec = Convolution(Window((1, 1)), False, False, (1, 1), shift_bias, shift_cut, act)
    arrays = np.array([x], np.int8).reshape(1, 1, 1, 1), np.array([weight], np.int8).reshape(1, 1, 1, 1)
    return int(reference.convolution(spec, *arrays, np.array([bias], np.int8))[0, 0, 0, 0])


def test_bias_keeps_half_an_accumulator_step() -> None:
    # bias 1 * 2**-1 is half a step: (2*3 + 1) / 2**2 = 1.75 -> 2, while 3/2 = 1.5 -> 2 and (2*2 + 1)/4 = 1.25 -> 1
    assert [one_pixel(1, 1, -1, 1, Activation(), x) for x in (2, 3)] == [1, 2]
    assert one_pixel(1, 1, -2, 0, Activation(), 5) == 5  # a quarter is floored away
    assert one_pixel(1, -1, -2, 0, Activation(), 5) == 5  # floor(-0.5 halves) = -1 half: 4.5 rounds up


def test_leaky_relu_is_26_of_256() -> None:
    assert [one_pixel(1, 0, 0, 0, Activation("LEAKYRELU"), x) for x in (-128, -5, -4, 7)] == [-13, -1, 0, 7]


def test_relu6_stops_at_96_on_the_card_and_only_there_above_fix_position_4() -> None:
    assert one_pixel(2, 0, 0, 0, Activation("RELU6"), 60) == 96
    assert one_pixel(2, 0, 0, 0, Activation("RELU6", relu6_limit=None), 60) == 120


def test_hard_sigmoid_with_a_negative_inner_fix_position() -> None:
    x = np.array([-128, -1, 0, 1, 127], np.int8)  # real value: 2 x
    got = reference.sigmoid_ramp(x, -1, 14 - 1 - 7)
    exact = np.clip(np.floor(np.maximum(0, (2.0 * x + 3) * 2731 / 2**14 * 2**7) + 0.5), 0, 127)
    assert got.tolist() == exact.tolist()


def test_add_drops_bits_below_a_quarter_of_the_coarsest_input() -> None:
    fine, coarse = np.array([[7]], np.int8), np.array([[1]], np.int8)
    spec = Eltwise(False, (5, 2), 5, Activation())
    assert reference.eltwise(spec, fine, coarse).tolist() == [[14]]  # 7/32 is cut to 6/32, plus 1/4


def test_average_pool_never_changes_its_divisor_at_the_border() -> None:
    x = np.full((1, 2, 2, 1), 64, np.int8)
    spec = Pool(Window((3, 3), (2, 2), pad=(1, 1, 1, 1)), False, (1, 1), 0, 7, 6)
    assert reference.pool(spec, x).tolist() == [[[[28]]]]  # 4 * 64 * 7 / 64


def test_maximum_pool_pads_with_the_smallest_value() -> None:
    x = np.full((1, 1, 1, 1), -5, np.int8)
    spec = Pool(Window((3, 3), (1, 1), pad=(1, 1, 1, 1)), True, (1, 1), 0)
    assert reference.pool(spec, x).tolist() == [[[[-5]]]]


def test_concat_requantizes_each_input() -> None:
    a, b = np.array([[3, -3]], np.int8), np.array([[100, -100]], np.int8)
    assert reference.concat(Concat(1, (1, -1)), a, b).tolist() == [[2, -1, 127, -128]]


def test_rearrangements_are_inverse() -> None:
    x = np.random.default_rng(0).integers(-128, 128, (2, 8, 12, 5)).astype(np.int8)
    for down, up in (
        (layout.space_to_depth, layout.depth_to_space),
        (layout.reorg, layout.reorg_reverse),
        (layout.pixel_unshuffle, layout.pixel_shuffle),
    ):
        np.testing.assert_array_equal(up(down(x, 2), 2), x)
