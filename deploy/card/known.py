"""Which cards there are and what they run, for whoever wants to know whether things fit together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from arch.releases import card_of_device, card_of_shell
from deploy.card import complaints
from deploy.card.evidence import from_folder
from deploy.card.facts import Complaint, Evidence, Host, Link, PciFunction, Shell, normal_bdf, slot_of
from deploy.card.live import Machinery, identify
from deploy.card.text import number


@dataclass(frozen=True, slots=True)
class CardFacts:
    """One card. Text is "" and ids are None where nothing tells them.

    `slot`: PCI address without function; `user`, `management`: the addresses that xbutil and xbmgmt want.
    `shells`: every name that the card's running platform was given, the most telling first.
    `kind`: a name of `arch.releases.CARDS`, "other" (positively another card) or "" where nothing tells.
    """

    slot: str
    user: str
    management: str
    device_id: int | None
    shells: tuple[str, ...]
    installed: tuple[str, ...]
    uuid: str
    sc: str
    sc_expected: str
    ready: bool | None
    kind: str

    @property
    def vbnv(self) -> str:
        """The name of the shell that the card runs, "" where none was told."""
        return self.shells[0] if self.shells else ""

    @property
    def golden(self) -> bool:
        """Does it run the factory image: `xilinx_vck5000` without a shell's name, or `xilinx_<board>_GOLDEN_<n>`?"""
        return any(is_golden(shell) for shell in self.shells) or self.sc.upper() == "INACTIVE"


@dataclass(frozen=True, slots=True)
class Known:
    """This machine, or the one whose tools' output was saved."""

    cards: tuple[CardFacts, ...]
    xrt: str = ""  # version such as 2.14.354
    branch: str = ""
    drivers: tuple[tuple[str, str], ...] = ()  # (name, version); "unknown" where not loaded
    broken: tuple[str, ...] = ()  # what tools said that are installed and do not work
    missing: tuple[str, ...] = ()  # tools that are not installed; () for saved output
    looked: bool = True  # False when saved output holds nothing of any card tool


def known(folder: Path | None = None) -> Known:
    """The cards of this machine, or those in a folder of saved output. Reads; changes nothing.

    Raises `UsageError` for a folder that is not there or cannot be read.
    """
    if folder is not None:
        return summary(from_folder(folder))
    readout = identify(Machinery.here())
    return summary(readout.evidence, readout.missing)


def summary(evidence: Evidence, missing: tuple[str, ...] = ()) -> Known:
    """The cards in the evidence."""
    hosts = evidence.all(Host)
    version = next((h for h in hosts if h.xrt), None)
    return Known(
        tuple(card(evidence, slot) for slot in evidence.slots),
        version.xrt if version else "",
        version.branch if version else "",
        next((h.drivers for h in hosts if h.drivers), ()),
        tuple(dict.fromkeys(c.text for c in evidence.all(Complaint) if c.kind == complaints.BROKEN)),
        missing,
        bool(evidence.facts),
    )


def card(evidence: Evidence, slot: str) -> CardFacts:
    """What is known of the card in one slot."""
    functions, shells = evidence.all(PciFunction, slot), evidence.all(Shell, slot)
    ids = [f.device for f in functions if f.device] + [x.device for x in evidence.all(Link, slot) if x.device]
    running = [s for s in shells if s.running]
    names = sorted(dict.fromkeys(s.vbnv for s in running if s.vbnv), key=lambda name: "_gen" not in name)
    addresses = {fact.bdf for fact in evidence.facts if slot_of(fact.bdf) == slot}
    scs = [s.sc for s in running if s.sc and number(s.sc.partition(".")[0]) is not None]
    inactive = [s.sc for s in running if s.sc.upper() == "INACTIVE"]
    readiness = {s.ready for s in running if s.ready is not None}
    return CardFacts(
        slot,
        _function(addresses, slot, "1"),
        _function(addresses, slot, "0"),
        next((i for i in sorted(ids, reverse=True)), None),
        tuple(names),
        tuple(dict.fromkeys(s.vbnv for s in shells if not s.running and s.vbnv)),
        next((s.uuid for s in running if s.uuid), ""),
        next(iter([*inactive, *scs]), ""),
        next((s.sc_expected for s in running if s.sc_expected), ""),
        False if False in readiness else True if readiness else None,
        _kind(ids, names, [s.card_type for s in shells], [f.name for f in functions]),
    )


def _function(addresses: set[str], slot: str, function: str) -> str:
    return f"{slot}.{function}" if normal_bdf(slot) and f"{slot}.{function}" in addresses else ""


def _kind(ids: list[int], names: list[str], types: list[str], printed: list[str]) -> str:
    words = " ".join((*names, *types, *printed)).lower()
    by_id = next((c for c in map(card_of_device, ids) if c is not None), None)
    found = by_id or card_of_shell(words)
    return found.name if found is not None else "other" if ids or names else ""


def is_golden(shell: str) -> bool:
    """Is it the factory image's name?

    >>> is_golden("xilinx_u250_GOLDEN_5"), is_golden("xilinx_vck5000"), is_golden("xilinx_vck5000_gen4x8_qdma_base_2")
    (True, True, False)
    """
    return "golden" in shell.lower() or shell.lower() in ("xilinx_vck5000", "xilinx_vck5000-es1")
