"""What a network is calibrated with: a folder of images or a `.npy` array, in batches, in order, one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from deploy.arrays import load_array
from deploy.batches import Reader, to_nchw
from deploy.crops import Crop, digest, list_crops
from deploy.judge import nothing_readable
from runtime.preprocess import to_float
from xmodel.artifact import sha256
from xmodel.errors import ArtifactError, UsageError
from xmodel.graph import Graph
from xmodel.preprocess import Preprocessing

Images = NDArray[np.float32]
BATCH = 32


class Calibration(Protocol):
    """Images for one calibration, in batches of `sizes`. `count` includes those that turn out to be unreadable."""

    @property
    def sizes(self) -> int | Sequence[int]:
        """One size for all batches, or every batch's."""
        ...

    @property
    def count(self) -> int:
        """Number of images."""
        ...

    @property
    def shape(self) -> tuple[int, ...] | None:
        """(C, H, W) of the images, None where they are brought to the network's size."""
        ...

    @property
    def failures(self) -> Mapping[str, str]:
        """Images that could not be read, by name, with the reason."""
        ...

    def digest(self) -> str:
        """sha256 of the images that are used."""
        ...

    def batches(self, graph: Graph) -> Iterator[Images]:
        """NCHW float32 batches as `graph` takes them, in order. Raises `UnmaskError` for images that do not do."""
        ...

    def sample(self, graph: Graph, count: int) -> Iterator[tuple[int, Images]]:
        """`count` images, evenly spread: (index, NCHW float32 (1, ...)); unreadable ones are left out."""
        ...


def find(path: Path, limit: int | None, sizes: int | Sequence[int]) -> Calibration:
    """The images at `path`, at most `limit`, in batches of `sizes`: one size, or every batch's.

    Raises `UsageError` where there is nothing, or the batches do not hold as many images as there are.
    """
    if path.suffix.lower() == ".npy":
        array = load_array(path)
        found: Calibration = ArrayFile(path, array[:limit] if array.ndim else array, sizes)
    elif path.is_file():
        raise UsageError(
            "Calibration images are a folder or a .npy file; this is neither.",
            where=str(path),
            hint="Give the folder that holds the images.",
        )
    else:
        found = ImageFolder(list_crops(path, limit), sizes)
    if not isinstance(sizes, int) and sum(sizes) != found.count:
        few = sum(sizes) < found.count
        raise UsageError(
            f"The batches {','.join(map(str, sizes))} hold {sum(sizes)} images; {found.count} are there to be used.",
            where=str(path),
            hint=f"Use the first {sum(sizes)} with --limit {sum(sizes)}, or name more batches." if few else
            "Name fewer or smaller batches.",
        )  # fmt: skip
    return found


def split(size: int | None, sizes: str | None) -> int | tuple[int, ...]:
    """The batches that the command line asks for: `size`, or every size as "8,8,5", or 32. Raises `UsageError`.

    >>> split(None, "8, 8,5")
    (8, 8, 5)
    """
    if sizes is None:
        return size or BATCH
    if size is not None:
        raise UsageError("--batch-size and --batch-sizes exclude each other.")
    parts = [part.strip() for part in sizes.split(",")]
    if not all(part.isascii() and part.isdecimal() and int(part[:10]) > 0 for part in parts):
        raise UsageError(f"These are no batch sizes: {sizes!r}.", hint="Write positive numbers: --batch-sizes 8,8,5.")
    return tuple(int(part) for part in parts)


@dataclass(slots=True)
class ImageFolder:
    """Image files, decoded and brought to the network's size as the graph's preprocessing says."""

    crops: tuple[Crop, ...]
    sizes: int | Sequence[int]
    unreadable: dict[Crop, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of files."""
        return len(self.crops)

    @property
    def shape(self) -> None:
        """Images take the network's size."""
        return

    @property
    def failures(self) -> Mapping[str, str]:
        """Files that could not be decoded."""
        return {crop.name: reason for crop, reason in self.unreadable.items()}

    @property
    def readable(self) -> list[Crop]:
        """The other files, once `batches` has been through."""
        return [crop for crop in self.crops if crop not in self.unreadable]

    def digest(self) -> str:
        """sha256 over names and contents."""
        return digest(self.crops)

    def batches(self, graph: Graph) -> Iterator[Images]:
        """Batches of readable files. Raises `GateError` when there is none."""
        reader = Reader(self.crops, Preprocessing.load(graph), self.unreadable)
        for _, images in reader.batches(self.sizes):
            yield to_nchw(images, reader.spec)
        if len(self.unreadable) == len(self.crops):
            raise nothing_readable(self.unreadable)

    def sample(self, graph: Graph, count: int) -> Iterator[tuple[int, Images]]:
        """Evenly spread over the readable files, after `batches` has been through."""
        spec = Preprocessing.load(graph)
        chosen = [index for index, crop in enumerate(self.crops) if crop not in self.unreadable]
        for index in _spread(chosen, count):
            for _, image in Reader([self.crops[index]], spec).batches(1):
                yield index, to_nchw(image, spec)


@dataclass(slots=True)
class ArrayFile:
    """An array (n, C, H, W): float32 as the network takes it, or uint8 pixels, which stand for value / 255."""

    path: Path
    array: NDArray[Any]
    sizes: int | Sequence[int]

    def __post_init__(self) -> None:
        """Raises `ArtifactError` for an array that holds no images."""
        if self.array.dtype not in (np.uint8, np.float32):
            raise ArtifactError(
                f"This array is of type {self.array.dtype}; float32 or uint8 is needed.",
                where=str(self.path),
                hint="Save it with: numpy.save(path, x.astype(numpy.float32)).",
            )
        if self.array.ndim < 2 or 0 in self.array.shape:
            raise ArtifactError(
                f"This array has the shape {self.array.shape}; (images, channels, height, width) is needed.",
                where=str(self.path),
            )

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self.array)

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of the images."""
        return tuple(self.array.shape[1:])

    @property
    def failures(self) -> Mapping[str, str]:
        """None: one bad image stops the calibration."""
        return {}

    def digest(self) -> str:
        """sha256 of the file and the number of images that are used."""
        return f"{sha256(self.path)}:{self.count}"

    def batches(self, graph: Graph) -> Iterator[Images]:
        """Batches as they lie in the file. Raises `ArtifactError` for images of another size, NaN or infinity."""
        self._check(graph)
        sizes = [self.sizes] * -(-self.count // self.sizes) if isinstance(self.sizes, int) else self.sizes
        for end, size in zip(accumulate(sizes), sizes, strict=True):
            yield self._real(graph, end - size, end)

    def sample(self, graph: Graph, count: int) -> Iterator[tuple[int, Images]]:
        """Evenly spread over the array."""
        for index in _spread(range(self.count), count):
            yield index, self._real(graph, index, index + 1)

    def _check(self, graph: Graph) -> None:
        shape = graph.inputs[0].output.shape
        wanted = (shape[3], shape[1], shape[2]) if len(shape) == 4 else shape[1:]
        if self.shape != wanted:
            turned = len(wanted) == 3 and self.shape == shape[1:]
            raise ArtifactError(
                f"The images of this array are {self.shape}; the network takes {wanted} (channels, height, width).",
                where=str(self.path),
                hint="The channels are last in it: save x.transpose(0, 3, 1, 2)." if turned else "",
            )

    def _real(self, graph: Graph, start: int, end: int) -> Images:
        piece = np.array(self.array[start:end])  # a copy of this part of the file
        if piece.dtype == np.float32:
            bad = [start + i for i, image in enumerate(piece) if not np.isfinite(image).all()]
            if bad:
                raise ArtifactError(f"Image {bad[0]} of this array holds NaN or infinity.", where=str(self.path))
            return np.ascontiguousarray(piece, np.float32)
        if piece.ndim == 4 and piece.shape[1] == 3:
            return np.ascontiguousarray(
                to_float(piece.transpose(0, 2, 3, 1), Preprocessing.load(graph)).transpose(0, 3, 1, 2)
            )
        return piece.astype(np.float32) / np.float32(255)


def _spread(indices: Sequence[int], count: int) -> Sequence[int]:
    return indices[:: max(1, -(-len(indices) // count))] if count else ()
