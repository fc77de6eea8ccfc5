from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import int8_peak, speed
from benchmarks.engine_case import products
from benchmarks.speed import Setting, Worker, WorkerError, row, turns, with_ratios
from runtime.emulator.native import build
from tests.runtime.emulator.networks import Builder
from xmodel.artifact import write_json


class _Recorded:
    """A worker that takes 0.1 s a computation and notes what it is asked."""

    def __init__(self, name: str, asked: list[str]) -> None:
        self._name, self._asked = name, asked

    def ask(self, command: str) -> dict[str, Any]:
        self._asked.append(f"{self._name} {command}")
        return {"seconds": 0.1, "cpu_seconds": 0.2}


def test_engines_take_turns_and_the_first_round_is_not_counted() -> None:
    asked: list[str] = []
    workers: Any = {name: _Recorded(name, asked) for name in "ab"}
    taken = turns(workers, rounds=2, shortest=0.3, pause=0)
    assert asked == ["a run 1", "b run 1", "a run 3", "b run 3", "a run 3", "b run 3"]
    assert [len(items) for items in taken.values()] == [2, 2]


def test_a_row_is_made_of_medians() -> None:
    taken = [{"seconds": s, "cpu_seconds": 2 * s} for s in (0.4, 9.0, 0.2)]
    found = row(taken, batch=4, products=10**9, peak=5e10)
    assert found["ms_per_image"] == pytest.approx(100)
    assert found["cpu_ms_per_image"] == pytest.approx(200)
    assert found["fps"] == pytest.approx(10)
    assert found["peak_share"] == pytest.approx(0.2)
    assert row(taken, 4, 10**9, None)["peak_share"] is None


def test_ratios_are_to_the_fastest_of_unmask() -> None:
    milliseconds = {"native": (10.0, 30.0), "torch": (20.0, 15.0), "other": (5.0, 45.0)}
    rows = {name: {"ms_per_image": wall, "cpu_ms_per_image": cpu} for name, (wall, cpu) in milliseconds.items()}
    found = with_ratios(rows, ["native", "torch"])
    assert {name: item["ratio"] for name, item in found.items()} == {"native": 1, "torch": 2, "other": 0.5}
    assert {name: item["cpu_ratio"] for name, item in found.items()} == {"native": 2, "torch": 1, "other": 3}
    assert with_ratios({"other": rows["other"]}, [])["other"]["ratio"] is None


def test_a_missing_competitor_is_skipped_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnx", "openvino"):
        (tmp_path / f"{name}.py").write_text("raise ModuleNotFoundError(name='openvino')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    write_json(tmp_path / "case.json", {"products": 1})
    found = speed.measure(tmp_path, Setting("tiny", 1, 1), ["openvino"], 1, None)
    assert found["rows"] == {}
    assert found["skipped"] == {
        "openvino": "openvino is not installed; the extra `bench` brings it: pip install -e '.[bench]'"
    }


def test_an_engine_that_fails_says_why(tmp_path: Path) -> None:
    worker = Worker("native", tmp_path, Setting("tiny", 1, 1))
    try:
        with pytest.raises(WorkerError, match=r"compiled\.xmodel"):
            worker.ask("load")
    finally:
        worker.end()


def test_products_are_counted_layer_by_layer() -> None:
    net = Builder("count")
    small = net.conv(net.data(8, 6, 3), 4)
    net.up(small)
    assert list(products(net.graph()).values()) == [8 * 6 * 4 * 9 * 3, 8 * 6 * 4 * 4 * 2]


@pytest.mark.skipif(build.compiler() is None, reason="there is no C++ compiler")
def test_the_peak_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8_peak, "SECONDS", 0.02)
    program = int8_peak.program(tmp_path)
    if program is None:
        pytest.skip("the program is for x86")
    peak = int8_peak.measure(program, 1)
    assert peak is None or (peak.threads == 1 and peak.products > 1e9)
