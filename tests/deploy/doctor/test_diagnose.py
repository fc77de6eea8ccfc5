"""The doctor on saved output of cards, and on a machine without one."""

import json
from pathlib import Path

import pytest

from deploy.card.facts import Evidence
from deploy.card.live import Readout
from deploy.command import main
from deploy.doctor import diagnose
from tests.shared import SHARED, needs_shared
from xmodel.errors import UnavailableError

SAMPLES = SHARED / "samples/xbutil"


def _doctor(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, object]]:
    with pytest.raises(SystemExit) as end:
        main(["doctor", "--json", *arguments])
    shown = capsys.readouterr().out
    return int(str(end.value.code)), json.loads(shown) if shown else {}


def _mismatches(found: dict[str, object]) -> list[tuple[str, str]]:
    listed = found["mismatches"]
    assert isinstance(listed, list)
    return [(mismatch["what"], mismatch["grade"]) for mismatch in listed]


@needs_shared
@pytest.mark.parametrize(
    ("sample", "code", "release", "mismatches"),
    [
        ("vck5000_prod_examine_validate_gen4x8.txt", 1, "3.0", [("shell", "wrong")]),
        ("vck5000_es1_lspci.txt", 0, "1.4.1", []),
        ("vck5000_es1_xbmgmt_flash_scan.txt", 1, "1.4.1", [("shell", "wrong")]),
        ("simulated-card/healthy_gen4x8.examine_host.txt", 0, "3.0", []),
        ("simulated-card/degraded_gen3x4_hot98C.examine.pcie-info.json", 0, "3.0", [("PCIe link", "unwise")]),
        ("no-card-xrt-2.14", 0, "3.0", []),
    ],
)
def test_saved_output(
    capsys: pytest.CaptureFixture[str], sample: str, code: int, release: str, mismatches: list[tuple[str, str]]
) -> None:
    ended, found = _doctor(capsys, "--from", str(SAMPLES / sample))
    fitting = found["release"]
    assert isinstance(fitting, dict)
    assert (ended, fitting["vitis_ai"], _mismatches(found)) == (code, release, mismatches)
    assert found["here"] == []


@needs_shared
def test_a_model_of_another_release_beside_a_card(capsys: pytest.CaptureFixture[str]) -> None:
    (model,) = (SHARED / "goldens").rglob("v25_vck50004pe_pointpillars_custom_op.xmodel")
    sample = SAMPLES / "simulated-card/healthy_gen4x8.examine_host.txt"
    ended, found = _doctor(capsys, str(model), "--from", str(sample))
    assert (ended, _mismatches(found)) == (1, [("model's compiler", "wrong")])
    listed = found["mismatches"]
    assert isinstance(listed, list)
    assert "--target DPUCVDX8H_ISA1_F2W4_4PE" in listed[0]["remedy"]


def test_a_machine_without_a_card(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> str:
        raise UnavailableError("It was not found.")

    tools = dict.fromkeys(("xir and vart", "quantizer", "compiler"), nowhere)
    monkeypatch.setattr(diagnose, "identify", lambda _: Readout({}, Evidence(())))
    monkeypatch.setattr(diagnose, "_tools", lambda _: tools)
    monkeypatch.setattr(diagnose, "rows", lambda *_: [])
    monkeypatch.delenv("XLNX_VART_FIRMWARE", raising=False)
    ended, found = _doctor(capsys)
    assert (ended, found["fits"], found["mismatches"]) == (0, True, [])
    with pytest.raises(SystemExit):
        main(["doctor"])
    assert "everything runs on the emulator" in capsys.readouterr().out


def test_what_there_is_not(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert _doctor(capsys, "--from", str(tmp_path / "none"))[0] == 2
    assert _doctor(capsys, str(tmp_path / "none.xmodel"), "--from", str(tmp_path))[0] == 2
    assert _doctor(capsys, "--device", "0000:99:00.1", "--from", str(tmp_path))[0] == 2
