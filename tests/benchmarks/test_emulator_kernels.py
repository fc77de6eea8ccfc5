from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import emulator_kernels
from benchmarks.emulator_kernels import Candidate, Times, measure


def test_candidates_take_turns_and_the_first_round_is_not_counted() -> None:
    order: list[str] = []

    def entrant(name: str) -> Candidate:
        return Candidate(name, 2, lambda: order.append(name))

    found = measure([entrant("a"), entrant("b")], rounds=2)
    assert order == ["a", "b"] * 3
    assert list(found) == ["a", "b"]


def test_the_median_is_in_milliseconds_an_image() -> None:
    found = measure([Candidate("nap", 4, lambda: time.sleep(0.02))], rounds=3)
    assert 5 <= found["nap"].wall < 50 and 0 <= found["nap"].cpu < found["nap"].wall


def test_different_bytes_end_the_run() -> None:
    same = {"mask": np.zeros(3, np.int8)}
    emulator_kernels._demand_same_bytes("torch", same, same)
    with pytest.raises(SystemExit, match="mask: the torch kernels and the reference give different bytes"):
        emulator_kernels._demand_same_bytes("torch", same, {"mask": np.ones(3, np.int8)})


def test_the_table_is_relative_to_float(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    times = {"torch float32": Times(20.0, 30.0), "fast": Times(5.0, 9.0)}
    monkeypatch.setattr(emulator_kernels, "candidates", lambda _setting: [])
    monkeypatch.setattr(emulator_kernels, "measure", lambda _list, _rounds: times)
    monkeypatch.setattr(sys, "argv", ["bench", "--full", "--threads", "1", "--json", str(tmp_path / "x.json")])
    emulator_kernels.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("uynet, batch 8, 1 threads")
    assert lines[3].split() == ["fast", "5.00", "9.00", "200.0", "4.00x"]
    assert json.loads((tmp_path / "x.json").read_text())["milliseconds_per_image"]["fast"] == 5.0
