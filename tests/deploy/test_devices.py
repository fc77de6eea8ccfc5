"""`--device` from end to end: the card's stand-in gives the emulator's files, or what is missing is named."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from arch.releases import FIRMWARE
from deploy.deployed import Deployed
from runtime.vitis import machine
from tests.deploy.tiny import NETWORK, data, exit_code, register
from tests.runtime.vitis import tool
from tests.runtime.vitis.test_preflight import XDMA, card, firmware
from xmodel import conda, file

RESULTS = ("segmentation_output_array.npy", "classification_output_array.npy", "predictions.csv")


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A tiny detector on the emulator, the same as the vendor's compiler would write it, and its recording."""
    folder = tmp_path_factory.mktemp("devices")
    crops, _ = data(folder)
    with pytest.MonkeyPatch.context() as monkeypatch:
        register(monkeypatch)
        bare_machine(monkeypatch, folder)
        stages = (
            ["quantize", *NETWORK, "--calib", crops, "--out", folder / "quantize"],
            ["compile", folder / "quantize", "--backend", "unmask", "--out", folder / "own"],
            ["infer", folder / "own", "--crops", crops, "--out", folder / "emulator", "--device", "emulator"],
        )
        for arguments in stages:
            assert exit_code(*arguments, "--quiet") == 0
    graph = tool.with_code(file.read(folder / "own/UNet.xmodel"))
    tool.write(graph, folder / "UNet.xmodel")
    deployed = Deployed.load(folder / "UNet.xmodel", "reference")
    images = np.stack([deployed._load(path) for path in sorted(crops.iterdir())])
    tool.record(graph, {graph.inputs[0].output.name: images}, folder / "answers")
    yield folder


def bare_machine(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """No card, no vendor's Python."""
    for name in ("CONDA_PREFIX", "CONDA_EXE", "MAMBA_ROOT_PREFIX", "PYTHONPATH", FIRMWARE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(conda, "ROOTS", (str(folder / "conda"),))
    monkeypatch.setattr(machine, "ROOT", folder / "nothing")
    monkeypatch.setenv("PATH", str(folder / "bin"))


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bare_machine(monkeypatch, tmp_path)


@pytest.fixture
def with_card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, job: Path) -> None:
    """A card of Vitis AI 2.5 with the right overlay, and the stand-in for its runtime."""
    card(tmp_path / "root")
    monkeypatch.setattr(machine, "ROOT", tmp_path / "root")
    monkeypatch.setenv(FIRMWARE, str(firmware(tmp_path, f"dpu_DPUCVDX8H_8PE_350M_{XDMA}.xclbin")))
    tool.use(monkeypatch, job / "answers")


def infer(job: Path, out: Path, *more: object, model: str = "UNet.xmodel") -> int:
    return exit_code("infer", job / model, "--crops", job / "crops", "--out", out, *more)


@pytest.mark.usefixtures("with_card")
@pytest.mark.parametrize(("device", "threads"), [("card", 1), ("auto", 3)])
def test_the_card_gives_the_emulators_files(
    device: str, threads: int, job: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert infer(job, tmp_path / "out", "--device", device, "--threads", threads) == 0
    said = capsys.readouterr()
    assert f"Judging 10 crops on the card through VART of unknown version, Python 3.{sys.version_info[1]}" in said.err
    assert "10 of 10 crops judged on the card" in said.out
    for name in RESULTS:
        assert (tmp_path / "out" / name).read_bytes() == (job / "emulator" / name).read_bytes()
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["speed"]["device"] == "card" and report["speed"]["batch"] == 8
    assert report["speed"]["threads"] == threads


@pytest.mark.usefixtures("with_card")
def test_on_an_old_python_that_is_named(job: Path, tmp_path: Path) -> None:
    python = tool.old_python("3.6")
    assert infer(job, tmp_path / "out", "--device", "card", "--vitis-python", python, "-q") == 0
    for name in RESULTS:
        assert (tmp_path / "out" / name).read_bytes() == (job / "emulator" / name).read_bytes()
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["arguments"]["device"] == "card" and "Python 3.6" in record["arguments"]["runtime"]


@pytest.mark.usefixtures("with_card")
def test_a_timeout_stops_the_run_and_demands_a_reset(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tool.use(monkeypatch, job / "answers", "timeout", at=1)
    assert infer(job, tmp_path / "out", "--device", "card", "--threads", 1) == 3
    said = capsys.readouterr().err
    assert "cannot be trusted" in said and "Reset the card" in said and "--device emulator" in said
    assert not (tmp_path / "out/report.json").exists()
    tool.use(monkeypatch, job / "answers")
    assert infer(job, tmp_path / "out", "--device", "card", "--threads", 1) == 0
    for name in RESULTS:
        assert (tmp_path / "out" / name).read_bytes() == (job / "emulator" / name).read_bytes()


@pytest.mark.usefixtures("with_card")
def test_auto_says_why_it_leaves_the_card(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(FIRMWARE)
    assert infer(job, tmp_path / "out", model="own") == 0
    said = capsys.readouterr().err
    assert "The card is not used: 'UNet' holds no machine code" in said and f"{FIRMWARE} does not name" in said
    assert "Judging 10 crops on the emulator" in said


def test_without_a_card(job: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert infer(job, tmp_path / "out", "--device", "card", model="own") == 3
    said = capsys.readouterr().err
    for text in (
        "There is no VCK5000 in this machine.", "'UNet' holds no machine code", f"{FIRMWARE} does not name",
        "A Python with the vendor's xir and vart was not found. Asked: ", f"{sys.executable} (It has no xir and vart)",
        "vai_c_xir -x X_int.xmodel", "Name its Python with --vitis-python", "--device emulator",
    ):  # fmt: skip
        assert text in said
    assert infer(job, tmp_path / "out", "--device", "auto", "-q") == 0
    assert infer(job, tmp_path / "out", "--device", "emulator", "--vitis-python", sys.executable) == 2
    assert "has no effect with --device emulator" in capsys.readouterr().err
