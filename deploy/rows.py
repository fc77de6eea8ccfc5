"""A `.npy` file that grows row by row, so that memory does not grow with the number of images."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray


class Rows:
    """Appends float32 rows of one shape to a file after the `count` that it holds; what follows those is cut off.

    The file is an array (count, *shape) once `close` has written the number of rows into its header.
    """

    def __init__(self, stream: IO[bytes], shape: tuple[int, ...], count: int = 0) -> None:
        self._stream, self.shape, self.count = stream, shape, count
        stream.seek(0)
        header = _header(shape, count)
        stream.write(header)
        stream.seek(len(header) + count * _size(shape))
        stream.truncate()

    def append(self, row: NDArray[Any]) -> None:
        """Add one row. Raises `ValueError` when it has another number of elements."""
        if row.size != math.prod(self.shape):
            raise ValueError(f"a row has shape {list(self.shape)}, not {list(row.shape)}")
        self._stream.write(np.ascontiguousarray(row, "<f4").data)
        self.count += 1

    def close(self) -> None:
        """Write the header again, with the number of rows."""
        self._stream.seek(0)
        self._stream.write(_header(self.shape, self.count))
        self._stream.flush()


def whole_rows(stream: IO[bytes], shape: tuple[int, ...]) -> Iterator[bytes]:
    """The bytes of each row that is completely in a file which `Rows` began."""
    stream.seek(len(_header(shape, 0)))
    while len(row := stream.read(_size(shape))) == _size(shape):
        yield row


def _size(shape: tuple[int, ...]) -> int:
    return 4 * math.prod(shape)


def _header(shape: tuple[int, ...], count: int) -> bytes:
    # numpy pads it so that the first axis may grow to 21 digits without moving the data
    header = io.BytesIO()
    npy_format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (count, *shape)})
    return header.getvalue()
