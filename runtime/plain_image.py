"""Plain PNG and JPEG files through fast decoders, where these are proven to give the pixels of the careful one.

The careful decoder, `runtime.preprocess`, knows every kind of image and every kind of damage. Most crops need none of
that: 8-bit RGB, no orientation, no transparency, whole. Their bytes are looked through first, and only a file of
which each part is expected and in its place goes to `runtime.png_rows` or OpenCV, which decode it in less time.
"""

from __future__ import annotations

import io
import os
import re
import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from struct import unpack_from
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtime import png_rows

Pixels = NDArray[np.uint8]
Decoder = Callable[[bytes], Pixels | None]

MAX_BYTES = 64 << 20
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"

# Chunks that change no pixel, with their only sizes. Text may carry an orientation, so it is not among them.
_HARMLESS = {b"pHYs": 9, b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"tIME": 7}

_SOF0, _DHT, _SOS, _DQT, _DRI, _APP0, _COM = 0xC0, 0xC4, 0xDA, 0xDB, 0xDD, 0xE0, 0xFE
# Three components (1, 2, 3) = Y, Cb, Cr, whose luma is sampled 1x1, 2x1 or 2x2 times as often as the other two.
_FRAME = re.compile(rb"\x08.{4}\x03\x01[\x11\x21\x22][\0-\3]\x02\x11[\0-\3]\x03\x11[\0-\3]", re.DOTALL)
_SCAN = re.compile(rb"\x03\x01.\x02.\x03.\0\x3f\0", re.DOTALL)
_MARKER = re.compile(rb"\xff[^\0\xd0-\xd7]")  # in coded data: neither a stuffed byte nor a restart

_COLOR = getattr(cv2, "IMREAD_COLOR_RGB", cv2.IMREAD_COLOR_BGR if hasattr(cv2, "IMREAD_COLOR_BGR") else 1)
_IS_RGB = hasattr(cv2, "IMREAD_COLOR_RGB")  # from OpenCV 4.11 on


def read(path: Path) -> bytes:
    """The content of a file; b"" for one that cannot be read or is larger than `MAX_BYTES`."""
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            return stream.read(size) if size <= MAX_BYTES else b""
    except OSError:
        return b""


def decode(data: bytes, most_pixels: int) -> Pixels | None:
    """The image in `data` as RGB uint8 [height, width, 3]; None for what the careful decoder must judge: another
    kind, damage, or more than `most_pixels`."""
    for kind, is_plain in (("PNG", is_plain_png), ("JPEG", is_plain_jpeg)):
        if is_plain(data, most_pixels):
            decoder = _proven(kind)
            return None if decoder is None else decoder(data)
    return None


def is_plain_png(data: bytes, most_pixels: int) -> bool:
    """8-bit RGB without interlace, all chunks known, whole and in order, each with the right CRC."""
    if not data.startswith(_PNG):
        return False
    kinds: list[bytes] = []
    position = len(_PNG)
    while position + 12 <= len(data):
        length, kind = unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data) or zlib.crc32(data[position + 4 : end - 4]) != unpack_from(">I", data, end - 4)[0]:
            return False
        if kind == b"IHDR":
            width, height, *rest = unpack_from(">IIBBBBB", data, position + 8) if length == 13 else (0, 0)
            if not 0 < width * height <= most_pixels or rest != [8, 2, 0, 0, 0]:
                return False
        elif kind not in (b"IDAT", b"IEND") and _HARMLESS.get(kind) != length:
            return False
        if kind != b"IDAT" or kinds[-1] != kind:
            kinds.append(kind)
        position = end
        if len(kinds) > 16:
            return False
    ends = kinds[:1] == [b"IHDR"] and kinds[-2:] == [b"IDAT", b"IEND"]
    return position == len(data) and ends and len(set(kinds)) == len(kinds)


def is_plain_jpeg(data: bytes, most_pixels: int) -> bool:
    """Baseline YCbCr in one scan, nothing but tables, JFIF header and comments before it and nothing after it."""
    if not data.startswith(_JPEG):
        return False
    position, framed = 2, False
    while position + 4 <= len(data):
        mark, marker, length = unpack_from(">BBH", data, position)
        end = position + 2 + length
        body = data[position + 4 : end]
        if mark != 0xFF or end > len(data):
            return False
        if marker == _SOS:
            last = _MARKER.search(data, end)
            whole = last is not None and last.start() == len(data) - 2 and data.endswith(b"\xff\xd9")
            return framed and _SCAN.fullmatch(body) is not None and whole
        if marker == _SOF0 and not framed and _FRAME.fullmatch(body):
            height, width = unpack_from(">HH", body, 1)
            framed = 0 < width * height <= most_pixels
        elif not _is_harmless(marker, body):
            return False
        position = end
    return False


def _is_harmless(marker: int, body: bytes) -> bool:
    if marker == _APP0:
        return body.startswith(b"JFIF\0") and len(body) == 14
    if marker == _DQT:  # tables of 8-bit numbers
        return len(body) % 65 == 0 and all(number < 4 for number in body[::65])
    return marker in (_DHT, _COM) or (marker == _DRI and len(body) == 2)


def _opencv(data: bytes) -> Pixels | None:
    pixels: Any = cv2.imdecode(np.frombuffer(data, np.uint8), _COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None or pixels.dtype != np.uint8 or pixels.shape[2:] != (3,):
        return None
    rgb: Pixels = pixels if _IS_RGB else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    return rgb


@lru_cache
def _proven(kind: str) -> Decoder | None:
    """The fastest decoder that agrees with the careful one here: JPEG's arithmetic differs between libraries and their
    versions."""
    candidates = (png_rows.decode, _opencv) if kind == "PNG" else (_opencv,)
    return next((decoder for decoder in candidates if agree(decoder, kind)), None)


def agree(decoder: Decoder, kind: str) -> bool:
    """Whether `decoder` gives Pillow's pixels for images of `kind` of every sampling, even and odd sizes, fine and
    coarse."""
    random = np.random.default_rng(0)
    for height, width in ((16, 48), (35, 51), (1, 1), (33, 17)):
        noise = random.integers(0, 256, (height, width, 3), np.uint8)
        smooth = cv2.resize(noise[:4, :4], (width, height), interpolation=cv2.INTER_LINEAR)
        for image in (noise, smooth):
            for sampling, quality in ((0, 95), (1, 75), (2, 50)):
                stream = io.BytesIO()
                options = {"subsampling": sampling, "quality": quality} if kind == "JPEG" else {}
                Image.fromarray(image).save(stream, kind, **options)
                stream.seek(0)
                with Image.open(stream) as known:
                    wanted = np.asarray(known)
                found = decoder(stream.getvalue())
                if found is None or not np.array_equal(found, wanted):
                    return False
    return True
