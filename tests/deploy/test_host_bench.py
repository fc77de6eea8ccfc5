"""The host's benchmark: what it measures is there, and what it shows is what it measured."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deploy import host_bench
from deploy.host_bench import HostJob, run_host, shown
from tests.deploy.tiny import exit_code

ROW = {
    "workers": 2, "writes": False, "fps": 1267.2, "times_published": 4.0, "cpu_ms": 1.574, "host_ms": 1.5,
    "sink_ms": 0.1, "bottleneck": "host",
}  # fmt: skip
FOUND: dict[str, Any] = {
    "cores": 2, "load": [0.25, 0, 0], "published_fps": 316.8, "crops": 1000,
    "kinds": {
        "JPEG": {
            "side": 256, "bytes": 12_345.0, "steps": {"read": 0.01, "decode": 0.5, "write": 1.0},
            "rows": [ROW, {**ROW, "writes": True, "bottleneck": "sink"}],
        }
    },
}  # fmt: skip


def test_every_step_and_row_is_measured() -> None:
    found = run_host(HostJob(crops=9, rounds=1, workers=(1, 3), files=2))
    assert found["published_fps"] == 316.8 and list(found["kinds"]) == ["PNG", "JPEG"]
    for kind, side in (("PNG", 224), ("JPEG", 256)):
        item = found["kinds"][kind]
        assert item["side"] == side and 8_000 < item["bytes"] < 90_000
        assert list(item["steps"]) == ["read", "decode", "resize", "quantize", "collect", "write"]
        assert all(value > 0 for value in item["steps"].values())
        rows = [(row["workers"], row["writes"]) for row in item["rows"]]
        assert rows == [(1, False), (3, False), (1, True), (3, True)]
        assert all(row["fps"] > 0 and row["cpu_ms"] > 0 for row in item["rows"])


def test_the_table() -> None:
    lines = shown(FOUND).splitlines()
    assert lines[0] == "The host without a device: 2 cores, 1000 crops a row. Load average 0.2."
    assert lines[2].split() == ["JPEG,", "256x256,", "12", "kB", "read", "decode", "write", "sum"]
    assert lines[3].split()[-4:] == ["0.01", "0.50", "1.00", "1.51"]
    assert lines[6].startswith("masks and scores in memory") and lines[7].startswith("masks and scores in files")
    assert lines[6].split()[-5:] == ["2", "1,267", "4.0×", "1.57", "decoding"]
    assert lines[7].split()[-1] == "writing"


def test_the_verb_passes_its_options_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    jobs: list[HostJob] = []

    def measure(job: HostJob) -> dict[str, Any]:
        jobs.append(job)
        return FOUND

    monkeypatch.setattr(host_bench, "run_host", measure)
    assert exit_code("bench", "--host", "--threads", "1,4", "--rounds", 5, "--json") == 0
    assert json.loads(capsys.readouterr().out) == FOUND
    assert exit_code("bench", "--host", "--quick") == 0
    assert "316.8 FPS" in capsys.readouterr().out
    assert jobs == [HostJob(1000, 5, (1, 4)), HostJob(300, 1, (1, 2))]
