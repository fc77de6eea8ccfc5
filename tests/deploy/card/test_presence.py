"""The first layer of the card checks, on made-up machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.card import presence as card
from deploy.card.presence import Status
from xmodel.errors import ExitCode, UnavailableError


def _device(sysfs: Path, name: str, vendor: str, device: str) -> None:
    folder = sysfs / name
    folder.mkdir(parents=True)
    (folder / "vendor").write_text(vendor + "\n")
    (folder / "device").write_text(device + "\n")


def _tool(folder: Path, name: str, body: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


def test_a_card_with_working_tools(tmp_path: Path) -> None:
    _device(tmp_path / "pci", "0000:21:00.0", "0x10ee", "0x5048")
    _device(tmp_path / "pci", "0000:00:1f.0", "0x8086", "0x1234")
    for name in ("xbutil", "xbmgmt"):
        _tool(tmp_path / "bin", name, 'echo "System Configuration"')
    checks = card.check(tmp_path / "pci", [tmp_path / "bin"])
    assert [c.status for c in checks] == [Status.OK] * 3
    assert checks[0].seen == "0000:21:00.0 VCK5000, management function"
    assert card.as_data(checks)["present"]
    card.demand(checks)


def test_nothing_here(tmp_path: Path) -> None:
    checks = card.check(tmp_path, [tmp_path])
    assert [c.status for c in checks] == [Status.MISSING] * 3
    with pytest.raises(UnavailableError, match="No usable card here") as caught:
        card.demand(checks)
    assert caught.value.exit_code == ExitCode.ENVIRONMENT and "emulator" in caught.value.hint


@pytest.mark.parametrize(
    "body",
    [
        'echo "/usr/bin/unwrapped/xbutil2: No such file or directory" >&2; exit 0',
        'echo "ERROR: Could not find 64-bit loader executable."; exit 1',
        "exit 0",
    ],
    ids=["debian xbutil", "debian xbmgmt", "silent"],
)
def test_an_exit_code_of_zero_is_not_an_answer(body: str, tmp_path: Path) -> None:
    _device(tmp_path / "pci", "0000:21:00.0", "0x10ee", "0x5044")
    for name in ("xbutil", "xbmgmt"):
        _tool(tmp_path / "bin", name, body)
    checks = card.check(tmp_path / "pci", [tmp_path / "bin"])
    assert [c.status for c in checks] == [Status.OK, Status.BROKEN, Status.BROKEN]
    with pytest.raises(UnavailableError):
        card.demand(checks)


def test_a_file_that_is_no_program(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/xbutil").write_bytes(b"\x7fELF")
    (tmp_path / "bin/xbutil").chmod(0o755)
    checks = card.check(tmp_path, [tmp_path / "bin"])
    assert checks[1].status is Status.BROKEN and "does not start" in checks[1].seen
