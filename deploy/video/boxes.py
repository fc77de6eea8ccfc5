"""Face boxes that the user brings: a JSON file, checked entry by entry."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.video.square import MARGIN
from model.selfblend import FaceBox
from xmodel.artifact import read_json
from xmodel.errors import ArtifactError

_SCHEMA = '{"boxes": [{"frame": 0, "box": [left, top, right, bottom]}, {"frame": 90, "box": null}], "margin": 1.4}'
_LARGEST = 1e6  # pixels: no coordinate is farther out


@dataclass(frozen=True, slots=True)
class Boxes:
    """A face box from some frames on, each until the next one; `margin` is the crop's side in sides of the face."""

    starts: tuple[int, ...]
    faces: tuple[FaceBox | None, ...]
    margin: float = MARGIN
    name: str = "boxes from a file"

    def of(self, index: int) -> FaceBox | None:
        """The box of frame `index`, counted from 0; None where there is none."""
        place = bisect_right(self.starts, index)
        return self.faces[place - 1] if place else None


def read_boxes(path: Path) -> Boxes:
    """Read a file of boxes, in pixels of the upright frame. Raises `UsageError` or `ArtifactError`."""
    value = read_json(path)
    if not isinstance(value, dict) or not isinstance(value.get("boxes"), list):
        raise _wrong('It has no list "boxes".', path)
    margin = value.get("margin", MARGIN)
    if not _number(margin) or not 1 <= margin <= 4:
        raise _wrong(f'Its "margin" is {margin!r}, not a number from 1 to 4.', path)
    starts: list[int] = []
    faces: list[FaceBox | None] = []
    for number, entry in enumerate(value["boxes"]):
        place = f"Entry {number} of its boxes"
        start = entry.get("frame") if isinstance(entry, dict) else None
        if not isinstance(start, int) or isinstance(start, bool) or start < 0 or "box" not in entry:
            raise _wrong(f'{place} has no "frame" (a number from 0 on) or no "box".', path)
        if starts and start <= starts[-1]:
            raise _wrong(f"{place} is for frame {start}, after one for frame {starts[-1]}: the frames must rise.", path)
        starts.append(start)
        faces.append(_face(entry["box"], place, path))
    if not any(faces):
        raise _wrong("It holds no box.", path)
    return Boxes(tuple(starts), tuple(faces), float(margin))


def _face(box: Any, place: str, path: Path) -> FaceBox | None:
    if box is None:
        return None
    if not isinstance(box, list) or len(box) != 4 or not all(_number(v) and abs(v) <= _LARGEST for v in box):
        raise _wrong(f"{place} has the box {box!r}, not four numbers or null.", path)
    left, top, right, bottom = (float(v) for v in box)
    if right <= left or bottom <= top:
        raise _wrong(
            f"{place} has the box {box!r}, whose right and bottom must be greater than its left and top.", path
        )
    return FaceBox((left + right) / 2, (top + bottom) / 2, max(right - left, bottom - top))


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _wrong(what: str, path: Path) -> ArtifactError:
    return ArtifactError(f"This is no file of face boxes. {what}"[:600], where=str(path), hint=f"Expected: {_SCHEMA}")
