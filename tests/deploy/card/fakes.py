"""A made-up machine: PCI devices in a folder, and tools that are shell scripts or Python functions."""

from __future__ import annotations

import os
from pathlib import Path

from deploy.card.live import Machinery
from deploy.card.machine import Machine
from deploy.card.tools import Tools


def function(sysfs: Path, bdf: str, device: str, driver: str = "", link: tuple[str, str] = ("16.0", "8")) -> Path:
    """One PCI function of vendor Xilinx; `link` is speed in GT/s and width, the best being 16.0 and 8."""
    folder = sysfs / bdf
    folder.mkdir(parents=True)
    values = {
        "vendor": "0x10ee", "device": device, "class": "0x120000", "subsystem_device": "0x000e",
        "current_link_speed": f"{link[0]} GT/s PCIe", "current_link_width": link[1],
        "max_link_speed": "16.0 GT/s PCIe", "max_link_width": "8",
    }  # fmt: skip
    for name, value in values.items():
        (folder / name).write_text(value + "\n")
    if driver:
        (sysfs / ".." / "drivers" / driver).mkdir(parents=True, exist_ok=True)
        (folder / "driver").symlink_to(os.path.relpath(sysfs / ".." / "drivers" / driver, folder))
    if driver == "xocl":
        (folder / "drm/renderD128").mkdir(parents=True)
    return folder


def production(root: Path, slot: str = "0000:21:00", link: tuple[str, str] = ("16.0", "8")) -> None:
    """A production card with both drivers and its device files."""
    function(root / "pci", f"{slot}.0", "0x5048", "xclmgmt", link)
    function(root / "pci", f"{slot}.1", "0x5049", "xocl", link)
    (root / "dev/dri").mkdir(parents=True, exist_ok=True)
    (root / "dev/dri/renderD128").touch()
    (root / f"dev/xclmgmt{int(slot[5:7], 16) << 8}").touch()


def tool(root: Path, name: str, body: str) -> None:
    """A tool that is a shell script. In it, $report is the file after --output."""
    folder = root / "bin"
    folder.mkdir(exist_ok=True)
    start = 'report=; for a in "$@"; do [ "$last" = --output ] && report=$a; last=$a; done'
    (folder / name).write_text(f"#!/bin/sh\n{start}\n{body}\n")
    (folder / name).chmod(0o755)


def machinery(root: Path) -> Machinery:
    """The machine in `root`: pci, dev and bin."""
    return Machinery(Machine(root / "pci", root / "dev"), Tools((root / "bin",)))


# Debian's package, libxrt-utils: the wrapper without the program, and its exit code.
DEBIAN = 'echo "/usr/bin/xbutil: line 52: /usr/bin/unwrapped/xbutil2: No such file or directory" >&2; exit 0'
DEBIAN_MGMT = 'echo "ERROR: Could not find 64-bit loader executable."; exit 1'


def working(root: Path, documents: dict[str, bytes]) -> None:
    """An xbutil that answers: `documents` by report ("host", "thermal", ..., "validate")."""
    folder = root / "answers"
    folder.mkdir(exist_ok=True)
    for name, data in documents.items():
        (folder / f"{name}.json").write_bytes(data)
    body = f"""
what=host
for a in "$@"; do case $p in --report) what=$a;; esac; p=$a; done
[ "$1" = validate ] && what=validate
[ -f {folder}/$what.json ] || {{ echo "ERROR: No devices found" >&2; exit 1; }}
echo "Successfully wrote the JSON file: $report"
[ -n "$report" ] && cat {folder}/$what.json > "$report"
exit 0
"""
    tool(root, "xbutil", body)
