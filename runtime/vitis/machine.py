"""What this machine has for a card: the PCI device, its nodes, its shell, the overlay that is to be loaded."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from arch.releases import FIRMWARE, card_of_device
from xmodel.errors import UnmaskError
from xmodel.process import stream

ROOT = Path("/")
_VENDOR = "0x10ee"  # Xilinx, now AMD
_XBUTIL = Path("opt/xilinx/xrt/bin/xbutil")
_ASKED = 20.0  # seconds that xbutil has to answer
_SHELL = re.compile(r"xilinx_vck5000[0-9A-Za-z_-]{0,80}")


@dataclass(frozen=True, slots=True)
class Machine:
    """`cards` are PCI functions of a VCK5000 ("VCK5000 at 0000:21:00.1"), `nodes` the render nodes of such cards
    that can be used, `closed` those that cannot, `shells` what the cards run; `firmware` names the overlay.

    `unchecked`: the environment tells the runtime not to compare fingerprints (XLNX_ENABLE_FINGERPRINT_CHECK=0).
    """

    cards: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()
    shells: tuple[str, ...] = ()
    firmware: Path | None = None
    unchecked: bool = False

    @property
    def has_card(self) -> bool:
        """Whether there is any sign of a card."""
        return bool(self.cards or self.nodes or self.closed)


def look(environ: Mapping[str, str] | None = None, root: Path | None = None) -> Machine:
    """Look at this machine, without touching the card; `xbutil` is asked for the shell where a card is."""
    environ, root = os.environ if environ is None else environ, ROOT if root is None else root
    cards, (nodes, closed) = tuple(_cards(root)), _nodes(root)
    named = environ.get(FIRMWARE, "")
    return Machine(
        cards, nodes, closed,
        shells=_shells(root) if cards or nodes or closed else (),
        firmware=Path(named) if named else None,
        unchecked=environ.get("XLNX_ENABLE_FINGERPRINT_CHECK", "") == "0",
    )  # fmt: skip


def _cards(root: Path) -> Iterator[str]:
    for folder in sorted((root / "sys/bus/pci/devices").glob("*")):
        if _read(folder / "vendor") == _VENDOR and (card := card_of_device(_number(_read(folder / "device")))):
            yield f"{card.name} at {folder.name}"


def _nodes(root: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(render nodes of cards that can be used, those that cannot, for example in a container without them)."""
    ours = [
        root / "dev/dri" / folder.name
        for folder in sorted((root / "sys/class/drm").glob("renderD*"))
        if _read(folder / "device/vendor") == _VENDOR
    ]
    free = tuple(str(node) for node in ours if os.access(node, os.R_OK | os.W_OK))
    return free, tuple(str(node) for node in ours if str(node) not in free)


def _shells(root: Path) -> tuple[str, ...]:
    """The names of VCK5000 shells in what `xbutil examine` prints, which is also how the vendor's setup finds them."""
    own = root / _XBUTIL
    program = str(own) if os.access(own, os.X_OK) else shutil.which("xbutil")
    if program is None:
        return ()
    said: list[str] = []
    try:
        stream([program, "examine"], Path.cwd(), os.environ, said.append, _ASKED)
    except UnmaskError:
        return ()
    return tuple(dict.fromkeys(name for line in said for name in _SHELL.findall(line)))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip().lower()
    except OSError:
        return ""


def _number(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return -1
