"""The growing .npy file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deploy.rows import rows


@pytest.mark.parametrize("shape", [(1,), (2, 3), (224, 224, 2)])
def test_numpy_reads_back_every_row(shape: tuple[int, ...], tmp_path: Path) -> None:
    written = [np.full(shape, index, np.float32) for index in range(3)]
    with rows(tmp_path / "a.npy", shape) as growing:
        for row in written:
            growing.append(row)
        assert not (tmp_path / "a.npy").exists()
    read = np.load(tmp_path / "a.npy", mmap_mode="r", allow_pickle=False)
    assert read.shape == (3, *shape) and read.dtype == np.float32
    np.testing.assert_array_equal(read, np.stack(written))


def test_numpy_writes_the_same_bytes(tmp_path: Path) -> None:
    with rows(tmp_path / "a.npy", (2,)) as growing:
        growing.append(np.array([1, 2], np.float32))
    np.save(tmp_path / "b.npy", np.array([[1, 2]], np.float32))
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


@pytest.mark.parametrize("stop", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_file_leaves_nothing(stop: type[BaseException], tmp_path: Path) -> None:
    with pytest.raises(stop), rows(tmp_path / "a.npy", (1,)) as growing:
        growing.append(np.zeros(1, np.float32))
        raise stop
    assert list(tmp_path.iterdir()) == []


def test_a_row_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a row has shape"), rows(tmp_path / "a.npy", (2,)) as growing:
        growing.append(np.zeros(3, np.float32))
