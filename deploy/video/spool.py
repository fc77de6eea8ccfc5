"""What is known of each frame, kept in files without a name: memory does not grow with the clip, nothing is left over.

Two threads write: the one that reads the clip notes every frame that is considered, the sink every result. Both
do so in the order of the frames, so that reading joins them again.
"""

from __future__ import annotations

import struct
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from deploy.video.square import Square
from xmodel.artifact import storage

_NOTE = struct.Struct("<qqiiiiH")  # frame, tick, square (width 0: none), bytes of the reason that follows
_RESULT = struct.Struct("<ddI")  # P(real), share, bytes of the mask that follows


@dataclass(frozen=True, slots=True)
class Judged:
    """A frame that was considered: its number, its tick, the square that was judged, and what came out.

    `reason` says why there is no result; then `p_real` and `share` are NaN and there is no mask. `mask` (H, W) is
    the network's, True = manipulated.
    """

    index: int
    tick: int
    square: Square | None
    reason: str
    p_real: float
    share: float
    mask: NDArray[np.bool_] | None


class Spool:
    """Judged frames on disk, for masks of `shape` (H, W)."""

    def __init__(self, folder: Path, shape: tuple[int, int]) -> None:
        self.folder, self.shape = folder, shape
        with storage(folder):
            self._notes: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed by `close`)
            self._results: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115

    def note(self, index: int, tick: int, square: Square | None, reason: str = "") -> None:
        """A frame is considered: it is judged in `square`, or not at all for a `reason`."""
        told = reason.encode(errors="backslashreplace")[:1000]
        sides = (square.left, square.top, square.width, square.height) if square else (0, 0, 0, 0)
        with storage(self.folder):
            self._notes.write(_NOTE.pack(index, tick, *sides, len(told)) + told)

    def result(self, p_real: float, mask: NDArray[np.bool_]) -> None:
        """The result of the next frame that has a square."""
        packed = zlib.compress(np.packbits(mask).tobytes(), 1)
        with storage(self.folder):
            self._results.write(_RESULT.pack(p_real, float(mask.mean()), len(packed)) + packed)

    def failed(self, reason: str) -> None:
        """The next frame that has a square could not be judged."""
        told = reason.encode(errors="backslashreplace")[:1000]
        with storage(self.folder):
            self._results.write(_RESULT.pack(-1.0, 0.0, len(told)) + told)

    def read(self) -> Iterator[Judged]:
        """Everything, in order, once both sides are done."""
        with storage(self.folder):
            self._notes.seek(0)
            self._results.seek(0)
        while head := self._notes.read(_NOTE.size):
            index, tick, left, top, width, height, length = _NOTE.unpack(head)
            reason = self._notes.read(length).decode(errors="replace")
            if not width:
                yield Judged(index, tick, None, reason, np.nan, np.nan, None)
                continue
            yield self._joined(index, tick, Square(left, top, width, height))

    def _joined(self, index: int, tick: int, square: Square) -> Judged:
        p_real, share, length = _RESULT.unpack(self._results.read(_RESULT.size))
        content = self._results.read(length)
        if p_real < 0:
            return Judged(index, tick, square, content.decode(errors="replace"), np.nan, np.nan, None)
        height, width = self.shape
        bits = np.unpackbits(np.frombuffer(zlib.decompress(content), np.uint8), count=height * width)
        return Judged(index, tick, square, "", p_real, share, bits.reshape(height, width).astype(bool))

    def clear(self) -> None:
        """Forget everything."""
        for stream in (self._notes, self._results):
            stream.seek(0)
            stream.truncate()

    def close(self) -> None:
        """Give the disk space back."""
        self._notes.close()
        self._results.close()
