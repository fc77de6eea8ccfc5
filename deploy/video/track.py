"""From faces in some frames to one box in each: the face is followed, its box smoothed and interpolated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from deploy.video.clip import Frame
from deploy.video.faces import Detector, overlap
from model.selfblend import FaceBox

EVERY = 0.2  # seconds from one look for the face to the next …
AT_MOST = 6  # … but after no more frames than these, which are held in memory
PATIENCE = 2  # looks in a row without the face, after which it is lost
AFRESH = 10  # looks, after which the whole picture is searched even though the face is followed
LINKED = 0.3  # overlap from which on two boxes are the same face
OUTGROWN = 1.5  # sides of the followed face from which on a larger one takes its place
NEW = 0.6  # weight of the box just found against the smoothed one
SIDE = 216  # pixels of the picture's shorter side, in which the face is looked for


class Pictures(Protocol):
    """Makes the small picture of a frame."""

    def small(self, frame: Frame, side: int) -> tuple[NDArray[np.uint8], float]:
        """RGB, its shorter side at most `side` pixels, and its scale."""
        ...


@dataclass(slots=True)
class Tracker:
    """Follows one face: the largest when there is none yet, then that one until it is lost or far outgrown."""

    detector: Detector
    looks: int = 0
    missed: int = 0
    box: FaceBox | None = None

    def look(self, image: NDArray[np.uint8]) -> FaceBox | None:
        """The smoothed box in the next picture looked at, in its pixels; None when the face is not found in it."""
        self.looks += 1
        found = self._find(image)
        if found is None:
            self.missed += 1
            if self.missed >= PATIENCE:
                self.box = None
            return None
        self.missed = 0
        linked = self.box is not None and overlap(self.box, found) >= LINKED
        self.box = _between(self.box, found, NEW) if linked and self.box is not None else found
        return self.box

    def _find(self, image: NDArray[np.uint8]) -> FaceBox | None:
        here = self.box
        if here is None:
            return next(iter(self.detector.find(image)), None)
        same = _closest(self.detector.find(image, here), here)
        if same is not None and self.looks % AFRESH:
            return same
        faces = self.detector.find(image)
        same = same or _closest(faces, here)
        if same is not None:
            return faces[0] if faces and faces[0].side >= OUTGROWN * same.side else same
        # A single miss does not hand over to a face elsewhere, which may be none.
        return faces[0] if faces and self.missed else None


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Frames with their times, up to a look at time `end`."""

    frames: list[tuple[Frame, float]]
    end: float

    def spread(
        self, start: float, before: FaceBox | None, after: FaceBox | None
    ) -> Iterator[tuple[Frame, FaceBox | None]]:
        """The box of each frame, between that of the look at `start` and that at `end`."""
        for frame, seconds in self.frames:
            share = (seconds - start) / (self.end - start) if self.end > start else 1.0
            yield frame, None if frame.damage else interpolated(before, after, min(1.0, max(0.0, share)))


@dataclass(frozen=True, slots=True)
class Follow:
    """Gives each frame its box, in pixels of the upright frame, from looking at some of them.

    A frame has one when the looks before and after it found the same face; a look that misses the face is passed
    over when the next one finds it about there again.
    """

    detector: Detector
    pictures: Pictures

    def boxes(self, frames: Iterable[tuple[Frame, float]]) -> Iterator[tuple[Frame, FaceBox | None]]:
        """`frames`, given with their time in seconds; at most 2 * `AT_MOST` of them are held at a time."""
        tracker = Tracker(self.detector)
        before: FaceBox | None = None
        waiting: _Stretch | None = None
        start = 0.0
        for stretch in _stretches(frames):
            face = self._look(tracker, stretch.frames[-1][0])
            if face is None and before is not None and waiting is None:
                waiting = stretch
                continue
            if waiting is not None:
                span = stretch.end - start
                between = interpolated(before, face, (waiting.end - start) / span if span > 0 else 1.0)
                yield from waiting.spread(start, before, between)
                before, start, waiting = between, waiting.end, None
            yield from stretch.spread(start, before, face)
            before, start = face, stretch.end
        if waiting is not None:
            yield from waiting.spread(start, before, None)

    def _look(self, tracker: Tracker, frame: Frame) -> FaceBox | None:
        if frame.damage:
            return None
        image, scale = self.pictures.small(frame, SIDE)
        box = tracker.look(image)
        return None if box is None else FaceBox(box.x / scale, box.y / scale, box.side / scale)


def _stretches(frames: Iterable[tuple[Frame, float]]) -> Iterator[_Stretch]:
    """Cut where the next look is due, and at the end."""
    held: list[tuple[Frame, float]] = []
    looked: float | None = None
    for frame, seconds in frames:
        held.append((frame, seconds))
        if looked is None or seconds - looked >= EVERY * 0.999 or len(held) >= AT_MOST:
            yield _Stretch(held, seconds)
            held, looked = [], seconds
    if held:
        yield _Stretch(held, held[-1][1])


def _closest(faces: Iterable[FaceBox], here: FaceBox) -> FaceBox | None:
    linked = [face for face in faces if overlap(face, here) >= LINKED]
    return max(linked, key=lambda face: overlap(face, here), default=None)


def interpolated(before: FaceBox | None, after: FaceBox | None, share: float) -> FaceBox | None:
    """The box at `share` of the way in time between two looks; None where they did not find the same face."""
    if share == 1.0:
        return after
    if before is None or after is None or overlap(before, after) < LINKED:
        return None
    return _between(before, after, share)


def _between(a: FaceBox, b: FaceBox, share: float) -> FaceBox:
    x, y, side = (p + (q - p) * share for p, q in ((a.x, b.x), (a.y, b.y), (a.side, b.side)))
    return FaceBox(x, y, side)
