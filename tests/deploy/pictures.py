"""Small crops for tests: faces are not needed to move pixels through a pipeline."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image


def make_crops(folder: Path, count: int, side: int = 32, seed: int = 0) -> list[Path]:
    """`count` PNG crops `v<i>_0_0.png` of smooth noise, in file-name order."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    paths = [folder / f"v{index}_0_0.png" for index in range(count)]
    for path in paths:
        coarse = random.integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(coarse).resize((side, side), Image.Resampling.BILINEAR).save(path)
    return paths


def make_labels(path: Path, labels: dict[str, str]) -> Path:
    """A DFDC metadata file: video name without suffix → label."""
    entries = {f"{video}.mp4": {"label": label, "split": "test", "original": None} for video, label in labels.items()}
    path.write_text(json.dumps(entries))
    return path
