"""The check on a made-up machine: fake tools, real processes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from deploy.card.check import CheckJob, check
from deploy.card.judge import Judgement, demand
from deploy.card.live import Depth, Machinery
from deploy.card.tools import Answer, Tools
from deploy.card.verdict import Check, Status
from deploy.console import Output
from tests.deploy.card import fakes, samples
from xmodel.errors import UnavailableError, UsageError

ANSWERS = {
    "host": samples.host(), "platform": samples.device(**samples.platform()),
    "thermal": samples.device(**samples.thermals()), "electrical": samples.device(**samples.electrical()),
    "pcie-info": samples.device(**samples.pcie()), "validate": samples.validation(),
}  # fmt: skip


def _check(root: Path, job: CheckJob | None = None) -> Judgement:
    return check(job or CheckJob(), Output(quiet=True), fakes.machinery(root))


def _named(judgement: Judgement) -> dict[str, Check]:
    return {c.name: c for c in judgement.cards[0].checks}


def test_a_healthy_card(tmp_path: Path) -> None:
    fakes.production(tmp_path)
    fakes.working(tmp_path, ANSWERS)
    judgement = _check(tmp_path)
    assert int(judgement.exit_code) == 0, judgement.sentence
    checks = _named(judgement)
    assert checks["Device files"].measured == f"{tmp_path}/dev/xclmgmt8448 rw, {tmp_path}/dev/dri/renderD128 rw"
    assert checks["PCIe device"].status is Status.OK and checks["Temperature FPGA"].measured.startswith("52 °C")


def test_a_bus_that_a_container_hides_is_a_warning(tmp_path: Path) -> None:
    fakes.working(tmp_path, ANSWERS)
    judgement = _check(tmp_path)
    assert int(judgement.exit_code) == 0 and "container" in _named(judgement)["PCIe device"].advice
    fakes.working(tmp_path, {**ANSWERS, "host": samples.host("2.12.427").replace(b'"is_ready": "true"', b'"x": "1"')})
    assert _named(_check(tmp_path))["PCIe device"].status is Status.FAILED


def test_the_slot_is_read_from_sysfs(tmp_path: Path) -> None:
    fakes.production(tmp_path, link=("8.0", "4"))
    fakes.working(tmp_path, {**ANSWERS, "pcie-info": b""})
    assert _named(_check(tmp_path))["PCIe link"].measured.startswith("Gen3 x4, 3.9 GB/s, 25%")


def test_a_hot_card_whose_tool_says_nothing_of_it(tmp_path: Path) -> None:
    fakes.production(tmp_path)
    fakes.working(tmp_path, {**ANSWERS, "thermal": samples.device(**samples.thermals(device=98))})
    assert [c.name for c in _check(tmp_path).cards[0].failed] == ["Temperature FPGA"]


@pytest.mark.parametrize("report", ["thermal", "electrical", "platform", "validate"])
def test_a_report_that_does_not_come_is_a_failure_on_a_live_card(report: str, tmp_path: Path) -> None:
    fakes.production(tmp_path)
    fakes.working(tmp_path, {name: data for name, data in ANSWERS.items() if name != report})
    assert int(_check(tmp_path).exit_code) == 1


class _Hanging(Tools):
    def ask(self, name: str, arguments: Sequence[str], seconds: float = 1.0, json: bool = True) -> Answer | None:
        if "electrical" in arguments:
            return Answer((name, *arguments), None, problem=f"gave no answer in {seconds:.0f} s")
        return super().ask(name, arguments, seconds, json)


def test_a_tool_that_hangs_is_not_asked_again(tmp_path: Path) -> None:
    fakes.production(tmp_path)
    fakes.working(tmp_path, ANSWERS)
    here = Machinery(fakes.machinery(tmp_path).machine, _Hanging((tmp_path / "bin",)))
    judgement = check(CheckJob(save=tmp_path / "saved"), Output(quiet=True), here)
    assert int(judgement.exit_code) == 1 and judgement.machine[0].status is Status.WARNING
    assert "gave no answer in 60 s" in judgement.machine[0].measured
    assert not list((tmp_path / "saved").glob("validate*")) and list((tmp_path / "saved").glob("thermal*"))


def test_quick_leaves_validate_out(tmp_path: Path) -> None:
    fakes.production(tmp_path)
    fakes.working(tmp_path, {name: data for name, data in ANSWERS.items() if name != "validate"})
    judgement = _check(tmp_path, CheckJob(depth=Depth.QUICK))
    assert int(judgement.exit_code) == 0 and "quick" in judgement.sentence


def test_full_loads_the_card_again_and_again(tmp_path: Path) -> None:
    fakes.production(tmp_path)
    fakes.working(tmp_path, ANSWERS)
    job = CheckJob(depth=Depth.FULL, save=tmp_path / "saved")
    assert int(_check(tmp_path, job).exit_code) == 0
    names = {path.name.split("-0000")[0] for path in (tmp_path / "saved").glob("*.txt")}
    assert {"validate-0", "validate-aie-pl-1", "validate-bist-2", "soak-0-3", "soak-2-thermal-10"} <= names


@pytest.mark.parametrize(
    ("xbutil", "xbmgmt", "said"),
    [
        (fakes.DEBIAN, fakes.DEBIAN_MGMT, "unwrapped/xbutil2: No such file"),
        ("exit 0", "exit 0", "xbutil said nothing that can be understood"),
        ("echo 'ERROR: Please specify a device'; exit 1", "", "ERROR: Please specify a device"),
    ],
    ids=["debian", "silent", "useless"],
)
def test_tools_that_do_not_work(xbutil: str, xbmgmt: str, said: str, tmp_path: Path) -> None:
    fakes.production(tmp_path)
    fakes.tool(tmp_path, "xbutil", xbutil)
    fakes.tool(tmp_path, "xbmgmt", xbmgmt)
    judgement = _check(tmp_path)
    assert int(judgement.exit_code) == 3 and judgement.machine[0].status is Status.BROKEN
    with pytest.raises(UnavailableError, match=said) as caught:
        demand(judgement)
    assert "emulator" in caught.value.hint and "card setup" in caught.value.hint


def test_debians_wrapper_without_a_card(tmp_path: Path) -> None:
    fakes.tool(tmp_path, "xbutil", fakes.DEBIAN)
    judgement = _check(tmp_path)
    assert int(judgement.exit_code) == 3 and "no device of AMD/Xilinx on the bus" in judgement.sentence


def test_no_tools(tmp_path: Path) -> None:
    fakes.production(tmp_path)
    judgement = _check(tmp_path)
    assert int(judgement.exit_code) == 3 and judgement.sentence == "No usable card: xbutil is not installed."


def test_another_card_alone_is_no_card(tmp_path: Path) -> None:
    fakes.function(tmp_path / "pci", "0000:17:00.0", "0x5000", "xclmgmt")
    assert int(_check(tmp_path).exit_code) == 3


@pytest.mark.parametrize(("driver", "hint"), [("vfio-pci", "virtual machine"), ("", "dkms status")])
def test_a_card_without_its_driver(driver: str, hint: str, tmp_path: Path) -> None:
    fakes.function(tmp_path / "pci", "0000:21:00.0", "0x5048", "xclmgmt")
    fakes.function(tmp_path / "pci", "0000:21:00.1", "0x5049", driver)
    fakes.working(tmp_path, ANSWERS)
    drivers = _named(_check(tmp_path))["Drivers"]
    assert drivers.status is Status.FAILED and hint in drivers.advice


def test_the_management_function_alone_is_the_golden_image(tmp_path: Path) -> None:
    fakes.function(tmp_path / "pci", "0000:21:00.0", "0x5048", "xclmgmt")
    fakes.working(
        tmp_path, {"host": samples.dumps({"system": {"host": {"xrt": {"version": "2.14.354"}, "devices": []}}})}
    )
    judgement = _check(tmp_path)
    assert int(judgement.exit_code) == 1 and "factory image" in _named(judgement)["PCIe device"].advice


def test_device_files_that_are_not_passed_into_a_container(tmp_path: Path) -> None:
    fakes.production(tmp_path)
    fakes.working(tmp_path, ANSWERS)
    (tmp_path / "dev/dri/renderD128").unlink()
    nodes = _named(_check(tmp_path))["Device files"]
    assert nodes.status is Status.FAILED and "--device=" in nodes.advice


def test_what_is_saved_gives_the_same_verdict_again(tmp_path: Path) -> None:
    fakes.production(tmp_path)
    hot = {**ANSWERS, "thermal": samples.device(**samples.thermals(device=99))}
    fakes.working(tmp_path, hot)
    live = _check(tmp_path, CheckJob(save=tmp_path / "saved", mask=True))
    again = check(CheckJob(source=tmp_path / "saved"), Output(quiet=True))
    assert int(live.exit_code) == int(again.exit_code) == 1
    told = {c.name: (c.status, c.measured) for c in again.cards[0].checks if c.name != "Device files"}
    assert told == {c.name: (c.status, c.measured) for c in live.cards[0].checks if c.name != "Device files"}
    assert "lab7" not in "".join(p.read_text() for p in (tmp_path / "saved").iterdir())


def test_a_folder_that_holds_something_is_not_saved_to(tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved/x").touch()
    with pytest.raises(UsageError, match="not empty"):
        _check(tmp_path, CheckJob(save=tmp_path / "saved"))


def test_the_verdict_as_data(tmp_path: Path) -> None:
    fakes.production(tmp_path)
    fakes.working(tmp_path, ANSWERS)
    data = json.loads(json.dumps(_check(tmp_path).data()))
    assert data["healthy"] and data["exit"] == 0 and data["live"] and data["depth"] == "normal"
    assert data["cards"][0]["bdf"] == "0000:21:00.1" and data["cards"][0]["shell"] == samples.GEN4
    first = next(c for c in data["cards"][0]["checks"] if c["name"] == "Temperature FPGA")
    assert set(first) == {"name", "layer", "status", "measured", "limit", "advice", "sources"}
