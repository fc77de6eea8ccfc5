"""`unmask card check` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploy import command
from deploy.card.evidence import from_folder
from deploy.card.judge import demand, judged
from deploy.card.live import Machinery
from tests.deploy.card import fakes, samples
from xmodel.errors import UnavailableError


def _run(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as caught:
        command.main(["card", *arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def _folder(path: Path, **changed: bytes) -> str:
    path.mkdir()
    for name, data in samples.folder(**changed).items():
        (path / name).write_bytes(data)
    return str(path)


def test_saved_output_of_a_healthy_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    assert _run(["check", "--from", _folder(tmp_path / "x"), "--html", str(page), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["healthy"] and not data["live"] and page.is_file()


def test_saved_output_of_a_hot_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hot = samples.device(**samples.thermals(device=98))
    assert _run(["check", "--from", _folder(tmp_path / "x", thermal=hot)]) == 1
    told = capsys.readouterr()
    assert "98 °C" in told.out and "Error: Not healthy: 0000:21:00: Temperature FPGA." in told.err


def test_a_machine_without_a_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Machinery, "here", lambda: fakes.machinery(tmp_path))
    assert _run(["check"]) == 3
    told = capsys.readouterr()
    assert "no device of AMD/Xilinx" in told.out and "unmask card setup --release 3.0" in told.err


def test_saved_output_again_without_names(tmp_path: Path) -> None:
    saved = tmp_path / "y"
    assert _run(["check", "--from", _folder(tmp_path / "x"), "--save", str(saved), "--mask", "-q"]) == 0
    assert "lab7" not in (saved / "host").read_text() and len(list(saved.iterdir())) == 7
    assert _run(["check", "--from", str(saved), "-q"]) == 0


@pytest.mark.parametrize(
    "arguments", [["--quick", "--full"], ["--mask"], ["--from", "/no/such/folder"]], ids=["both", "mask", "absent"]
)
def test_wrong_requests(arguments: list[str]) -> None:
    assert _run(["check", *arguments]) == 2


def test_a_card_that_is_not_there(tmp_path: Path) -> None:
    assert _run(["check", "--from", _folder(tmp_path / "x"), "--device", "17:00.1"]) == 3


def test_a_folder_without_any_output_is_not_advised_to_seat_the_card(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="nothing here shows a VCK5000") as caught:
        demand(judged(from_folder(tmp_path)))
    assert caught.value.hint.startswith("Give a folder") and "Seat" not in caught.value.hint
