"""A `.npy` file that grows row by row, so that memory does not grow with the number of images."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from xmodel.artifact import atomic


class Rows:
    """Appends float32 rows of one shape; the header is written last, when their number is known."""

    def __init__(self, stream: IO[bytes], shape: tuple[int, ...]) -> None:
        self._stream, self.shape, self.count = stream, shape, 0
        stream.write(self._header())

    def append(self, row: NDArray[Any]) -> None:
        """Add one row. Raises `ValueError` when it has another number of elements."""
        if row.size != math.prod(self.shape):
            raise ValueError(f"a row has shape {list(self.shape)}, not {list(row.shape)}")
        self._stream.write(np.ascontiguousarray(row, "<f4").tobytes())
        self.count += 1

    def close(self) -> None:
        """Write the header again, with the number of rows."""
        self._stream.seek(0)
        self._stream.write(self._header())

    def _header(self) -> bytes:
        # numpy pads it so that the first axis may grow to 21 digits without moving the data
        header = io.BytesIO()
        shape = (self.count, *self.shape)
        npy_format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
        return header.getvalue()


@contextmanager
def rows(path: Path, shape: tuple[int, ...]) -> Iterator[Rows]:
    """Rows of `shape` that become `path`, float32 (count, *shape), when the block ends well, else nothing."""
    with atomic(path) as stream:
        growing = Rows(stream, shape)
        yield growing
        growing.close()
