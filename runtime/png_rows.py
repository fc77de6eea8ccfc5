"""Plain PNG files decoded by zlib and a native function that undoes the row filters; None where that is not built."""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Callable
from functools import lru_cache
from struct import unpack_from

import numpy as np
from numpy.typing import NDArray

from runtime.emulator.native import build

Pixels = NDArray[np.uint8]
Undo = Callable[[bytes, int, int, int | None], int]
_FIRST = 8  # byte of the first chunk


@lru_cache
def native() -> Undo | None:
    """The function `unmask_png_rows` of the native kernels' library: raw rows, height, width, address of the pixels;
    0 when done. It releases the interpreter's lock."""
    path = build.find()
    try:
        undo = None if path is None else ctypes.CDLL(str(path)).unmask_png_rows
    except (OSError, AttributeError):
        return None
    if undo is not None:
        undo.argtypes = [ctypes.c_char_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
    return undo


def decode(data: bytes) -> Pixels | None:
    """RGB uint8 [height, width, 3] of a PNG file that `plain_image.is_plain_png`; None without the native function,
    and for image data that is not exactly as long as it should be, or damaged."""
    undo = native()
    if undo is None:
        return None
    parts, position = [], _FIRST
    while position + 12 <= len(data):
        length, kind = unpack_from(">I4s", data, position)
        if kind == b"IDAT":
            parts.append(data[position + 8 : position + 8 + length])
        position += 12 + length
    width, height = unpack_from(">II", data, _FIRST + 8)
    size = height * (1 + 3 * width)
    inflate = zlib.decompressobj()
    try:
        raw = inflate.decompress(b"".join(parts), size + 1)  # never more, whatever the data would expand to
    except zlib.error:
        return None
    if len(raw) != size or not inflate.eof or inflate.unused_data:
        return None
    pixels = np.empty((height, width, 3), np.uint8)
    return None if undo(raw, height, width, pixels.ctypes.data) else pixels
