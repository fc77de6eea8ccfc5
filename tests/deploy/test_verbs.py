"""Verbs whose work is done elsewhere: what they pass on and what they say."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from model import fetch, samples, train
from tests.deploy.tiny import exit_code


def test_samples(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def make(out: Path) -> bool:
        for name, count in (("calib", 2), ("unseen", 1), ("masks", 3)):
            (out / name).mkdir()
            for index in range(count):
                (out / name / f"{index}.png").touch()
        return True

    monkeypatch.setattr(samples, "make_samples", make)
    assert exit_code("samples", "--out", tmp_path, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "out": str(tmp_path), "made": True, "calib": 2, "unseen": 1, "masks": 3
    }  # fmt: skip


def test_fetch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def bring(what: Any, out: Path) -> list[fetch.Fetched]:
        return [fetch.Fetched(name, out / name, new=True) for name in what]

    monkeypatch.setattr(fetch, "fetch", bring)
    assert exit_code("fetch", "weights", "calib", "--out", tmp_path) == 0
    assert capsys.readouterr().out == (
        f"weights: {tmp_path}/weights (fetched)\ncalib: {tmp_path}/calib (fetched)\n"
    )  # fmt: skip


def test_train(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[train.TrainSettings] = []

    def run(settings: train.TrainSettings) -> Path:
        seen.append(settings)
        print("step 1", file=sys.stderr)
        (settings.out / "metrics.json").write_text('{"history": []}')
        return settings.out / "weights.safetensors"

    monkeypatch.setattr(train, "train", run)
    options = ["--width", 8, "--phase", "64:4:3", "--phase", "224:2:2", "--rate", 0.01, "--seed", 7, "--device", "cpu"]
    assert exit_code("train", "--data", "faces", "--out", tmp_path, *options, "--json", "--quiet") == 0
    told = capsys.readouterr()
    assert told.err == ""
    assert json.loads(told.out) == {"weights": str(tmp_path / "weights.safetensors"), "metrics": {"history": []}}
    (settings,) = seen
    assert (settings.data, settings.width, settings.steps) == (Path("faces"), 8, 5)
    assert (settings.rate, settings.seed, settings.device, settings.wandb) == (0.01, 7, "cpu", False)


@pytest.mark.parametrize("phase", ["64", "64:12", "a:b:c", "0:1:1", "64:1:-1"])
def test_phases_that_are_none(phase: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("train", "--data", tmp_path, "--out", tmp_path, "--phase", phase) == 2
    assert f"These are no training phases: {phase}." in capsys.readouterr().err
