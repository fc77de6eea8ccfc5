"""A calibration that is stopped and goes on gives the bytes of one that is not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from quantize.calibrate import BiasCorrection, Calibrator
from quantize.pieces import Difference
from quantize.pipeline import Quantized, export, float_graph, quantize_graph
from quantize.resume import Checkpoint
from tests.quantize.networks import images, small
from xmodel.errors import ArtifactError
from xmodel.graph import Array

BATCHES = 6


def _batches(stop_at: int | None = None) -> Iterator[Array]:
    data = images(BATCHES * 4)
    for index in range(BATCHES):
        if index == stop_at:
            raise KeyboardInterrupt
        yield data[index * 4 : index * 4 + 4]


def _run(checkpoint: Checkpoint | None = None, stop_at: int | None = None) -> Quantized:
    return quantize_graph(float_graph(small(), "Small", images(1)), _batches(stop_at), checkpoint=checkpoint)


def _bytes(result: Quantized, folder: Path) -> list[bytes]:
    folder.mkdir()
    return [(folder / name).read_bytes() for name in export(result, folder)]


@pytest.mark.parametrize("stops", [[1], [3], [5], [2, 4]])
def test_the_result_is_byte_identical(stops: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "state.json"
    for stop in stops:
        with pytest.raises(KeyboardInterrupt):
            _run(Checkpoint(state, "key"), stop)
    checkpoint = Checkpoint(state, "key")
    assert (checkpoint.batches, checkpoint.images) == (stops[-1], stops[-1] * 4)
    whole = _bytes(_run(), tmp_path / "whole")
    observed: list[int] = []
    real = Calibrator.observe

    def observe(self: Calibrator, batch: Tensor) -> dict[str, Tensor]:
        observed.append(len(batch))
        return real(self, batch)

    monkeypatch.setattr(Calibrator, "observe", observe)
    resumed = _run(checkpoint)
    assert len(observed) == BATCHES - stops[-1]
    assert (resumed.images, resumed.batches) == (BATCHES * 4, BATCHES)
    assert _bytes(resumed, tmp_path / "resumed") == whole


def test_a_stop_in_the_middle_of_a_batch_keeps_the_batches_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, real = 0, BiasCorrection.update

    def update(self: BiasCorrection, found: Difference) -> None:
        nonlocal calls
        calls += 1
        if calls == 13:  # five weighted layers a batch
            raise KeyboardInterrupt
        real(self, found)

    with monkeypatch.context() as patch:
        patch.setattr(BiasCorrection, "update", update)
        with pytest.raises(KeyboardInterrupt):
            _run(Checkpoint(tmp_path / "state.json", "key"))
    checkpoint = Checkpoint(tmp_path / "state.json", "key")
    assert 0 < checkpoint.batches < BATCHES
    assert _bytes(_run(checkpoint), tmp_path / "a") == _bytes(_run(), tmp_path / "b")


def test_writing_is_rare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 2.0
        return now

    written: list[int] = []
    real = Checkpoint.write

    def write(self: Checkpoint) -> None:
        written.append(1)
        real(self)

    monkeypatch.setattr(Checkpoint, "write", write)
    _run(Checkpoint(tmp_path / "state.json", "key", clock))
    assert len(written) == 3  # every third of six batches of 2 s, and at the end


def _stopped(folder: Path) -> Path:
    with pytest.raises(KeyboardInterrupt):
        _run(Checkpoint(folder / "state.json", "key"), 2)
    return folder / "state.json"


def test_another_calibrations_state_is_not_used(tmp_path: Path) -> None:
    checkpoint = Checkpoint(_stopped(tmp_path), "other")
    assert checkpoint.ignored == "it belongs to other inputs or settings" and checkpoint.batches == 0
    assert _run(checkpoint).quant_info == _run().quant_info


@pytest.mark.parametrize(
    "change",
    [
        {"batches": 0},
        {"batches": "2"},
        {"batches": 3},
        {"images": 1},
        {"history": {}},
        {"history": None},
        {"skipped": {"nothing": 1}},
        {"corrections": {}},
        {"corrections": []},
    ],
)
def test_a_damaged_state_is_not_used(change: dict[str, Any], tmp_path: Path) -> None:
    path = _stopped(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    checkpoint = Checkpoint(path, "key")
    result = _run(checkpoint)
    assert checkpoint.ignored == "its content is damaged" and checkpoint.batches == 0
    assert result.batches == BATCHES and result.quant_info == _run().quant_info


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_a_file_that_is_no_state(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_bytes(content)
    assert Checkpoint(tmp_path / "state.json", "key").ignored == "its content is damaged"


def test_fewer_batches_than_were_done_are_an_error(tmp_path: Path) -> None:
    path = _stopped(tmp_path)
    with pytest.raises(ArtifactError, match="had 2 batches; now there are 1"):
        quantize_graph(float_graph(small(), "Small", images(1)), [images(4)], checkpoint=Checkpoint(path, "key"))
