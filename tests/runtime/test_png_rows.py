"""Row filters undone natively: every filter in every place, and data that does not add up."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtime import png_rows
from runtime.png_rows import Pixels, decode
from tests.runtime.test_plain_image import OTHER, PLAIN, chunk, png

built = pytest.mark.skipif(png_rows.native() is None, reason="the native kernels are not built here")


def made(filters: list[int], width: int, raw: Pixels | None = None, level: int = 6) -> bytes:
    """A file whose rows have these filters over random bytes, every one of which is some image."""
    if raw is None:
        raw = np.random.default_rng(len(filters) * width).integers(0, 256, (len(filters), 3 * width), np.uint8)
    rows = b"".join(bytes([number]) + row.tobytes() for number, row in zip(filters, raw, strict=True))
    header = struct.pack(">IIBBBBB", width, len(filters), 8, 2, 0, 0, 0)
    return png(header, chunk(b"IDAT", zlib.compress(rows, level)))


@built
@pytest.mark.parametrize("width", [1, 2, 5, 64])
def test_every_filter_over_every_other(width: int) -> None:
    filters = [0, 1, 2, 3, 4, *(n for first in range(5) for second in range(5) for n in (first, second))]
    for order in (filters, filters[1:], filters[2:], filters[3:], filters[4:]):
        data = made(order, width)
        with Image.open(io.BytesIO(data)) as image:
            np.testing.assert_array_equal(decode(data), np.asarray(image))


@built
def test_bytes_at_their_limits() -> None:
    draw = np.random.default_rng(1)
    for _ in range(20):
        data = made([4] * 9, 33, draw.choice(np.array([0, 1, 127, 128, 254, 255], np.uint8), (9, 99)))
        with Image.open(io.BytesIO(data)) as image:
            np.testing.assert_array_equal(decode(data), np.asarray(image))


@built
def test_image_data_in_several_chunks() -> None:
    whole = made([4, 3, 2], 20)
    header, body = whole[16:29], zlib.compress(zlib.decompress(whole[41:-16]))
    parts = [chunk(b"IDAT", body[at : at + 7]) for at in range(0, len(body), 7)]
    np.testing.assert_array_equal(decode(png(header, *parts)), decode(whole))


@built
@pytest.mark.parametrize(
    "data",
    [
        made([0, 5], 4),
        made([255], 4),
        png(struct.pack(">IIBBBBB", 4, 2, 8, 2, 0, 0, 0), chunk(b"IDAT", zlib.compress(bytes(25)))),
        png(struct.pack(">IIBBBBB", 4, 2, 8, 2, 0, 0, 0), chunk(b"IDAT", zlib.compress(bytes(27)))),
        png(struct.pack(">IIBBBBB", 4, 2, 8, 2, 0, 0, 0), chunk(b"IDAT", zlib.compress(bytes(1 << 24)))),
        png(struct.pack(">IIBBBBB", 4, 2, 8, 2, 0, 0, 0), chunk(b"IDAT", zlib.compress(bytes(26)) + b"more")),
        png(struct.pack(">IIBBBBB", 4, 2, 8, 2, 0, 0, 0), chunk(b"IDAT", zlib.compress(bytes(26))[:-1])),
        png(struct.pack(">IIBBBBB", 4, 2, 8, 2, 0, 0, 0), chunk(b"IDAT", zlib.compress(bytes(26))[:-1] + b"x")),
        png(struct.pack(">IIBBBBB", 4, 2, 8, 2, 0, 0, 0), chunk(b"IDAT", b"no deflate stream")),
        OTHER["too little data in a png"],
    ],
)
def test_data_that_does_not_add_up_is_left_to_the_careful_decoder(data: bytes) -> None:
    assert decode(data) is None


def test_without_a_library_nothing_is_decoded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UNMASK_NATIVE", str(tmp_path))
    png_rows.native.cache_clear()
    try:
        assert png_rows.native() is None and decode(PLAIN["png"]) is None
    finally:
        png_rows.native.cache_clear()
