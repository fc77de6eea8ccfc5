"""The square of a frame that the network judges, framed as its training crops are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.selfblend import FaceBox

Pixels = NDArray[np.uint8]

MARGIN = 1.4  # side of the square in sides of the face: the tight crops of training and evaluation
SMALLEST = 16  # pixels of the square's side: a face below that has nothing left to judge


@dataclass(frozen=True, slots=True)
class Square:
    """A part of a frame in pixels; what sticks out of the frame is the mirrored frame. A whole frame may be oblong."""

    left: int
    top: int
    width: int
    height: int

    @staticmethod
    def around(face: FaceBox, width: int, height: int, margin: float = MARGIN) -> Square | None:
        """The square `margin` times as large as the face around its centre, but not larger than the frame of
        `width` x `height`; None where the centre is outside the frame or the square is too small."""
        if not (0 <= face.x < width and 0 <= face.y < height):
            return None
        side = round(min(face.side * margin, width, height))
        if side < min(SMALLEST, width, height):
            return None
        return Square(round(face.x - side / 2), round(face.y - side / 2), side, side)

    @staticmethod
    def centre(width: int, height: int) -> Square:
        """The largest square in the middle of the frame."""
        side = min(width, height)
        return Square((width - side) // 2, (height - side) // 2, side, side)

    def cut(self, frame: Pixels) -> Pixels:
        """Its pixels (height, width, 3) out of `frame` (H, W, 3)."""
        import cv2

        height, width = frame.shape[:2]
        top, left, bottom, right = self.inside(width, height)
        part = frame[top:bottom, left:right]
        edges = (top - self.top, self.top + self.height - bottom, left - self.left, self.left + self.width - right)
        if any(edges):
            part = np.asarray(cv2.copyMakeBorder(part, *edges, cv2.BORDER_REFLECT), np.uint8)
        return np.ascontiguousarray(part)

    def inside(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Top, left, bottom and right of the part that lies in a frame of `width` x `height`."""
        return (
            max(0, self.top), max(0, self.left), min(height, self.top + self.height),
            min(width, self.left + self.width),
        )  # fmt: skip
