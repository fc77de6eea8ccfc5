"""What the steps depend on: this host's system and package manager, its container engine, where the card is."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from arch.releases import CARDS, Card

Packages = Literal["apt-get", "dnf", "yum"]
_FAMILY: dict[str, Packages] = {
    "debian": "apt-get", "ubuntu": "apt-get", "centos": "yum", "rhel": "yum", "fedora": "dnf", "suse": "dnf",
}  # fmt: skip
TESTED = "Ubuntu 18.04 or 20.04, or CentOS or RHEL 7 or 8"


@dataclass(frozen=True, slots=True)
class Host:
    """`system`: its name and version; `tested`: AMD's packages are made for it; `engine`: docker or podman; `card`
    and `function`: the first VCK5000 and the PCI address of its management function, None where there is none."""

    system: str
    tested: bool
    packages: Packages
    engine: str
    kernel: str
    card: Card | None = None
    function: str | None = None


GENERIC = Host("Ubuntu 20.04", True, "apt-get", "docker", "$(uname -r)")


def this_host(root: Path = Path("/"), which: Callable[[str], str | None] = shutil.which) -> Host:
    """This host, read from the files below `root`."""
    said = _os_release(root / "etc/os-release")
    name, version = said.get("ID", ""), said.get("VERSION_ID", "")
    kind = [name, *said.get("ID_LIKE", "").split()]
    packages: Packages = next((_FAMILY[word] for word in kind if word in _FAMILY), "apt-get")
    tested = (name == "ubuntu" and version in ("18.04", "20.04")) or (
        name in ("centos", "rhel") and version.split(".")[0] in ("7", "8")
    )
    engine = "podman" if not which("docker") and which("podman") else "docker"
    card, function = _card(root / "sys/bus/pci/devices")
    system = said.get("PRETTY_NAME", platform.system())
    return Host(system, tested, packages, engine, platform.release(), card, function)


def _os_release(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace")[: 1 << 16].splitlines()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}


def _card(devices: Path) -> tuple[Card | None, str | None]:
    for folder in sorted(devices.glob("*")):
        try:
            vendor, device = (int((folder / name).read_text(encoding="ascii"), 16) for name in ("vendor", "device"))
        except (OSError, ValueError):
            continue
        for card in CARDS:
            if vendor == 0x10EE and device == card.management:
                return card, folder.name
    return None, None
