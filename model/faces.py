"""Labelled face photographs: read from folders, the face found, split by source file, cut to crops."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from model.selfblend import FaceBox
from xmodel.artifact import write_bytes
from xmodel.errors import ArtifactError, UsageError

Image = NDArray[np.uint8]
Split = Literal["train", "val", "test"]
REAL, FAKE = 1, 0  # the published detector's classes

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
MAX_SIDE = 512  # larger photographs are shrunk when read: crops are 224 pixels
VAL_SHARE, TEST_SHARE = 0.08, 0.12
_VIDEO_FRAME = re.compile(r"(.+)_\d+_\d+")  # <video>_<frame>_<face>: one source, many crops


@dataclass(frozen=True, slots=True)
class Photo:
    """One photograph: its file name, label (1 = real, 0 = fake), pixels (HWC uint8 RGB) and face."""

    name: str
    label: int
    image: Image
    face: FaceBox

    @property
    def split(self) -> Split:
        """Where it belongs, by a hash of its source: about 80 % train, 8 % val, 12 % test."""
        place = int.from_bytes(hashlib.sha256(source_of(self.name).encode()).digest()[:8], "big") / 2**64
        if place < VAL_SHARE:
            return "val"
        return "test" if place < VAL_SHARE + TEST_SHARE else "train"


def source_of(name: str) -> str:
    """The source file that a crop comes from: the video of `<video>_<frame>_<face>.png`, else the name's stem."""
    stem = Path(name).stem
    match = _VIDEO_FRAME.fullmatch(stem)
    return match.group(1) if match else stem


def load_photos(data: Path, cache: Path | None = None) -> list[Photo]:
    """Every photograph of `data`, in file-name order, with its face box.

    `data` is a folder with `real/` and optionally `fake/`, or a CSV file with the columns `file`
    (relative to it) and `label` (real or fake). `cache` is a JSON file that keeps the boxes between
    runs, by the sha256 of the file. Raises `UsageError` where there is nothing to read and
    `ArtifactError` for a file that is no image.
    """
    known = _read_cache(cache)
    boxes: dict[str, list[float]] = {}
    photos = []
    for path, label in _listing(data):
        content = path.read_bytes()
        image = _decode(content, path)
        key = hashlib.sha256(content).hexdigest()
        box = known.get(key) or find_face(image)
        boxes[key] = [box.x, box.y, box.side]
        photos.append(Photo(path.name, label, image, box))
    if cache is not None and boxes.keys() - known.keys():
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(cache, json.dumps(boxes, sort_keys=True).encode())
    return photos


def select(photos: Iterable[Photo], split: Split, label: int) -> list[Photo]:
    """The photographs of one split and one label, in order."""
    return [photo for photo in photos if photo.label == label and photo.split == split]


def _listing(data: Path) -> list[tuple[Path, int]]:
    found = list(_from_csv(data) if data.suffix.lower() == ".csv" else _from_folders(data))
    if not any(label == REAL for _, label in found):
        raise UsageError(
            f"There are no genuine photographs in {data}.",
            hint="Give a folder with real/ (and optionally fake/), or a CSV file with the columns file and label.",
        )
    return sorted(found)


def _from_folders(data: Path) -> Iterator[tuple[Path, int]]:
    for name, label in (("real", REAL), ("fake", FAKE)):
        folder = data / name
        if folder.is_dir():
            yield from ((path, label) for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def _from_csv(data: Path) -> Iterator[tuple[Path, int]]:
    try:
        rows = list(csv.DictReader(data.read_text("utf-8").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"Cannot read the list of photographs {data}: {error}.") from error
    for number, row in enumerate(rows, start=2):
        label = {"real": REAL, "fake": FAKE}.get((row.get("label") or "").strip().lower())
        if label is None or not row.get("file"):
            raise UsageError(
                f"Line {number} of {data} has no file or no label that is real or fake.",
                hint="The file needs the columns file and label.",
            )
        yield data.parent / row["file"], label


def _decode(content: bytes, path: Path) -> Image:
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
    if pixels is None or min(pixels.shape[:2]) < 64:
        raise ArtifactError("This is not an image of at least 64x64 pixels.", where=str(path))
    shrink = MAX_SIDE / max(pixels.shape[:2])
    if shrink < 1:
        pixels = cv2.resize(pixels, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(np.asarray(pixels, np.uint8)[..., ::-1])


def _read_cache(cache: Path | None) -> dict[str, FaceBox]:
    """Boxes of an earlier run; a damaged or missing cache only costs the time of finding the faces again."""
    try:
        stored: dict[str, Any] = json.loads(cache.read_text("utf-8")) if cache else {}
        return {key: FaceBox(*(float(v) for v in box)) for key, box in stored.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


# --- the face -----------------------------------------------------------------------------------


def find_face(image: Image) -> FaceBox:
    """The face nearest the centre of `image` (HWC uint8 RGB): a square from brow to chin.

    Found by scikit-image's LBP frontal-face cascade among boxes of a plausible size and place;
    where there is none (a profile, a hat's shadow), a centred default box.
    """
    height, width = image.shape[:2]
    side = min(height, width)
    found = cascade().detect_multi_scale(
        img=image, scale_factor=1.2, step_ratio=1, min_size=(side * 3 // 10,) * 2, max_size=(side * 3 // 4,) * 2
    )
    boxes = [whole_face(hit["c"], hit["r"], hit["width"]) for hit in found]
    near = [box for box in boxes if max(abs(box.x - width / 2), abs(box.y - height / 2)) < 0.22 * side]
    if not near:
        return FaceBox(width / 2, height / 2, 0.52 * side)
    return min(near, key=lambda box: math.hypot(box.x - width / 2, box.y - height / 2))


def whole_face(left: float, top: float, side: float) -> FaceBox:
    """The square from brow to chin that belongs to a square found by the cascade, all in pixels."""
    # The cascade's box ends at the mouth: lower and enlarge it to take in the chin.
    return FaceBox(left + side / 2, top + side * 0.55, side * 1.15)


def cascade() -> Any:
    """scikit-image's LBP frontal-face cascade, whose file is part of that package."""
    from skimage.data import lbp_frontal_face_cascade_filename
    from skimage.feature import Cascade

    return Cascade(lbp_frontal_face_cascade_filename())  # type: ignore[no-untyped-call]


# --- crops --------------------------------------------------------------------------------------


def cut(photo: Photo, box: FaceBox, size: int, flip: bool = False) -> tuple[Image, FaceBox]:
    """The square `box` of a photograph, resampled to `size` × `size`, and the face's box in that crop.

    Outside the photograph its border is mirrored. Bilinear, or by area where it shrinks.
    """
    zoom = size / box.side
    left, top = box.x - box.side / 2, box.y - box.side / 2
    image, factor = photo.image, 1.0
    if zoom < 0.75:  # shrink first: bilinear sampling would alias
        factor = zoom
        image = np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)
    scale = zoom / factor
    # Pixel centres lie at half-integers: crop x ↔ photograph (x + 0.5) / zoom + left - 0.5.
    shift_x, shift_y = (0.5 * scale - 0.5 - start * zoom for start in (left, top))
    matrix = np.array([[scale, 0, shift_x], [0, scale, shift_y]])
    crop = cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    face = FaceBox((photo.face.x - left) * zoom, (photo.face.y - top) * zoom, photo.face.side * zoom)
    if flip:
        crop, face = crop[:, ::-1], FaceBox(size - face.x, face.y, face.side)
    return np.ascontiguousarray(np.asarray(crop, np.uint8)), face


def fixed_box(photo: Photo, scale: float) -> FaceBox:
    """The square around the face, `scale` times its side, shrunk where the photograph is smaller."""
    side = min(photo.face.side * scale, *photo.image.shape[:2])
    return FaceBox(photo.face.x, photo.face.y, side)


def random_box(photo: Photo, rng: np.random.Generator) -> FaceBox:
    """A square around the face, 1 to 2.2 times its side, shifted a little; sometimes the whole photograph."""
    height, width = photo.image.shape[:2]
    if rng.random() < 0.12:
        return FaceBox(width / 2, height / 2, min(height, width))
    side = min(photo.face.side * float(np.exp(rng.uniform(0, np.log(2.2)))), min(height, width))
    x, y = (centre + side * rng.uniform(-0.1, 0.1) for centre in (photo.face.x, photo.face.y))
    return FaceBox(x, y, side)
