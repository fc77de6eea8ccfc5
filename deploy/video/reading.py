"""From a clip to what the network judges: which frames, which square of each, noted as they are read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deploy.video.boxes import Boxes
from deploy.video.clip import Clip, Frame
from deploy.video.faces import Detector
from deploy.video.geometry import Geometry
from deploy.video.spool import Spool
from deploy.video.square import MARGIN, Square
from deploy.video.track import Follow
from model.selfblend import FaceBox
from runtime.preprocess import fit, to_int8
from xmodel.errors import ArtifactError
from xmodel.preprocess import Preprocessing

NO_FACE = "No face was found."
NO_BOX = "There is no box for it."
OUTSIDE = "Its box is outside the frame or too small."


@dataclass(frozen=True, slots=True)
class Selection:
    """Every `every`-th frame from the first on, at most `limit` of them."""

    every: int = 1
    limit: int | None = None

    def expected(self, frames: int | None) -> int | None:
        """How many frames of `frames` are selected."""
        if frames is None:
            return self.limit
        count = -(-frames // self.every)
        return count if self.limit is None else min(count, self.limit)


@dataclass(frozen=True, slots=True)
class Whole:
    """Each frame is judged as it is: the clip shows a face crop already."""

    name: str = "the whole frame"


@dataclass(frozen=True, slots=True)
class Centre:
    """The square in the middle: what is left where no face can be found."""

    name: str = "the centre of the frame"


Where = Whole | Centre | Boxes | Detector


@dataclass(slots=True)
class Shot:
    """A frame on its way to the network; its picture is let go once it is prepared."""

    index: int
    picture: object
    geometry: Geometry
    square: Square

    def __str__(self) -> str:
        return f"frame {self.index}"


@dataclass(slots=True)
class Reading:
    """Reads `clip` once; `advance` is told of each frame that is not judged. `seconds` is the time reading took."""

    clip: Clip
    where: Where
    selection: Selection
    spool: Spool
    advance: Callable[[int], None]
    seconds: float = 0.0
    considered: int = 0
    judged: int = 0
    faceless: int = 0

    def shots(self) -> Iterator[Shot]:
        """The frames to judge, in order; each selected frame is noted, whether it is judged or not."""
        source = self._placed()
        while True:
            start = time.perf_counter()
            found = next(source, None)
            self.seconds += time.perf_counter() - start
            if found is None:
                return
            frame, square, reason = found
            self.spool.note(frame.index, frame.tick, square, reason)
            geometry, picture, frame.picture = self._geometry(), frame.picture, None
            if square is None:
                self.faceless += reason == NO_FACE
                self.advance(1)
            else:
                self.judged += 1
                yield Shot(frame.index, picture, geometry, square)

    def prepare(self, shot: Shot, spec: Preprocessing, fix_point: int) -> NDArray[np.int8]:
        """The network's input: the square of the upright frame, as `unmask infer` would take it from a file."""
        picture, shot.picture = shot.picture, None
        crop = shot.square.cut(shot.geometry.rgb(picture))  # type: ignore[arg-type]
        return to_int8(fit(crop, spec), spec, fix_point)

    def small(self, frame: Frame, side: int) -> tuple[NDArray[np.uint8], float]:
        """For the face detector: the upright frame, shrunk."""
        if frame.picture is None:
            raise ArtifactError(f"Frame {frame.index} was let go before its face was looked for.")
        return self._geometry().small(frame.picture, side)

    def _geometry(self) -> Geometry:
        if self.clip.geometry is None:
            raise ArtifactError("The size of the frames is not known before the first one is read.")
        return self.clip.geometry

    def _selected(self) -> Iterator[tuple[Frame, float]]:
        for frame in self.clip.frames():
            if frame.index % self.selection.every:
                continue
            self.considered += 1
            yield frame, self.clip.clock.seconds(frame.tick)
            if self.considered == self.selection.limit:
                return

    def _placed(self) -> Iterator[tuple[Frame, Square | None, str]]:
        where = self.where
        if not isinstance(where, Whole | Centre | Boxes):
            for frame, face in Follow(where, self).boxes(self._selected()):
                yield frame, *self._around(frame, face, MARGIN, NO_FACE)
            return
        for frame, _ in self._selected():
            if frame.damage:
                yield frame, None, frame.damage
            elif isinstance(where, Boxes):
                yield frame, *self._around(frame, where.of(frame.index), where.margin, NO_BOX)
            else:
                yield frame, self._fixed(where), ""

    def _fixed(self, where: Whole | Centre) -> Square:
        size = self._geometry().width, self._geometry().height
        return Square(0, 0, *size) if isinstance(where, Whole) else Square.centre(*size)

    def _around(self, frame: Frame, face: FaceBox | None, margin: float, missing: str) -> tuple[Square | None, str]:
        if frame.damage:
            return None, frame.damage
        if face is None:
            return None, missing
        square = Square.around(face, self._geometry().width, self._geometry().height, margin)
        return square, "" if square else OUTSIDE
