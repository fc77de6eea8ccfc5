"""`unmask quantize --backend vitis`, on a stand-in for the vendor's tool."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from deploy.vendor_quantizer import choose
from quantize.pipeline import Settings
from quantize.vitis.job import VitisSettings
from tests.deploy.tiny import exit_code, files
from tests.quantize.networks import images, small
from tests.quantize.vitis import tool
from xmodel import artifact, file
from xmodel.errors import UsageError


@pytest.fixture
def arguments(tmp_path: Path) -> list[object]:
    """The network and the images of `tool.answers`, as a user gives them."""
    torch.export.save(torch.export.export(small(), (torch.from_numpy(images(1)),)), tmp_path / "small.pt2")
    np.save(tmp_path / "x.npy", images(11))
    return ["quantize", "--program", tmp_path / "small.pt2", "--calib", tmp_path / "x.npy", "--batch-size", 4,
            "--evaluate", 2, "--out", tmp_path / "out"]  # fmt: skip


def test_the_same_files_as_our_own_and_a_log(
    arguments: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tool.answers(tmp_path / "answers")
    tool.use(monkeypatch, tmp_path / "answers", bare=True)
    vendor = ["--backend", "vitis", "--vitis-python", sys.executable]
    assert exit_code(*arguments, *vendor) == 0
    told = capsys.readouterr().err
    assert "Vendor's quantizer: pytorch_nndct 3.5.0" in told and "Vendor's quantizer: export" in told
    theirs = files(tmp_path / "out")
    graph = file.read(tmp_path / "out/Small_int.xmodel")
    report = json.loads((tmp_path / "out/quant_report.json").read_text())
    assert report["images"] == 11 and report["batches"] == 3
    assert any(note.startswith("Quantized by the vendor's tool: pytorch_nndct 3.5.0") for note in report["notes"])
    assert all(output["sqnr"] > 20 for output in report["fidelity"]["outputs"])
    assert exit_code(*arguments, *vendor, "--json") == 0
    assert json.loads(capsys.readouterr().out)["seconds"] == artifact.seconds(
        tmp_path / "out"
    )  # up to date, not done again
    assert exit_code("compile", tmp_path / "out", "--out", tmp_path / "compiled", "-q") == 0
    assert exit_code(*arguments, "--backend", "auto", "-q") == 0
    assert files(tmp_path / "out") == theirs - {"vitis.log"}
    own = file.read(tmp_path / "out/Small_int.xmodel")
    assert {op.name: op.type for op in own.ops} == {op.name: op.type for op in graph.ops}


def test_a_failure_is_told_and_exits_3(
    arguments: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tool.answers(tmp_path / "answers")
    tool.use(monkeypatch, tmp_path / "answers", fault="mute", bare=True)
    assert exit_code(*arguments, "--backend", "vitis", "--vitis-python", sys.executable, "-q") == 3
    told = capsys.readouterr().err
    assert "ended with exit code 0 and without a result" in told and "vitis.log" in told
    assert files(tmp_path / "out") == {"vitis.log"}


def test_no_vendor_tool_exits_3(
    arguments: list[object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("xmodel.python.candidates", lambda: iter([Path(sys.executable)]))
    assert exit_code(*arguments, "--backend", "vitis", "-q") == 3
    told = capsys.readouterr().err
    assert "pytorch_nndct) was not found" in told and "--backend unmask, which needs nothing" in told


def test_a_vendors_python_that_would_not_be_used(arguments: list[object], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(*arguments, "--vitis-python", sys.executable) == 2
    assert "Add --backend vitis" in capsys.readouterr().err


def test_settings_become_the_vendors() -> None:
    assert choose("auto", Settings(), None, None) is None
    made = choose("vitis", Settings(False, False, "auto", "adaquant"), Path("py"), Path("c.json"))
    assert made == VitisSettings(False, False, "auto", True, Path("c.json"), python=Path("py"))
    with pytest.raises(UsageError, match="no learned rounding"):
        choose("vitis", Settings(finetune="learned"), None, None)
