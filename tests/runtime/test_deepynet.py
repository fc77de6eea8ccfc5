"""The published script's arithmetic, value by value."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.deepynet import flaws, pixel_values, to_int8
from runtime.preprocess import table
from runtime.preprocess import to_int8 as right
from xmodel.preprocess import Preprocessing

SPEC = Preprocessing(4, 1)
IMAGE = np.array([[[0, 1, 2], [3, 127, 128], [129, 253, 254], [255, 255, 255]]], np.uint8)


@pytest.mark.parametrize(
    ("fix_point", "wanted"),
    [
        (7, [0, 0, 1, 1, 63, 64, 64, 126, 127, -128, -128, -128]),  # 255 / 255 * 128 = 128 wraps
        (6, [0, 0, 0, 0, 31, 32, 32, 63, 63, 64, 64, 64]),
        (8, [0, 1, 2, 3, 127, -128, -127, -3, -2, 0, 0, 0]),
        (0, [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1]),
        (-1, [0] * 12),
    ],
)
def test_pixels_are_cut_off_and_wrapped(fix_point: int, wanted: list[int]) -> None:
    assert to_int8(IMAGE, fix_point).reshape(-1).tolist() == wanted


def test_it_is_the_scripts_expression() -> None:
    every = np.arange(256, dtype=np.uint8)
    for fix_point in range(8):
        exact = every * (1 / 255) * 2**fix_point
        assert pixel_values(fix_point).tolist() == [(int(v) + 128) % 256 - 128 for v in exact]


def test_how_far_it_is_from_the_right_values() -> None:
    for fix_point, brightest in ((6, 64), (7, 127)):
        assert right(IMAGE, SPEC, fix_point).reshape(-1)[-1] == brightest
    differences = table(SPEC, 6)[:, 0].astype(int) - pixel_values(6)
    assert set(differences.tolist()) == {0, 1}


def test_the_flaws_are_counted() -> None:
    six, seven = flaws(SPEC, 6, False), flaws(SPEC, 7, False)
    assert len(six) == 2 and len(seven) == 3
    wrong = int((table(SPEC, 6)[:, 0] != pixel_values(6)).sum())
    assert f"fix position 6, {wrong} of the 256 pixel values become another integer" in six[0] and 120 < wrong < 136
    assert seven[1] == "It wraps around where it should saturate: 1 of the 256 pixel values; 255 becomes -128."
    assert flaws(SPEC, 8, False)[1].endswith("128 of the 256 pixel values; 128 becomes -128.")
    assert "not imitated" in six[-1] and not any("sigmoid" in flaw or "mean" in flaw for flaw in seven)


def test_what_else_it_gets_wrong_depends_on_the_model() -> None:
    spec = Preprocessing(4, 1, mean=(0.5, 0.5, 0.5), scale=(2.0, 2.0, 2.0))
    assert "It ignores the mean (0.5, 0.5, 0.5) and the scale (2.0, 2.0, 2.0)" in flaws(spec, 6, False)[1]
    assert "every crop is called real" in flaws(SPEC, 6, True)[1]


@pytest.mark.parametrize("fix_point", [-(2**31), -200, 31, 200, 2**31 - 1])
def test_any_fix_position_of_a_file_is_survived(fix_point: int) -> None:
    assert pixel_values(fix_point).shape == (256,) and len(flaws(SPEC, fix_point, False)) >= 2
