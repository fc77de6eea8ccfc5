"""The memory that our process and the worker share: every tensor of every job has its place there, once."""

from __future__ import annotations

import errno
import math
import mmap
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from xmodel.errors import UnavailableError
from xmodel.graph import Array

_LINE, _PAGE = 64, 4096  # bytes: a tensor begins on a cache line, a slot on a page
_MOST = 4 << 30  # bytes; the system may end the process that asks for more than there is


@dataclass(frozen=True, slots=True)
class Place:
    """An int8 tensor in a slot: `offset` bytes from the slot's start; `shape` includes the batch."""

    name: str
    shape: tuple[int, ...]
    offset: int


@dataclass(frozen=True, slots=True)
class Layout:
    """For each DPU subgraph the places of its inputs and outputs; a slot of `stride` bytes holds all of them."""

    parts: tuple[tuple[tuple[Place, ...], tuple[Place, ...]], ...]
    stride: int

    @staticmethod
    def of(
        parts: Sequence[tuple[Sequence[tuple[str, tuple[int, ...]]], Sequence[tuple[str, tuple[int, ...]]]]],
    ) -> Layout:
        """From (name, shape) of each part's inputs and outputs."""
        end = 0
        placed: list[tuple[tuple[Place, ...], tuple[Place, ...]]] = []
        for part in parts:
            sides: list[tuple[Place, ...]] = []
            for tensors in part:
                side = []
                for name, shape in tensors:
                    side.append(Place(name, shape, end))
                    end += -(-math.prod(shape) // _LINE) * _LINE
                sides.append(tuple(side))
            placed.append((sides[0], sides[1]))
        return Layout(tuple(placed), max(1, -(-end // _PAGE)) * _PAGE)


@contextmanager
def _where_supported() -> Iterator[None]:
    """Some file systems cannot set space aside."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise


class Memory:
    """A file without a name, so that nothing is left whoever dies; `descriptor` is handed to the worker.

    Where the system has them it is anonymous memory, which the small /dev/shm of containers does not limit.
    """

    def __init__(self) -> None:
        if hasattr(os, "memfd_create"):
            self.descriptor = os.memfd_create("unmask-card")
        else:
            with tempfile.TemporaryFile() as file:
                self.descriptor = os.dup(file.fileno())
        self._map: mmap.mmap | None = None

    def resize(self, size: int) -> None:
        """Take `size` bytes, once. Raises `UnavailableError` when there are not as many: later that is a crash."""
        try:
            if size > _MOST:
                raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
            os.ftruncate(self.descriptor, size)
            if hasattr(os, "posix_fallocate"):
                with _where_supported():
                    os.posix_fallocate(self.descriptor, 0, size)
            self._map = mmap.mmap(self.descriptor, size)
        except OSError as error:
            raise UnavailableError(
                f"There are no {size >> 20} MiB of memory for the card's batches: {error.strerror}.",
                hint="Use fewer --threads.",
            ) from error

    def array(self, start: int, place: Place) -> Array:
        """The tensor at `place` in the slot that begins at `start`: int8, zero at first."""
        assert self._map is not None
        count = math.prod(place.shape)
        return np.frombuffer(self._map, np.int8, count, start + place.offset).reshape(place.shape)

    def close(self) -> None:
        """Give the file up; arrays stay valid until they are gone."""
        self._map = None
        os.close(self.descriptor)
