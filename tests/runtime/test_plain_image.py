"""The fast route: the careful decoder's pixels for plain files, and nothing at all for any other."""

from __future__ import annotations

import io
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from runtime import plain_image, png_rows, preprocess
from runtime.plain_image import Pixels, agree, decode, read
from runtime.preprocess import MAX_PIXELS
from tests.shared import SHARED, needs_shared
from xmodel.errors import ArtifactError

NOISE = np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8)
SMOOTH: Pixels = np.asarray(cv2.resize(NOISE[:4, :3], (21, 35), interpolation=cv2.INTER_LINEAR), np.uint8)


def encoded(image: Image.Image | Pixels, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, kind, **options)
    return stream.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(header: bytes, *chunks: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


def careful(data: bytes, path: Path) -> Pixels | None:
    """What the careful decoder makes of it; None for an error."""
    path.write_bytes(data)
    try:
        return np.asarray(preprocess._open(path))
    except ArtifactError:
        return None


PLAIN = {
    "png": encoded(NOISE, "PNG"),
    "png of one pixel": encoded(NOISE[:1, :1], "PNG"),
    "png with its resolution": encoded(SMOOTH, "PNG", dpi=(72, 72)),
    "jpeg 4:4:4": encoded(NOISE, "JPEG", subsampling=0, quality=95),
    "jpeg 4:2:2": encoded(SMOOTH, "JPEG", subsampling=1),
    "jpeg 4:2:0": encoded(SMOOTH, "JPEG", subsampling=2, quality=40),
    "jpeg with restarts": encoded(NOISE, "JPEG", restart_marker_blocks=2),
    "jpeg with its own tables": encoded(NOISE, "JPEG", optimize=True),
    "jpeg with a comment": encoded(NOISE, "JPEG", comment=b"a crop"),
    "written by OpenCV": cv2.imencode(".png", NOISE)[1].tobytes(),
    "jpeg written by OpenCV": cv2.imencode(".jpg", SMOOTH)[1].tobytes(),
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_files_give_the_careful_decoders_pixels(name: str, tmp_path: Path) -> None:
    found = decode(PLAIN[name], MAX_PIXELS)
    assert found is not None and found.dtype == np.uint8
    np.testing.assert_array_equal(found, careful(PLAIN[name], tmp_path / "image"))


@pytest.mark.parametrize("name", [name for name, data in PLAIN.items() if data.startswith(b"\x89PNG")])
def test_opencv_decodes_them_where_nothing_is_built(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = decode(PLAIN[name], MAX_PIXELS)
    monkeypatch.setattr(png_rows, "native", lambda: None)
    plain_image._proven.cache_clear()
    try:
        assert plain_image._proven("PNG") is plain_image._opencv
        np.testing.assert_array_equal(decode(PLAIN[name], MAX_PIXELS), wanted)
    finally:
        plain_image._proven.cache_clear()


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def _text(key: str) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_itxt(key, "<x:xmpmeta tiff:Orientation='6'/>")
    return info


RAW = zlib.compress(b"".join(b"\0" + row.tobytes() for row in NOISE))
HEADER = struct.pack(">IIBBBBB", 20, 24, 8, 2, 0, 0, 0)
COLOR = Image.fromarray(NOISE)

OTHER = {
    "png that is turned": encoded(NOISE, "PNG", exif=_exif()),
    "jpeg that is turned": encoded(NOISE, "JPEG", exif=_exif()),
    "png with text": encoded(NOISE, "PNG", pnginfo=_text("XML:com.adobe.xmp")),
    "png with a profile": encoded(NOISE, "PNG", icc_profile=b"profile"),
    "jpeg with a profile": encoded(NOISE, "JPEG", icc_profile=b"profile"),
    "palette": encoded(COLOR.convert("P"), "PNG"),
    "16 bits": encoded(Image.fromarray(NOISE[..., 0].astype(np.uint16) * 257), "PNG"),
    "grey png": encoded(COLOR.convert("L"), "PNG"),
    "grey jpeg": encoded(COLOR.convert("L"), "JPEG"),
    "two colours": encoded(COLOR.convert("1"), "PNG"),
    "alpha": encoded(COLOR.convert("RGBA"), "PNG"),
    "one colour transparent": encoded(NOISE, "PNG", transparency=(1, 2, 3)),
    "CMYK": encoded(COLOR.convert("CMYK"), "JPEG"),
    "progressive": encoded(NOISE, "JPEG", progressive=True),
    "RGB inside a JPEG": encoded(NOISE, "JPEG", keep_rgb=True),
    "interlaced": png(HEADER[:-1] + b"\1", chunk(b"IDAT", RAW)),
    "gif": encoded(COLOR, "GIF"),
    "webp": encoded(NOISE, "WEBP"),
    "bomb": png(struct.pack(">IIBBBBB", 9000, 9000, 8, 2, 0, 0, 0), chunk(b"IDAT", RAW)),
    "without pixels": png(struct.pack(">IIBBBBB", 0, 24, 8, 2, 0, 0, 0), chunk(b"IDAT", RAW)),
    "two headers": png(HEADER, chunk(b"IHDR", HEADER), chunk(b"IDAT", RAW)),
    "no data": png(HEADER),
    "data in two places": png(HEADER, chunk(b"IDAT", RAW[:9]), chunk(b"pHYs", bytes(9)), chunk(b"IDAT", RAW[9:])),
    "a short chunk": png(HEADER, chunk(b"gAMA", b"\0"), chunk(b"IDAT", RAW)),
    "a wrong CRC": PLAIN["png"][:-20] + b"x" + PLAIN["png"][-19:],
    "data after a png": PLAIN["png"] + b"more",
    "data after a jpeg": PLAIN["jpeg 4:4:4"] + b"more",
    "too little data in a png": png(HEADER, chunk(b"IDAT", zlib.compress(b"\0" * 100))),
    "nothing": b"",
    "text": b"not an image",
    "signatures alone": b"\x89PNG\r\n\x1a\n",
    "the begin of a jpeg": b"\xff\xd8\xff",
    **{f"{name} without its last {cut}": data[:-cut] for name, data in PLAIN.items() for cut in (1, 2, 13, 100)},
}


@pytest.mark.parametrize("name", OTHER)
def test_any_other_file_is_left_to_the_careful_decoder(name: str) -> None:
    assert decode(OTHER[name], MAX_PIXELS) is None


def test_the_data_made_by_hand_is_plain_without_its_flaw() -> None:
    assert decode(png(HEADER, chunk(b"pHYs", bytes(9)), chunk(b"IDAT", RAW)), MAX_PIXELS) is not None
    assert decode(png(HEADER, chunk(b"IDAT", RAW[:9]), chunk(b"IDAT", RAW[9:])), 480) is not None
    assert decode(png(HEADER, chunk(b"IDAT", RAW)), 479) is None, "more pixels than allowed"
    assert decode(PLAIN["jpeg 4:4:4"], 479) is None


def _damaged(data: bytes, draw: random.Random) -> bytes:
    found = bytearray(data)
    for _ in range(draw.choice((1, 1, 2))):
        at, length = draw.randrange(len(found)), draw.choice((1, 2, 9))
        kind = draw.randrange(4)
        if kind == 0:
            found[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del found[at : at + length]
        elif kind == 2:
            found[at:at] = draw.randbytes(length)
        else:
            found[at : at + length] = draw.randbytes(length)
    if found[:2] == b"\xff\xd8" and draw.random() < 0.5:
        found += b"\xff\xd9"
    return bytes(found) if found[:4] != b"\x89PNG" else _with_right_crcs(bytes(found))


def _with_right_crcs(data: bytes) -> bytes:
    out, position = data[:8], 8
    while position + 12 <= len(data):
        length = struct.unpack_from(">I", data, position)[0]
        end = position + 12 + length
        if end > len(data):
            break
        body = data[position + 4 : end - 4]
        out += data[position : position + 4] + body + struct.pack(">I", zlib.crc32(body))
        position = end
    return out + data[position:]


@pytest.mark.filterwarnings("ignore")
def test_damage_never_gives_other_pixels_than_the_careful_decoders(tmp_path: Path) -> None:
    draw, taken = random.Random(1), 0
    for _ in range(800):
        data = _damaged(draw.choice([*PLAIN.values()]), draw)
        found = decode(data, MAX_PIXELS)
        if found is not None:
            taken += 1
            np.testing.assert_array_equal(found, careful(data, tmp_path / "image"))
    assert taken > 50, "damage inside a JPEG's coded data shows in the pixels alone"


@needs_shared
def test_photographs_are_decoded_alike(tmp_path: Path) -> None:
    photographs = sorted((SHARED / "data/faces/real").iterdir())[:8]
    for path in photographs:
        wanted = np.asarray(preprocess._open(path))
        for data in (encoded(wanted, "PNG"), encoded(wanted, "JPEG", quality=90)):
            found = decode(data, MAX_PIXELS)
            assert found is not None
            np.testing.assert_array_equal(found, careful(data, tmp_path / "image"))


def test_a_decoder_that_disagrees_is_found_out() -> None:
    def other(data: bytes) -> Pixels | None:
        pixels = plain_image._opencv(data)
        return None if pixels is None else np.clip(pixels, 0, 254).astype(np.uint8)

    assert agree(plain_image._opencv, "PNG") and agree(plain_image._opencv, "JPEG")
    assert not agree(other, "PNG") and not agree(other, "JPEG")
    assert not agree(lambda data: None, "PNG")


def test_a_decoder_that_disagrees_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_image, "_proven", lambda kind: plain_image._opencv if kind == "PNG" else None)
    assert decode(PLAIN["jpeg 4:4:4"], MAX_PIXELS) is None and decode(PLAIN["png"], MAX_PIXELS) is not None


def test_an_opencv_that_gives_bgr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_image, "_proven", lambda kind: plain_image._opencv)
    monkeypatch.setattr(plain_image, "_IS_RGB", False)
    monkeypatch.setattr(plain_image, "_COLOR", cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(decode(PLAIN["png"], MAX_PIXELS), NOISE)


def test_files_that_cannot_be_read_or_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "image").write_bytes(PLAIN["png"])
    assert read(tmp_path / "image") == PLAIN["png"]
    assert read(tmp_path / "missing") == b"" and read(tmp_path) == b""
    monkeypatch.setattr(plain_image, "MAX_BYTES", 100)
    assert read(tmp_path / "image") == b""
