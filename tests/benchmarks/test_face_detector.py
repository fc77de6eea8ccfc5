"""The measure of face detectors: a detector that knows everything gets full marks, one that sees ghosts does not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.face_detector import HEIGHT, WIDTH, Crop, Score, clips, empty, paste, pictures
from model.selfblend import FaceBox

GROUND = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
WHITE = Crop(np.full((100, 100, 3), 255, np.uint8), [FaceBox(50, 50, 60), FaceBox(10, 10, 9)])


@dataclass
class Bright:
    """The face is in the middle of what is bright, 0.6 of its width; `ghost` is seen everywhere."""

    ghost: FaceBox | None = None
    name: str = "bright"

    def find(self, image: NDArray[np.uint8], near: FaceBox | None = None) -> list[FaceBox]:
        rows, columns = np.nonzero(image[..., 0] > 127)
        ghosts = [self.ghost] if self.ghost else []
        if not len(rows):
            return ghosts
        side = float(np.ptp(columns) + 1)
        return [FaceBox(columns.min() + side / 2, rows.min() + side / 2, side * 0.6), *ghosts]


def test_a_crop_is_pasted_where_it_is_said_to_be() -> None:
    scene, faces = paste(GROUND, WHITE, 0.3, 0.5, 0.25)
    assert (faces[0].x, faces[0].y, faces[0].side) == pytest.approx((WIDTH / 2, 90 + 180, 216))
    assert int((scene[..., 0] > 0).sum()) == 360 * 360 and len(faces) == 2


def test_a_detector_that_knows_everything_gets_full_marks() -> None:
    found = pictures(Bright(), [WHITE] * 4, [GROUND], 0.3)
    for made in found.values():
        assert made["found"] == 1 and made["overlap"] > 0.95 and made["false_per_scene"] == 0
    moved = clips(Bright(), [WHITE], [GROUND], 0.3)
    assert moved["frames_boxed"] == 1 and moved["frames_wrong"] == 0 == moved["clips_without"]
    assert empty(Bright(), [GROUND])["false_per_scene"] == 0


def test_ghosts_are_counted() -> None:
    assert empty(Bright(FaceBox(5, 5, 10)), [GROUND])["false_per_scene"] == 1
    score = Score()
    score.add([FaceBox(50, 50, 20)], [FaceBox(50, 50, 20), FaceBox(5, 5, 10)], 0.001)
    score.add([FaceBox(50, 50, 20)], [], 0.003)
    assert score.summary() == {"found": 0.5, "overlap": 1.0, "false_per_scene": 0.5, "ms": 2.0}
