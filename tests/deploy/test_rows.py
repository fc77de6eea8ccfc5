"""The growing .npy file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deploy.rows import Rows, whole_rows


def write(path: Path, shape: tuple[int, ...], rows: list[np.ndarray], count: int = 0) -> None:
    path.touch()
    with path.open("r+b") as stream:
        growing = Rows(stream, shape, count)
        for row in rows:
            growing.append(row)
        growing.close()


@pytest.mark.parametrize("shape", [(1,), (2, 3), (224, 224, 2)])
def test_numpy_reads_back_every_row(shape: tuple[int, ...], tmp_path: Path) -> None:
    written = [np.full(shape, index, np.float32) for index in range(3)]
    write(tmp_path / "a.npy", shape, written)
    read = np.load(tmp_path / "a.npy", mmap_mode="r", allow_pickle=False)
    assert read.shape == (3, *shape) and read.dtype == np.float32
    np.testing.assert_array_equal(read, np.stack(written))


def test_numpy_writes_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "a.npy", (2,), [np.array([1, 2], np.float32)])
    np.save(tmp_path / "b.npy", np.array([[1, 2]], np.float32))
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_it_grows_after_the_rows_that_are_kept(tmp_path: Path) -> None:
    rows = [np.full(2, index, np.float32) for index in range(12)]
    write(tmp_path / "whole.npy", (2,), rows)
    write(tmp_path / "a.npy", (2,), [*rows[:10], np.full(2, 99, np.float32)])
    with (tmp_path / "a.npy").open("ab") as stream:
        stream.write(b"half")  # a kill in the middle of a row
    write(tmp_path / "a.npy", (2,), rows[10:], count=10)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


def test_only_whole_rows_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    write(path, (2,), [np.array([1, 2], np.float32), np.array([3, 4], np.float32)])
    path.write_bytes(path.read_bytes()[:-1])
    with path.open("rb") as stream:
        assert [np.frombuffer(row, "<f4").tolist() for row in whole_rows(stream, (2,))] == [[1.0, 2.0]]


def test_a_row_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a row has shape"):
        write(tmp_path / "a.npy", (2,), [np.zeros(3, np.float32)])
