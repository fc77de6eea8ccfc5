"""Detectors: the cascade on the portrait that scikit-image ships, YuNet through a stand-in."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from skimage import data

from deploy.video import faces
from deploy.video.faces import Cascade, YuNet, by_size, overlap
from model import fetch
from model.selfblend import FaceBox
from xmodel.errors import ArtifactError, UsageError


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    """The astronaut, half size: a face of 115 / 2 pixels around (113, 68)."""
    return np.asarray(
        cv2.resize(data.astronaut(), (256, 256), interpolation=cv2.INTER_AREA),  # type: ignore[no-untyped-call]
        np.uint8,
    )


def test_the_cascade_finds_the_face_and_finds_it_again_nearby(portrait: np.ndarray) -> None:
    truth = FaceBox(113, 66, 57)
    found = Cascade().find(portrait)[0]
    assert overlap(found, truth) > 0.6
    again = Cascade().find(portrait, FaceBox(found.x + 9, found.y - 7, found.side * 1.15))
    assert overlap(again[0], truth) > 0.6


def test_no_face_in_a_picture_of_something_else_or_next_to_nothing() -> None:
    assert Cascade().find(np.zeros((100, 120, 3), np.uint8)) == []
    assert Cascade().find(np.zeros((24, 500, 3), np.uint8)) == []
    assert Cascade().find(np.zeros((100, 120, 3), np.uint8), FaceBox(-500, 4000, 30)) == []


def test_the_cascade_comes_with_scikit_image() -> None:
    from skimage.data import lbp_frontal_face_cascade_filename

    path = Path(lbp_frontal_face_cascade_filename())  # type: ignore[no-untyped-call]
    assert path.is_file() and "skimage" in path.parts


class Model:
    """What `cv2.FaceDetectorYN.create` returns: rows of x, y, width, height, ten landmark values, score."""

    def __init__(self, rows: list[list[float]] | None) -> None:
        self.rows = rows

    def detect(self, image: np.ndarray) -> tuple[int, Any]:
        assert image.flags.c_contiguous and image.dtype == np.uint8
        return 1, None if self.rows is None else np.array([[*row, *[0.0] * 10, 0.9] for row in self.rows], np.float32)


def stand_in(monkeypatch: pytest.MonkeyPatch, rows: list[list[float]] | None) -> list[tuple[Any, ...]]:
    seen: list[tuple[Any, ...]] = []

    def create(*arguments: Any) -> Model:
        seen.append(arguments)
        return Model(rows)

    monkeypatch.setattr(cv2.FaceDetectorYN, "create", create)
    return seen


def test_yunet_boxes_become_squares(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = tmp_path / "yunet.onnx"
    model.write_bytes(b"weights")
    rows: list[list[float]] = [[10, 20, 20, 30], [50, 10, 40, 60], [0, 0, -1, 5], [0, 0, np.nan, 5]]
    seen = stand_in(monkeypatch, rows)
    detector = YuNet(model)
    image = np.zeros((90, 160, 3), np.uint8)
    large, little = detector.find(image)
    assert (large.x, large.y, large.side) == pytest.approx((70, 40 + 0.043 * 61, 61))
    assert (little.x, little.y, little.side) == pytest.approx((20, 35 + 0.043 * 30.5, 30.5))
    assert detector.find(image, FaceBox(21, 35, 25))[0] == little
    assert seen[-1][:3] == (str(model), "", (160, 90))
    stand_in(monkeypatch, None)
    assert detector.find(image) == []


def test_a_face_model_is_known_by_its_sha256(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = tmp_path / "any.onnx"
    model.write_bytes(b"weights")
    stand_in(monkeypatch, None)
    assert not YuNet(model).known
    monkeypatch.setattr(faces, "YUNET", {hashlib.sha256(b"weights").hexdigest(): "yunet.onnx"})
    assert YuNet(model).known


def test_the_file_that_fetch_brings_is_known() -> None:
    item = fetch.ITEMS["face-model"]
    assert {item.sha256: item.file} == faces.YUNET


def test_what_is_no_face_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such face model"):
        YuNet(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"this is no onnx file")
    with pytest.raises(ArtifactError, match="cannot use this file as a YuNet face model"):
        YuNet(tmp_path / "bad.onnx")


def test_boxes_are_ordered_and_compared() -> None:
    assert by_size([FaceBox(5, 5, 10), FaceBox(1, 1, 20), FaceBox(4, 9, 10)]) == [
        FaceBox(1, 1, 20), FaceBox(4, 9, 10), FaceBox(5, 5, 10)
    ]  # fmt: skip
    assert overlap(FaceBox(0, 0, 10), FaceBox(0, 0, 10)) == 1
    assert overlap(FaceBox(0, 0, 10), FaceBox(5, 0, 10)) == pytest.approx(1 / 3)
    assert overlap(FaceBox(0, 0, 10), FaceBox(20, 0, 10)) == 0 == overlap(FaceBox(0, 0, 0), FaceBox(0, 0, 0))
