"""The steps to a working card: per release, per host, in order."""

import json
import subprocess
from pathlib import Path

import pytest

from arch.releases import RELEASES, by_version
from arch.targets import find
from deploy.card_setup.host import GENERIC, Host, this_host
from deploy.card_setup.progress import chosen, states
from deploy.card_setup.steps import Probe, Step, steps
from deploy.card_setup.texts import document
from deploy.command import main
from xmodel.errors import UsageError

ROOT = Path(__file__).resolve().parents[3]


def _commands(release: str, host: Host = GENERIC, variant: str | None = None) -> list[str]:
    picked, overlay = chosen(release, variant, host)
    return [command for step in steps(picked, overlay, host) for command in step.commands]


def test_the_page_is_what_the_steps_say() -> None:
    assert (ROOT / "docs/card-setup.md").read_text(encoding="utf-8") == document()


def test_a_production_card_with_release_3() -> None:
    commands = _commands("3.0")
    assert "sudo apt-get install ./xrt_202220.2.14.354_*.deb" in commands
    assert "sudo xbmgmt program --device <BDF> --base --image xilinx_vck5000_gen4x8_qdma_base_2" in commands
    assert "sudo reboot" in commands
    assert (
        "export XLNX_VART_FIRMWARE=/opt/xilinx/overlaybins/DPUCVDX8H/8PE/"
        "dpu_DPUCVDX8H_8PE_350M_xilinx_vck5000_gen4x8_qdma_base_2.xclbin" in commands
    )
    assert commands[-3].startswith("unmask compile build/quantize --target DPUCVDX8H_ISA1_F2W2_8PE --backend vitis")


def test_the_engineering_sample_is_flashed_the_old_way_and_powered_off() -> None:
    commands = _commands("1.4.1")
    assert [c for c in commands if "flash" in c or "poweroff" in c or "reboot" in c] == [
        "sudo xbmgmt flash --scan",
        "sudo xbmgmt flash --update",
        "sudo poweroff",
    ]


@pytest.mark.parametrize("release", RELEASES)
def test_what_changes_the_host_asks_for_root_and_nothing_else_does(release: object) -> None:
    found = by_version(getattr(release, "version", ""))
    assert found is not None
    for step in steps(found, found.overlays[0], GENERIC):
        for command in step.commands:
            first = command.split()[0]
            assert (first == "sudo") == any(word in command for word in (" install ", " flash ", "poweroff", "reboot",
                                                                         " program ")), command  # fmt: skip
        assert step.probe is None or "sudo" not in step.probe.command


@pytest.mark.parametrize("spelling", ["6PE_MISC", "6pe_misc", "DPUCVDX8H_6PE_MISC", "VCK50006PEMISC", "6PE_aieMISC"])
def test_variants_are_known_in_every_spelling(spelling: str) -> None:
    _, overlay = chosen("3.0", spelling, GENERIC)
    assert overlay.target == "DPUCVDX8H_ISA1_F2W4_6PE_aieMISC"


def test_releases_that_there_are_not() -> None:
    with pytest.raises(UsageError, match=r"No release '3\.5' .* 3\.5 has dropped the VCK5000: take 3\.0"):
        chosen("3.5", None, GENERIC)
    with pytest.raises(UsageError, match=r"Vitis AI 2\.0 has no overlay of DPUCVDX8H_ISA1_F2W4_4PE"):
        chosen("2.0", "4PE", GENERIC)


def _machine(root: Path, release: str, device: str | None) -> Path:
    (root / "etc").mkdir(parents=True)
    (root / "etc/os-release").write_text(release, encoding="utf-8")
    if device is not None:
        for function, number in (("0000:86:00.0", device), ("0000:86:00.1", "0x5049")):
            folder = root / "sys/bus/pci/devices" / function
            folder.mkdir(parents=True)
            (folder / "vendor").write_text("0x10ee\n", encoding="ascii")
            (folder / "device").write_text(f"{number}\n", encoding="ascii")
    return root


def test_the_hosts_own_card_and_packages_are_in_the_commands(tmp_path: Path) -> None:
    root = _machine(tmp_path, 'ID="rocky"\nID_LIKE="rhel centos fedora"\nPRETTY_NAME="Rocky 8"\n', "0x5048")
    host = this_host(root, lambda name: "/usr/bin/podman" if name == "podman" else None)
    assert (host.packages, host.engine, host.tested, host.function) == ("yum", "podman", False, "0000:86:00.0")
    commands = _commands("3.0", host)
    assert "sudo yum install ./xrt_202220.2.14.354_*.rpm" in commands
    assert any(command.startswith("sudo xbmgmt program --device 0000:86:00.0 --base") for command in commands)
    assert "/opt/xilinx/xrt/bin/xbutil validate --device 0000:86:00.1 --batch" in commands
    assert any(command.startswith("podman run") for command in commands)


def test_the_card_chooses_the_release(tmp_path: Path) -> None:
    for device, release in (("0x5044", "1.4.1"), ("0x5048", "3.0"), (None, "3.0"), ("junk", "3.0")):
        root = _machine(tmp_path / str(device), "ID=ubuntu\nVERSION_ID='20.04'\n", device)
        host = this_host(root, lambda _: None)
        assert host.tested
        assert chosen(None, None, host)[0].version == release


def test_a_host_that_says_nothing(tmp_path: Path) -> None:
    host = this_host(tmp_path, lambda _: None)
    assert (host.packages, host.engine, host.tested, host.card) == ("apt-get", "docker", False, None)


def test_steps_that_are_done_are_told(tmp_path: Path) -> None:
    tool = tmp_path / "xbutil"
    tool.write_text("#!/bin/sh\necho Version 2.14.354\n", encoding="utf-8")
    tool.chmod(0o755)
    found = [
        Step("no probe", "host", (), ""),
        Step("done", "host", (), "", probe=Probe((str(tool),), ("2.14.354",))),
        Step("other version", "host", (), "", probe=Probe((str(tool),), ("2.12.427",))),
        Step("no tool", "host", (), "", probe=Probe((str(tmp_path / "none"),), ("2.14.354",))),
    ]
    assert states(found) == {1: "done", 2: "to do", 3: "to do"}


def test_the_verb_prints_commands_and_data(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", None)  # a dry run looks at nothing
    with pytest.raises(SystemExit) as end:
        main(["card", "setup", "--release", "2.5", "--variant", "4pe", "--dry-run"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert "sudo xbmgmt flash --legacy --update --shell xilinx_vck5000_gen3x16_xdma_base_1" in shown
    with pytest.raises(SystemExit):
        main(["card", "setup", "--release", "2.5", "--dry-run", "--json"])
    listed = json.loads(capsys.readouterr().out)
    assert listed["release"] == "2.5"
    assert listed["variant"] == find("8PE").name
    assert [step["where"] for step in listed["steps"]][-2:] == ["container", "container"]
