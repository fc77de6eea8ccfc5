"""Files that somebody compressed before sending them, and files in which nothing is left to read."""

from __future__ import annotations

import bz2
import lzma
import re
import zlib
from collections.abc import Callable
from typing import Protocol

from deploy.card.text import decoded


class _Unpacker(Protocol):
    """What the standard library's decompressors have in common."""

    @property
    def eof(self) -> bool:
        """Has the end of the stream been seen?"""

    @property
    def unused_data(self) -> bytes:
        """What follows the stream."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """The next bytes, at most `max_length`."""


_FORMATS: tuple[tuple[bytes, str, Callable[[], _Unpacker]], ...] = (
    (b"\x1f\x8b\x08", ".gz", lambda: zlib.decompressobj(zlib.MAX_WBITS | 16)),
    (b"\xfd7zXZ\x00", ".xz", lambda: lzma.LZMADecompressor(memlimit=64 << 20)),
    (b"BZh", ".bz2", bz2.BZ2Decompressor),
)
_ARCHIVE = re.compile(r"\.(?:tar|tgz|txz|tbz2?|zip|7z|rar|zst|gz|xz|bz2)$", re.IGNORECASE)
_OUTPUT = re.compile(r"xbutil|xbmgmt|lspci|validat|examine", re.IGNORECASE)
_ASIDE = re.compile(r"err|help|version", re.IGNORECASE)
_LOST = 0.02  # of a text's characters that are no characters


def unpacked(name: str, data: bytes, most: int) -> tuple[str, bytes]:
    """The name and content without compression, at most `most` bytes; as they are when not compressed, or not whole."""
    for mark, suffix, begin in _FORMATS:
        if data.startswith(mark):
            unpacker = begin()
            try:
                content = unpacker.decompress(data, most)
            except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError):
                return name, data
            if len(content) >= most or (unpacker.eof and not unpacker.unused_data):
                return name.removesuffix(suffix), content
    return name, data


def loss(name: str, data: bytes) -> str:
    """Why a file in which no tool's output was found may have held one; "" when nothing says that it did."""
    if _ARCHIVE.search(name):
        return "an archive, or a damaged one: unpack it"
    if not _OUTPUT.search(name) or _ASIDE.search(name):
        return ""
    text = decoded(data)
    if text is None or text.count("\ufffd") > _LOST * len(text):
        return "by its name a tool's output, and damaged"
    return "" if text.strip() else "by its name a tool's output, and empty"
