"""Display matrices and pixels that are not square."""

from __future__ import annotations

import math
import struct
from fractions import Fraction

import numpy as np
import pytest

from deploy.video.geometry import Geometry, Orientation, square_pixels

IMAGE = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)


def matrix(a: float, b: float, c: float, d: float) -> bytes:
    return struct.pack("=9i", *(round(v * 65536) for v in (a, b, 0, c, d, 0, 0, 0)), 1 << 30)


@pytest.mark.parametrize(
    ("values", "turned", "told"),
    [
        ((1, 0, 0, 1), IMAGE, ""),
        ((0, -1, 1, 0), np.rot90(IMAGE), "turned 90° to the left"),
        ((0, 1, -1, 0), np.rot90(IMAGE, 3), "turned 90° to the right"),
        ((-1, 0, 0, -1), np.rot90(IMAGE, 2), "turned by 180°"),
        ((-1, 0, 0, 1), IMAGE[:, ::-1], "mirrored"),
        ((0, 1, 1, 0), IMAGE.transpose(1, 0, 2), "mirrored"),
        ((math.cos(0.1), -math.sin(0.1), math.sin(0.1), math.cos(0.1)), IMAGE, ""),
    ],
)
def test_a_display_matrix_is_applied(values: tuple[float, ...], turned: np.ndarray, told: str) -> None:
    orientation = Orientation.of(matrix(*values))
    np.testing.assert_array_equal(orientation.apply(IMAGE), turned)
    assert orientation.told == told
    geometry = Geometry((3, 2), orientation)
    assert (geometry.height, geometry.width) == turned.shape[:2]


def test_no_matrix_or_a_damaged_one_leaves_the_frame_as_it_is() -> None:
    assert Orientation.of(b"") == Orientation.of(b"\xff" * 7) == Orientation.of(bytes(36)) == Orientation()


def test_pixels_become_square_by_stretching() -> None:
    assert square_pixels(720, 576, Fraction(64, 45)) == (1024, 576)
    assert square_pixels(720, 480, Fraction(8, 9)) == (720, 540)
    for nonsense in (None, Fraction(0), Fraction(1, 1000), Fraction(1000)):
        assert square_pixels(720, 576, nonsense) == (720, 576)
