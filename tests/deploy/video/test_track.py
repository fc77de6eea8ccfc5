"""Following a face from look to look, with a detector that is told what it sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from deploy.video.clip import AFTER_DAMAGE, Frame
from deploy.video.track import AT_MOST, Follow, Tracker, interpolated
from model.selfblend import FaceBox

Pixels = NDArray[np.uint8]


@dataclass
class Told:
    """Finds the faces that `faces` has for the frame whose number is the picture's only pixel."""

    faces: Mapping[int, list[FaceBox]]
    name: str = "told"
    looked: list[int] = field(default_factory=list)

    def find(self, image: Pixels, near: FaceBox | None = None) -> list[FaceBox]:
        number = int(image[0, 0, 0])
        if near is None:
            self.looked.append(number)
        return self.faces.get(number, [])


@dataclass
class Half:
    """The frame's number as a picture of half the size."""

    def small(self, frame: Frame, side: int) -> tuple[Pixels, float]:
        return np.full((1, 1, 3), frame.index, np.uint8), 0.5


def follow(
    faces: Mapping[int, list[FaceBox]], times: list[float], damaged: tuple[int, ...] = ()
) -> list[FaceBox | None]:
    frames = [(Frame(i, 0, None, AFTER_DAMAGE if i in damaged else ""), t) for i, t in enumerate(times)]
    found = list(Follow(Told(faces), Half()).boxes(frames))
    assert [frame.index for frame, _ in found] == list(range(len(times)))
    return [box for _, box in found]


def face(x: float, side: float = 40) -> FaceBox:
    return FaceBox(x, 50, side)


TIMES = [i / 20 for i in range(17)]  # looks at frames 0, 4, 8, 12, 16


def test_between_looks_the_box_moves_evenly_and_in_pixels_of_the_frame() -> None:
    boxes = follow({i: [face(50)] for i in range(5)} | {i: [face(60)] for i in range(8, 17)}, TIMES)
    assert boxes[:5] == [FaceBox(100, 100, 80)] * 5
    # The new place counts 0.6 at each look.
    assert [round(box.x, 3) for box in boxes[5:9] if box] == [103, 106, 109, 112]
    assert boxes[12] is not None and round(boxes[12].x, 3) == 116.8


def test_one_look_without_the_face_is_passed_over_but_not_two() -> None:
    seen = {i: [face(50)] for i in range(17)}
    assert follow({i: b for i, b in seen.items() if i != 8}, TIMES) == [FaceBox(100, 100, 80)] * 17
    gone = follow({i: b for i, b in seen.items() if i not in (8, 12)}, TIMES)
    assert [i for i, box in enumerate(gone) if box is None] == [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]


def test_a_frame_has_a_box_only_between_looks_that_found_the_face() -> None:
    boxes = follow({i: [face(50)] for i in range(8, 17)}, TIMES)
    assert [i for i, box in enumerate(boxes) if box is not None] == list(range(8, 17))
    cut = follow({i: [face(50)] for i in range(5)} | {i: [face(400)] for i in range(5, 17)}, TIMES)
    assert [box.x if box else None for box in cut] == [100.0] * 5 + [None] * 7 + [800.0] * 5


def test_damaged_frames_are_neither_looked_at_nor_placed() -> None:
    boxes = follow({i: [face(50)] for i in range(17)}, TIMES, damaged=(4, 6))
    assert [i for i, box in enumerate(boxes) if box is None] == [4, 6]


def test_frames_that_follow_fast_are_looked_at_after_a_bounded_number() -> None:
    detector = Told({})
    frames = ((Frame(i, 0, None), i / 1000) for i in range(4 * AT_MOST))
    assert len(list(Follow(detector, Half()).boxes(frames))) == 4 * AT_MOST
    assert detector.looked == [0, *range(AT_MOST, 4 * AT_MOST, AT_MOST), 4 * AT_MOST - 1]


def test_the_largest_face_is_followed_until_one_outgrows_it_by_far() -> None:
    tracker = Tracker(Told({0: [face(50), face(200, 30)], 1: [face(200, 50), face(50)], 2: [face(200, 70), face(50)]}))
    pictures = [np.full((1, 1, 3), i, np.uint8) for i in range(3)]
    assert tracker.look(pictures[0]) == face(50)
    for _ in range(12):
        assert tracker.look(pictures[1]) == face(50)
    seen = [tracker.look(pictures[2]) for _ in range(12)]
    assert seen[0] == face(50) and seen[-1] == face(200, 70)


def test_a_single_miss_does_not_hand_over_to_a_face_elsewhere() -> None:
    tracker = Tracker(Told({0: [face(50)], 1: [face(300)]}))
    first, second = (np.full((1, 1, 3), i, np.uint8) for i in range(2))
    assert [tracker.look(p) for p in (first, second, first)] == [face(50), None, face(50)]
    assert [tracker.look(p) for p in (second, second)] == [None, face(300)]


def test_interpolation_joins_only_what_overlaps() -> None:
    assert interpolated(face(50), face(60), 0.5) == face(55)
    assert interpolated(face(50), face(100), 0.5) is None
    assert interpolated(face(50), face(100), 1.0) == face(100)
    assert interpolated(None, None, 0.5) is None
