"""Small pictures for reports: a crop with its mask laid over it, as data URIs."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy.predictions import Prediction

_TINT = np.array([255.0, 96.0, 0.0])  # orange: told from skin and from blue by most colour-blind readers
SIDE = 176  # pixels of a picture's longer side in a report


def overlay(image: NDArray[np.uint8], mask: NDArray[Any]) -> NDArray[np.uint8]:
    """`image` (H, W, 3) RGB with the pixels of `mask` tinted and the mask's edge drawn.

    A mask of another size than the image's is stretched over it.
    """
    rows = np.arange(image.shape[0]) * mask.shape[0] // image.shape[0]
    columns = np.arange(image.shape[1]) * mask.shape[1] // image.shape[1]
    marked = np.asarray(mask, bool)[rows[:, None], columns]
    inner = marked.copy()
    for axis in (0, 1):
        for step in (-1, 1):
            inner &= np.roll(marked, step, axis)
    weight = np.where(marked & ~inner, 1.0, np.where(marked, 0.35, 0.0))[..., None]
    tinted: NDArray[np.uint8] = (image * (1 - weight) + _TINT * weight + 0.5).astype(np.uint8)
    return tinted


def data_uri(image: NDArray[np.uint8], side: int = SIDE) -> str:
    """`image` (H, W, 3) RGB, shrunk to at most `side` pixels, as a JPEG data URI."""
    from PIL import Image

    picture = Image.fromarray(image)
    picture.thumbnail((side, side))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def read_mask(path: Path) -> NDArray[np.bool_]:
    """A mask written by this program, (H, W), True = manipulated."""
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("L")) >= 128


def pick(predictions: Sequence[Prediction], count: int = 6) -> dict[str, list[Prediction]]:
    """Which crops to show: the wrong ones that were most certain, the most certain, the least certain."""
    told = sorted((p for p in predictions if not p.error), key=lambda p: (-p.certainty, p.file))
    wrong = [p for p in told if p.correct is False][:count]
    fakes = [p for p in told if not p.verdict and p not in wrong][: (count + 1) // 2]
    reals = [p for p in told if p.verdict and p not in wrong][: count - len(fakes)]
    taken = {p.file for p in (*wrong, *fakes, *reals)}
    unsure = [p for p in reversed(told) if p.file not in taken][:count]
    return {"wrong": wrong, "certain": fakes + reals, "unsure": unsure}


def png(mask: NDArray[np.bool_]) -> bytes:
    """A mask (H, W) as a PNG file of 8-bit grey: 255 = manipulated, 0 = genuine.

    Runs of equal pixels are all that there is to compress, so runs are all that is looked for.
    """
    height, width = mask.shape
    rows = np.zeros((height, 1 + width), np.uint8)  # each begins with its filter: 0, none
    np.multiply(mask, np.uint8(255), out=rows[:, 1:])
    deflate = zlib.compressobj(1, strategy=zlib.Z_RLE)
    pixels = deflate.compress(rows.data) + deflate.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
