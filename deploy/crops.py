"""A folder of face crops: which files, in which order, with which labels and true masks."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy.console import Output, printable
from runtime.preprocess import SUFFIXES
from xmodel.artifact import read_json, sha256
from xmodel.errors import ArtifactError, UsageError

REAL, FAKE = 1, 0  # the published detector's classes
NAMES = {REAL: "REAL", FAKE: "FAKE"}


@dataclass(frozen=True, slots=True)
class Crop:
    """One image file. `mask` is the file name, without folder, under which its mask is written."""

    path: Path
    mask: str

    @property
    def name(self) -> str:
        """The file name, fit for printing."""
        return printable(self.path.name)


def list_crops(folder: Path, limit: int | None = None) -> tuple[Crop, ...]:
    """The image files directly in `folder`, in file-name order, at most `limit`.

    Two files whose names differ only in the suffix get masks named by the whole file name.
    Raises `UsageError` when there is no such folder or no image in it.
    """
    try:
        files = sorted(entry for entry in folder.iterdir() if _is_image(entry))
    except OSError as error:
        raise UsageError(
            f"Cannot list this folder of crops: {error.strerror}.",
            where=str(folder),
            hint="Give a folder that holds the images; `unmask samples` makes one.",
        ) from error
    if not files:
        raise UsageError(
            f"There is no image in this folder; looked for {', '.join(SUFFIXES)}.",
            where=str(folder),
            hint="Images in subfolders are not read: give the folder that holds the files themselves.",
        )
    stems = Counter(file.stem for file in files)
    crops = (Crop(file, f"{file.stem if stems[file.stem] == 1 else file.name}.png") for file in files)
    return tuple(crops)[:limit]


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and not path.is_dir()


def digest(crops: Sequence[Crop]) -> str:
    """sha256 over names and contents; an unreadable file counts as such and does not stop the others."""
    total = hashlib.sha256()
    for crop in crops:
        try:
            content = sha256(crop.path)
        except UsageError:
            content = "unreadable"
        total.update(os.fsencode(crop.path.name) + b"\0" + content.encode() + b"\n")
    return total.hexdigest()


def video_of(name: str) -> str:
    """The source video of a crop: what comes before the first `_`, plus `.mp4` (published layout).

    >>> video_of("aagfhgtpmv_12_0.png")
    'aagfhgtpmv.mp4'
    """
    return name.partition("_")[0].removesuffix(Path(name).suffix) + ".mp4"


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels by video, as the DFDC `metadata.json` gives them: 1 = real, 0 = fake."""

    by_video: Mapping[str, int]

    def of(self, crop: Crop) -> int | None:
        """The label of a crop's video, or None when the file does not say."""
        return self.by_video.get(video_of(crop.path.name))


def read_labels(path: Path) -> Labels:
    """Read a DFDC `metadata.json`: `{"<video>.mp4": {"label": "REAL" | "FAKE", ...}, ...}`.

    Entries without a usable label are left out, so their crops count as unlabelled.
    Raises `UsageError` when the file cannot be read and `ArtifactError` when it is of another kind.
    """
    values = read_json(path)
    if not isinstance(values, dict):
        raise ArtifactError(
            f"A label file is one JSON object with a video name per key, not a {type(values).__name__}.",
            where=str(path),
            hint='Expected: {"<video>.mp4": {"label": "REAL"}, ...}',
        )
    codes = {name: code for code, name in NAMES.items()}
    found = {video: codes.get(_label(entry)) for video, entry in values.items()}
    known = {video: code for video, code in found.items() if code is not None}
    if values and not known:
        raise ArtifactError(
            "No entry of this label file has a label REAL or FAKE.",
            where=str(path),
            hint='Expected: {"<video>.mp4": {"label": "REAL"}, ...}',
        )
    return Labels(MappingProxyType(known))


def _label(entry: Any) -> str:
    label = entry.get("label") if isinstance(entry, dict) else None
    return label.strip().upper() if isinstance(label, str) else ""


def find_masks(given: Path | None, crops: Path, out: Output) -> Path | None:
    """The folder of true masks: `given`, or the one that the sample layout keeps beside the crops; then it says so.

    Raises `UsageError` when `given` is no folder.
    """
    if given is not None:
        if not given.is_dir():
            raise UsageError("There is no such folder of true masks.", where=str(given))
        return given
    folder = crops.resolve().parent / "masks"
    if not folder.is_dir() or folder == crops.resolve():
        return None
    out.note(f"True masks are taken from {crops.parent / 'masks'}.")
    return folder


def true_mask(folder: Path, crop: Crop, height: int, width: int) -> NDArray[np.bool_] | None:
    """The crop's true mask from `<folder>/<crop>.png`, (height, width), True = manipulated; None without one.

    A mask of another size is resized to the nearest pixel. Raises `ArtifactError` for a damaged file.
    """
    from PIL import Image

    path = folder / crop.mask
    if not path.is_file():
        return None
    try:
        with Image.open(path) as image:
            grey = image.convert("L").resize((width, height), Image.Resampling.NEAREST)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ArtifactError(f"This mask cannot be decoded: {error}.", where=str(path)) from error
    return np.asarray(grey) >= 128
