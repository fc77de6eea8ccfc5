"""Crops decoded in batches for the stages that run a network directly: evaluation, calibration, comparison."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

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

    def batches(self, size: int) -> Iterator[tuple[list[Crop], NDArray[np.uint8]]]:
        """Batches of at most `size` readable crops, in order: (crops, uint8 (n, height, width, 3))."""
        taken: list[Crop] = []
        images: list[NDArray[np.uint8]] = []
        for crop, image in self._decoded():
            taken.append(crop)
            images.append(image)
            if len(images) == size:
                yield taken, np.stack(images)
                taken, images = [], []
        if images:
            yield taken, np.stack(images)

    def _decoded(self) -> Iterator[tuple[Crop, NDArray[np.uint8]]]:
        for crop in self.crops:
            try:
                yield crop, decode(crop.path, self.spec)
            except UnmaskError as error:
                self.failures[crop] = printable(error.what)


def to_nchw(images: NDArray[np.uint8], spec: Preprocessing) -> NDArray[np.float32]:
    """uint8 (n, H, W, 3) to the network's float32 (n, 3, H, W)."""
    return np.ascontiguousarray(to_float(images, spec).transpose(0, 3, 1, 2))
