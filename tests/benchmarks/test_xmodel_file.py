from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import xmodel_file
from tests.xmodel.graphs import compiled
from xmodel import file


def test_both_sides_on_a_small_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(Path(__file__).resolve().parents[2])
    file.write(tmp_path / "net.xmodel", compiled())
    monkeypatch.setattr(xmodel_file, "vendor", lambda _folder: [sys.executable, "-c", xmodel_file._OURS])
    out = tmp_path / "x.json"
    monkeypatch.setattr(sys, "argv", ["bench", str(tmp_path / "net.xmodel"), "--rounds", "1", "--json", str(out)])
    xmodel_file.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("MB, 6 ops, median of 1 processes")
    assert [line.split()[0] for line in lines[2:]] == ["unmask", "libxir"]
    found = json.loads(out.read_text())["found"]
    assert found["libxir"]["ops"] == 6 and found["unmask"]["peak_bytes"] >= 0


def test_without_the_vendors_library_only_ours_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(Path(__file__).resolve().parents[2])
    file.write(tmp_path / "net.xmodel", compiled())
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "argv", ["bench", str(tmp_path / "net.xmodel"), "--rounds", "1"])
    xmodel_file.main()
    assert "libxir: not measured" in capsys.readouterr().out
