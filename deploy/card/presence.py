"""Is a card there and do its tools answer: the first layer of the card checks, honest about being only that."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from xmodel.errors import UnavailableError

VENDOR = "0x10ee"  # Xilinx, now AMD
# PCI device ids of the VCK5000's two functions (XRT driver table devices.h, release 202220.2.14.354).
_CARDS = {
    "0x5044": "VCK5000 ES1, management function",
    "0x5045": "VCK5000 ES1, user function",
    "0x5048": "VCK5000, management function",
    "0x5049": "VCK5000, user function",
}
_XRT = Path("/opt/xilinx/xrt/bin")
_TIMEOUT = 30.0  # seconds; a hung driver can block a tool for ever
_EMULATOR = "Without a card everything else runs on the emulator: `unmask infer --device emulator`."


class Status(StrEnum):
    """What came of one check."""

    OK = "ok"
    MISSING = "missing"
    BROKEN = "tool broken"


@dataclass(frozen=True, slots=True)
class Check:
    """One named check: its status, what was seen, and what to do when it is not ok."""

    name: str
    status: Status
    seen: str
    hint: str = ""


def check(sysfs: Path = Path("/sys/bus/pci/devices"), search: Sequence[Path] | None = None) -> list[Check]:
    """The checks of this layer: PCIe device, `xbutil`, `xbmgmt`. `search`: folders of tools, first match wins."""
    folders = (_XRT, *map(Path, os.get_exec_path())) if search is None else search
    return [_device(sysfs), *(_tool(name, folders) for name in ("xbutil", "xbmgmt"))]


def as_data(checks: Sequence[Check]) -> dict[str, Any]:
    """The checks for `--json`."""
    return {"present": all(c.status is Status.OK for c in checks), "checks": [asdict(c) for c in checks]}


def demand(checks: Sequence[Check]) -> None:
    """Raise `UnavailableError` unless a card is there and both tools answer."""
    failed = [c for c in checks if c.status is not Status.OK]
    if failed:
        what = ", ".join(f"{c.name} {c.status}" for c in failed)
        hints = dict.fromkeys(c.hint for c in failed)
        raise UnavailableError(f"No usable card here: {what}.", hint=" ".join((*hints, _EMULATOR)))


def _device(sysfs: Path) -> Check:
    found: list[str] = []
    for folder in sorted(sysfs.glob("*")):
        if _read(folder / "vendor") == VENDOR:
            device = _read(folder / "device")
            found.append(f"{folder.name} {_CARDS.get(device, f'device {device}, not a known VCK5000')}")
    if found:
        return Check("PCIe device", Status.OK, ", ".join(found))
    hint = "Seat the card, connect its AUX power and boot cold; a container must be given the host's devices."
    return Check("PCIe device", Status.MISSING, f"no PCI device of vendor {VENDOR} (AMD/Xilinx)", hint)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip().lower()
    except OSError:
        return ""


def _tool(name: str, folders: Sequence[Path]) -> Check:
    hint = "Install XRT of the release that fits the card's shell (VCK5000: XRT 2.11 to 2.14)."
    path = next((p for folder in folders if (p := shutil.which(name, path=str(folder)))), None)
    if path is None:
        return Check(name, Status.MISSING, f"not installed (looked in {_XRT} and the PATH)", hint)
    try:
        done = subprocess.run([path, "examine"], capture_output=True, timeout=_TIMEOUT, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return Check(name, Status.BROKEN, f"{path} gave no answer in {_TIMEOUT:.0f} s", "Reset or cold boot the card.")
    except OSError as error:
        return Check(name, Status.BROKEN, f"{path} does not start: {error.strerror}", hint)
    # Debian's wrapper exits with 0 although its binary is missing: only an answer counts.
    if "System Configuration" in done.stdout.decode(errors="replace"):
        return Check(name, Status.OK, path)
    said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
    first = said[0][:200] if said else "nothing"
    return Check(name, Status.BROKEN, f"{path} does not answer `examine` (exit {done.returncode}): {first}", hint)
