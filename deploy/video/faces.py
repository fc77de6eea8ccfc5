"""Where the face is in one picture: detectors behind one small interface."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from model.faces import cascade, whole_face
from model.selfblend import FaceBox
from xmodel.artifact import sha256
from xmodel.errors import ArtifactError, UsageError

Pixels = NDArray[np.uint8]

SMALLEST = 24  # pixels: the side of the window that the cascade was trained on
YUNET = {"8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4": "face_detection_yunet_2023mar.onnx"}


class Detector(Protocol):
    """Finds faces; keeps nothing between calls, so that a call's result depends on its arguments alone."""

    @property
    def name(self) -> str:
        """For messages and reports."""
        ...

    def find(self, image: Pixels, near: FaceBox | None = None) -> list[FaceBox]:
        """The faces in `image` (H, W, 3) RGB, squares from brow to chin in its pixels, the largest first.

        With `near` only a face about there and about that large is wanted, which can be much faster.
        """
        ...


@dataclass(frozen=True, slots=True)
class Cascade:
    """scikit-image's LBP cascade for frontal faces. A face counts when it is found in the mirror image too: that
    costs little and removes most of what is none."""

    name: str = "LBP cascade"
    _cascade: Any = field(default_factory=cascade, repr=False, compare=False)

    def find(self, image: Pixels, near: FaceBox | None = None) -> list[FaceBox]:
        """As `Detector.find`. The smallest face is `SMALLEST` * 1.15 pixels."""
        if near is None:
            largest = min(image.shape[:2])
            hits = self._hits(image, SMALLEST, largest, 1.2, 1.0, 3)
        else:
            hits = self._around(image, near.x, near.y, near.side / 1.15)
        confirmed = [hit for hit in hits if self._mirrored(image, hit)]
        return by_size(whole_face(*hit) for hit in confirmed)

    def _around(self, image: Pixels, x: float, y: float, side: float) -> list[tuple[float, float, float]]:
        """Hits in the neighbourhood of a face, their sides within a third of `side`."""
        reach = side * 0.95
        left, top = (max(0, int(v - reach)) for v in (x, y))
        right, bottom = int(x + reach) + 1, int(y + reach) + 1
        part = image[top:bottom, left:right]
        found = self._hits(part, max(SMALLEST, int(side * 0.75)), int(side * 1.34) + 1, 1.1, 1.0, 2)
        return [(a + left, b + top, s) for a, b, s in found]

    def _mirrored(self, image: Pixels, hit: tuple[float, float, float]) -> bool:
        left, top, side = hit
        part = np.ascontiguousarray(image[:, ::-1])
        x = image.shape[1] - left - side / 2
        again = self._around(part, x, top + side / 2, side)
        square = FaceBox(x, top + side / 2, side)
        return any(overlap(FaceBox(a + s / 2, b + s / 2, s), square) > 0.4 for a, b, s in again)

    def _hits(
        self, image: Pixels, smallest: int, largest: int, growth: float, step: float, votes: int
    ) -> list[tuple[float, float, float]]:
        """(left, top, side) of what the cascade fires on."""
        if min(image.shape[:2]) <= smallest:
            return []
        found = self._cascade.detect_multi_scale(
            img=np.ascontiguousarray(image), scale_factor=growth, step_ratio=step, min_size=(smallest, smallest),
            max_size=(largest, largest), min_neighbor_number=votes,
        )  # fmt: skip
        return [(float(hit["c"]), float(hit["r"]), float(hit["width"])) for hit in found]


@dataclass(frozen=True, slots=True)
class YuNet:
    """YuNet through OpenCV, from a model file that the user names."""

    path: Path
    name: str = "YuNet"

    def __post_init__(self) -> None:
        """Raises `UsageError` for a missing file and `ArtifactError` for one that OpenCV cannot take."""
        if not self.path.is_file():
            raise UsageError("There is no such face model.", where=str(self.path))
        self.find(np.zeros((64, 64, 3), np.uint8))

    @property
    def known(self) -> bool:
        """Whether the file is a published one, by its sha256."""
        return sha256(self.path) in YUNET

    def find(self, image: Pixels, near: FaceBox | None = None) -> list[FaceBox]:
        """As `Detector.find`; the whole image is searched, and `near` only sorts: the face there comes first."""
        import cv2

        height, width = image.shape[:2]
        try:
            model = cv2.FaceDetectorYN.create(str(self.path), "", (width, height), 0.7, 0.3, 50)
            _, rows = model.detect(np.ascontiguousarray(image[..., ::-1]))
        except (cv2.error, OSError) as error:
            raise ArtifactError(
                "OpenCV cannot use this file as a YuNet face model.",
                where=str(self.path),
                hint=f"Give {', '.join(YUNET.values())}.",
            ) from error
        boxes = by_size(_square(*corners) for corners in _corners(rows) if min(corners[2:]) > 0)
        return boxes if near is None else sorted(boxes, key=lambda box: -overlap(box, near))


def _square(left: float, top: float, width: float, height: float) -> FaceBox:
    """The square of the training crops' framing for a box as WIDER FACE is annotated, which is what YuNet learned.

    The factors are the medians over 264 crops in which both the cascade and another network trained on WIDER FACE
    (MTCNN) found the face.
    """
    side = 1.22 * (width + height) / 2
    return FaceBox(left + width / 2, top + height / 2 + 0.043 * side, side)


def _corners(rows: Any) -> list[list[float]]:
    """The boxes (x, y, width, height) of YuNet's rows, which hold landmarks and a score too; None for no face."""
    if rows is None:
        return []
    values = np.asarray(rows, np.float64)[:, :4]
    found: list[list[float]] = values[np.isfinite(values).all(axis=1)].tolist()
    return found


def by_size(boxes: Iterable[FaceBox]) -> list[FaceBox]:
    """The largest first; among equal ones the leftmost, then the topmost."""
    return sorted(boxes, key=lambda box: (-box.side, box.x, box.y))


def overlap(a: FaceBox, b: FaceBox) -> float:
    """Intersection over union of two squares."""
    width = min(a.x + a.side / 2, b.x + b.side / 2) - max(a.x - a.side / 2, b.x - b.side / 2)
    height = min(a.y + a.side / 2, b.y + b.side / 2) - max(a.y - a.side / 2, b.y - b.side / 2)
    both = max(0.0, width) * max(0.0, height)
    whole = a.side**2 + b.side**2 - both
    return both / whole if whole > 0 else 0.0
