"""Synthetic photographs for the tests of training: smooth colours with texture, no person in them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from model.faces import Photo
from model.selfblend import FaceBox


def picture(seed: int, side: int = 96) -> NDArray[np.uint8]:
    """Textured coloured noise, (side, side, 3) uint8."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.uniform(40, 200, (6, 6, 3)), (side, side), interpolation=cv2.INTER_CUBIC)
    return np.clip(coarse + rng.normal(0, 12, (side, side, 3)), 0, 255).astype(np.uint8)


def photos(count: int, label: int, side: int = 96) -> list[Photo]:
    kind = "real" if label else "fake"
    box = FaceBox(side / 2, side / 2, side * 0.5)
    return [Photo(f"{kind}_{i}.png", label, picture(1000 * label + i, side), box) for i in range(count)]


def folder(path: Path, real: int, fake: int, side: int = 96) -> Path:
    """A data folder of PNG files, real/ and fake/."""
    for name, label, count in (("real", 1, real), ("fake", 0, fake)):
        (path / name).mkdir(parents=True)
        for photo in photos(count, label, side):
            cv2.imwrite(str(path / name / photo.name), photo.image[..., ::-1])
    return path
