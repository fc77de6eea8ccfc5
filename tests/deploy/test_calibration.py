"""Calibration images from folders and arrays: batches, order, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploy.calibration import Calibration, find, split
from tests.deploy.pictures import make_crops
from xmodel.errors import ArtifactError, GateError, UsageError
from xmodel.graph import Graph, Op, Tensor
from xmodel.preprocess import Preprocessing


def _graph(*shape: int, **preprocessing: Any) -> Graph:
    """A graph that takes NHWC `shape`."""
    graph = Graph("Net", (Op("x", "data", {}, {}, Tensor("x", shape)),))
    return Preprocessing(shape[2], shape[1], **preprocessing).store(graph) if preprocessing else graph


def _array(folder: Path, array: Any, limit: int | None = None, sizes: Any = 8) -> Calibration:
    np.save(folder / "x.npy", array)
    return find(folder / "x.npy", limit, sizes)


LEVELS = np.arange(21 * 3 * 4 * 5, dtype=np.int64).reshape(21, 3, 4, 5) % 256


@pytest.mark.parametrize(
    ("sizes", "expected"), [(8, [8, 8, 5]), (32, [21]), ((8, 8, 5), [8, 8, 5]), ((1, 20), [1, 20])]
)
def test_batches_are_in_order_and_the_last_may_be_short(sizes: Any, expected: list[int], tmp_path: Path) -> None:
    real = LEVELS.astype(np.float32) - 7
    batches = list(_array(tmp_path, real, sizes=sizes).batches(_graph(1, 4, 5, 3)))
    assert [len(batch) for batch in batches] == expected
    np.testing.assert_array_equal(np.concatenate(batches), real)
    assert {batch.dtype for batch in batches} == {np.dtype(np.float32)}


def test_bytes_are_value_over_255_in_float32(tmp_path: Path) -> None:
    images = _array(tmp_path, LEVELS.astype(np.uint8))
    (batch, *_) = images.batches(_graph(1, 4, 5, 3))
    np.testing.assert_array_equal(batch, LEVELS[:8].astype(np.float32) / np.float32(255))
    grey = _array(tmp_path, LEVELS[:, :1].astype(np.uint8))
    np.testing.assert_array_equal(next(grey.batches(_graph(1, 4, 5, 1))), batch[:, :1])


def test_bytes_follow_the_preprocessing_that_is_given(tmp_path: Path) -> None:
    graph = _graph(1, 4, 5, 3, mean=(0.5, 0.25, 0.0), scale=(2.0, 1.0, 4.0))
    batch = next(_array(tmp_path, LEVELS.astype(np.uint8)).batches(graph))
    plain = LEVELS[:8].astype(np.float32) / np.float32(255)
    np.testing.assert_allclose(batch[:, 0], (plain[:, 0] - 0.5) * 2, rtol=1e-6)
    np.testing.assert_allclose(batch[:, 2], plain[:, 2] * 4, rtol=1e-6)


def test_a_limit_and_an_even_sample(tmp_path: Path) -> None:
    images = _array(tmp_path, LEVELS.astype(np.float32), limit=10)
    assert images.count == 10 and images.shape == (3, 4, 5)
    assert [len(batch) for batch in images.batches(_graph(1, 4, 5, 3))] == [8, 2]
    found = list(images.sample(_graph(1, 4, 5, 3), 4))
    assert [index for index, _ in found] == [0, 3, 6, 9]
    np.testing.assert_array_equal(found[1][1], LEVELS[3:4].astype(np.float32))
    assert list(images.sample(_graph(1, 4, 5, 3), 0)) == []


def test_the_digest_tells_what_is_used(tmp_path: Path) -> None:
    whole, part = (_array(tmp_path, LEVELS.astype(np.uint8), limit).digest() for limit in (None, 4))
    assert whole != part and whole != _array(tmp_path, LEVELS[::-1].astype(np.uint8)).digest()


def test_images_of_another_size(tmp_path: Path) -> None:
    images = _array(tmp_path, LEVELS.astype(np.float32))
    with pytest.raises(ArtifactError, match=r"are \(3, 4, 5\); the network takes \(3, 8, 8\)"):
        next(images.batches(_graph(1, 8, 8, 3)))
    turned = _array(tmp_path, LEVELS.astype(np.float32).transpose(0, 2, 3, 1))
    with pytest.raises(ArtifactError) as caught:
        next(turned.batches(_graph(1, 4, 5, 3)))
    assert "x.transpose(0, 3, 1, 2)" in caught.value.hint


def test_values_that_are_no_numbers(tmp_path: Path) -> None:
    for value in (np.nan, np.inf):
        array = LEVELS.astype(np.float32)
        array[9, 1, 2, 3] = value
        batches = _array(tmp_path, array).batches(_graph(1, 4, 5, 3))
        next(batches)
        with pytest.raises(ArtifactError, match="Image 9 of this array holds NaN or infinity"):
            next(batches)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (LEVELS.astype(np.float64), "is of type float64; float32 or uint8 is needed"),
        (LEVELS.astype(np.int8), "is of type int8"),
        (LEVELS[:0].astype(np.uint8), r"has the shape \(0, 3, 4, 5\)"),
        (np.float32(3), r"has the shape \(\)"),
        (np.zeros(4, np.float32), r"has the shape \(4,\)"),
    ],
)
def test_arrays_that_hold_no_images(array: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=message):
        _array(tmp_path, array)


def test_files_that_hold_no_array(tmp_path: Path) -> None:
    _array(tmp_path, LEVELS.astype(np.uint8))
    whole = (tmp_path / "x.npy").read_bytes()
    for content in (whole[:-100], whole[:40], b"", b"text"):
        (tmp_path / "x.npy").write_bytes(content)
        with pytest.raises(ArtifactError, match="not a readable"):
            find(tmp_path / "x.npy", None, 8)
    with pytest.raises(UsageError, match="No such file"):
        find(tmp_path / "none.npy", None, 8)
    (tmp_path / "x.zip").write_text("")
    with pytest.raises(UsageError, match="are a folder or"):
        find(tmp_path / "x.zip", None, 8)


def test_batch_sizes_must_hold_all_images(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="The batches 8,8 hold 16 images; 21 are there") as caught:
        _array(tmp_path, LEVELS.astype(np.uint8), sizes=(8, 8))
    assert "--limit 16" in caught.value.hint
    with pytest.raises(UsageError, match="The batches 8,8,8 hold 24 images; 21 are there"):
        _array(tmp_path, LEVELS.astype(np.uint8), sizes=(8, 8, 8))
    assert _array(tmp_path, LEVELS.astype(np.uint8), limit=16, sizes=(8, 8)).count == 16


def test_sizes_on_the_command_line() -> None:
    assert (split(None, None), split(8, None), split(None, "8, 8,5")) == (32, 8, (8, 8, 5))
    with pytest.raises(UsageError, match="exclude each other"):
        split(8, "8")
    for text in ("", "8,", "0", "-1", "8;8", "²"):
        with pytest.raises(UsageError, match="These are no batch sizes"):
            split(None, text)


def test_a_folder(tmp_path: Path) -> None:
    make_crops(tmp_path, 7)
    (tmp_path / "v3_0_0.png").write_text("no image")
    images = find(tmp_path, None, (3, 4))
    batches = list(images.batches(_graph(1, 16, 16, 3)))
    assert [batch.shape for batch in batches] == [(3, 3, 16, 16), (3, 3, 16, 16)]
    assert list(images.failures) == ["v3_0_0.png"]
    assert [index for index, _ in images.sample(_graph(1, 16, 16, 3), 6)] == [0, 1, 2, 4, 5, 6]
    for path in tmp_path.iterdir():
        path.write_text("no image")
    with pytest.raises(GateError, match="None of the 7 crops could be read"):
        list(find(tmp_path, None, 3).batches(_graph(1, 16, 16, 3)))
