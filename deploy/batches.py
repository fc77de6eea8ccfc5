"""Crops decoded in batches for the stages that run a network directly: evaluation, calibration, comparison."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, repeat

import numpy as np
from numpy.typing import NDArray

from deploy.console import printable
from deploy.crops import Crop
from runtime.preprocess import decode, to_float
from xmodel.errors import UnmaskError
from xmodel.preprocess import Preprocessing


@dataclass(slots=True)
class Reader:
    """Decodes `crops` as `spec` says; what cannot be decoded is left out and listed in `failures`."""

    crops: Sequence[Crop]
    spec: Preprocessing
    failures: dict[Crop, str] = field(default_factory=dict)

    def batches(self, size: int | Iterable[int]) -> Iterator[tuple[list[Crop], NDArray[np.uint8]]]:
        """Batches of at most `size` readable crops, in order: (crops, uint8 (n, height, width, 3)).

        A list of sizes is used one after the other; the last batch is what is left.
        """
        sizes = repeat(size) if isinstance(size, int) else iter(size)
        decoded = self._decoded()
        for wanted in sizes:
            chunk = list(islice(decoded, wanted))
            if not chunk:
                return
            yield [crop for crop, _ in chunk], np.stack([image for _, image in chunk])

    def _decoded(self) -> Iterator[tuple[Crop, NDArray[np.uint8]]]:
        for crop in self.crops:
            try:
                yield crop, decode(crop.path, self.spec)
            except UnmaskError as error:
                self.failures[crop] = printable(error.what)


def to_nchw(images: NDArray[np.uint8], spec: Preprocessing) -> NDArray[np.float32]:
    """uint8 (n, H, W, 3) to the network's float32 (n, 3, H, W)."""
    return np.ascontiguousarray(to_float(images, spec).transpose(0, 3, 1, 2))
