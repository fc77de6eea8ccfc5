"""A frame as it is meant to be seen: the display matrix applied, its pixels square, RGB."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import av

Pixels = NDArray[np.uint8]

MAX_SIDE = 8192
MAX_PIXELS = 1 << 25  # 8K (7680x4320) fits


@dataclass(frozen=True, slots=True)
class Orientation:
    """Transpose first where `transposed`, then mirror left-right and top-bottom."""

    transposed: bool = False
    mirrored: bool = False
    flipped: bool = False

    @staticmethod
    def of(matrix: bytes) -> Orientation:
        """From a display matrix: nine int32 in this machine's order, rows a b u, c d v, x y w (FFmpeg's
        documentation of `AV_FRAME_DATA_DISPLAYMATRIX`): a point (p, q) is shown at (ap + cq, bp + dq).

        An angle that is no multiple of 90 degrees counts as the nearest one.
        """
        if len(matrix) != 36:
            return Orientation()
        a, b, _, c, d, *_ = struct.unpack("=9i", matrix)
        if abs(a) + abs(d) < abs(b) + abs(c):
            return Orientation(True, c < 0, b < 0)
        return Orientation(False, a < 0, d < 0)

    def apply(self, pixels: Pixels) -> Pixels:
        """`pixels` (H, W, 3) as shown."""
        turned = pixels.transpose(1, 0, 2) if self.transposed else pixels
        turned = turned[:, ::-1] if self.mirrored else turned
        return np.ascontiguousarray(turned[::-1] if self.flipped else turned)

    @property
    def told(self) -> str:
        """What is done to the frames, for a note; empty for nothing."""
        if not (self.transposed or self.mirrored or self.flipped):
            return ""
        turned = {(True, False, True): "90° to the left", (True, True, False): "90° to the right",
                  (False, True, True): "by 180°"}  # fmt: skip
        how = turned.get((self.transposed, self.mirrored, self.flipped))
        return f"turned {how}" if how else "mirrored"


@dataclass(frozen=True, slots=True)
class Geometry:
    """How the decoder's frames become `width` x `height` upright frames of square pixels.

    `coded` is (width, height) of a decoded frame after its pixels are made square, before it is turned.
    """

    coded: tuple[int, int]
    orientation: Orientation

    @property
    def width(self) -> int:
        """Of the upright frame, in pixels."""
        return self.coded[self.orientation.transposed]

    @property
    def height(self) -> int:
        """Of the upright frame, in pixels."""
        return self.coded[not self.orientation.transposed]

    def rgb(self, picture: av.VideoFrame) -> Pixels:
        """The upright frame, RGB uint8 (height, width, 3); one of another size is brought to this one."""
        return self._turned(picture, self.coded)

    def small(self, picture: av.VideoFrame, side: int) -> tuple[Pixels, float]:
        """The upright frame, shrunk to sides of at most `side` and 3 * `side` pixels, and its scale in (0, 1]."""
        scale = min(1.0, side / min(self.coded), 3 * side / max(self.coded))
        width, height = (max(1, round(edge * scale)) for edge in self.coded)
        return self._turned(picture, (width, height)), scale

    def _turned(self, picture: av.VideoFrame, size: tuple[int, int]) -> Pixels:
        fitting: dict[str, Any] = {}
        if size != (picture.width, picture.height):
            shrinks = size[0] <= picture.width and size[1] <= picture.height
            fitting = {"width": size[0], "height": size[1], "interpolation": "AREA" if shrinks else "BILINEAR"}
        pixels: Pixels = np.asarray(picture.reformat(format="rgb24", **fitting).to_ndarray(), np.uint8)
        return self.orientation.apply(pixels)


def square_pixels(width: int, height: int, aspect: Any) -> tuple[int, int]:
    """The size at which pixels of `aspect` (their width over their height; None or 0 if unknown) become square."""
    if not aspect or not 0.1 <= float(aspect) <= 10:
        return width, height
    return (round(width * float(aspect)), height) if aspect > 1 else (width, round(height / float(aspect)))


def display_matrix(side_data: Iterable[Any]) -> bytes:
    """The display matrix among a frame's side data, empty if there is none."""
    return next((bytes(item) for item in side_data if item.type.name == "DISPLAYMATRIX"), b"")
