"""What Linux itself knows about the cards: PCI functions with drivers and links, and the device files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.card.facts import Fact, Node, Source, normal_bdf

_VENDOR = "0x10ee"  # Xilinx, now AMD
_CLASSES = {"0x0580": "Memory controller", "0x1200": "Processing accelerators"}
SAVED_AS = "sysfs.lspci.txt"


@dataclass(frozen=True, slots=True)
class Machine:
    """Where Linux shows its PCI devices and device files."""

    sysfs: Path = Path("/sys/bus/pci/devices")
    dev: Path = Path("/dev")

    def lspci(self) -> bytes:
        """The Xilinx functions in sysfs, written as lspci writes them; works where lspci is not installed."""
        lines = ["00:00.0 Host bridge [0600]: read from sysfs"]
        for folder in self._functions():
            kind = _read(folder / "class")[:6]
            device, sub = _read(folder / "device")[2:], _read(folder / "subsystem_device")[2:]
            lines += [
                f"{folder.name} {_CLASSES.get(kind, 'Device')} [{kind[2:]}]: Xilinx Corporation Device [10ee:{device}]",
                f"\tSubsystem: Xilinx Corporation Device [10ee:{sub}]",
            ]
            driver = folder / "driver"
            if driver.exists():
                lines.append(f"\tKernel driver in use: {driver.resolve().name}")
            for name, prefix in (("LnkCap", "max"), ("LnkSta", "current")):
                speed, width = _read(folder / f"{prefix}_link_speed"), _read(folder / f"{prefix}_link_width")
                if speed and width:
                    lines.append(f"\t{name}: Speed {speed.split()[0]}GT/s, Width x{width}")
        return ("\n".join(lines) + "\n").encode(errors="replace")

    def nodes(self) -> Iterator[Fact]:
        """The device files of each card: render nodes for the user function, xclmgmt for the management function."""
        source = Source(str(self.dev), "device files")
        for folder in self._functions():
            bdf, driver = normal_bdf(folder.name), folder / "driver"
            name = driver.resolve().name if driver.exists() else ""
            if name == "xocl":
                render = sorted(p.name for p in (folder / "drm").glob("renderD*")) or ["renderD*"]
                yield from (self._node(source, bdf, self.dev / "dri" / node) for node in render)
            elif name == "xclmgmt":
                yield self._node(source, bdf, self.dev / f"xclmgmt{_minor(bdf)}")

    def _functions(self) -> list[Path]:
        return [folder for folder in sorted(self.sysfs.glob("*")) if _read(folder / "vendor") == _VENDOR]

    def _node(self, source: Source, bdf: str, path: Path) -> Node:
        if not path.exists():
            return Node(source, bdf, str(path), None)
        access = "".join(letter for letter, mode in (("r", os.R_OK), ("w", os.W_OK)) if os.access(path, mode))
        return Node(source, bdf, str(path), access)


def _minor(bdf: str) -> int:
    """XRT numbers its management files by the PCI address: domain, bus, device and function as one number."""
    domain, bus, rest = bdf.split(":")
    device, function = rest.split(".")
    return int(domain, 16) << 16 | int(bus, 16) << 8 | int(device, 16) << 3 | int(function)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip().lower()
    except OSError:
        return ""
