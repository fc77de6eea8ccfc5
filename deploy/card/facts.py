"""What is known about the cards, each fact with the file, the tool and the era that it comes from."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

_BDF = re.compile(r"(?:([0-9a-fA-F]{1,8}):)?([0-9a-fA-F]{1,2}):([0-9a-fA-F]{1,2})(?:\.([0-7]))?")


class Era(StrEnum):
    """Which generation of XRT's tools wrote an output; each names its tests in its own way."""

    LEGACY = "legacy, up to 2020.x"
    XRT_2021 = "2021.x"
    XRT_2022 = "2022.1 and later"
    UNKNOWN = "not told"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a fact comes from."""

    file: str
    tool: str
    form: str = "text"
    era: Era = Era.UNKNOWN

    def __str__(self) -> str:
        return f"{self.tool} ({self.form}) in {self.file}"


@dataclass(frozen=True, slots=True)
class Fact:
    """The parts that every fact has. `bdf`: PCI function such as 0000:65:00.1, or "" where the output names none."""

    source: Source
    bdf: str


@dataclass(frozen=True, slots=True)
class PciFunction(Fact):
    """One PCI function of vendor Xilinx. `device`: its id, None where not printed; `driver`: "" none, None not told."""

    device: int | None
    driver: str | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class PciScan(Fact):
    """A list of PCI devices was read; `functions` of them are of vendor Xilinx."""

    functions: int


@dataclass(frozen=True, slots=True)
class Host(Fact):
    """The machine: XRT's version and drivers ("" or "unknown" where not loaded), and how many cards XRT lists."""

    xrt: str
    branch: str = ""
    drivers: tuple[tuple[str, str], ...] = ()
    cards: int | None = None


@dataclass(frozen=True, slots=True)
class Shell(Fact):
    """The platform that a card runs; a field is "" (or None) where the output does not tell it.

    `running`: what is active on the card; False for a shell that is merely installed on the host.
    """

    vbnv: str
    uuid: str = ""
    sc: str = ""
    sc_expected: str = ""
    ready: bool | None = None
    card_type: str = ""
    running: bool = True


@dataclass(frozen=True, slots=True)
class Link(Fact):
    """The PCIe link now and as it should be; 0 where not told, None where told but not readable."""

    generation: int | None
    lanes: int | None
    expected_generation: int | None = 0
    expected_lanes: int | None = 0
    device: int | None = None


@dataclass(frozen=True, slots=True)
class Temperature(Fact):
    """One sensor in degrees Celsius; None: the sensor is there and its reading is missing or not readable."""

    sensor: str
    celsius: float | None


@dataclass(frozen=True, slots=True)
class Rail(Fact):
    """One supply rail: volts and amperes. `volts` None: missing or not readable; `amps` None: not measured."""

    rail: str
    volts: float | None
    amps: float | None = None


@dataclass(frozen=True, slots=True)
class Power(Fact):
    """What the whole card draws in watts (None: not readable), and the card's own power warning."""

    watts: float | None
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Clock(Fact):
    """One clock in MHz; None: not readable."""

    clock: str
    mhz: float | None


@dataclass(frozen=True, slots=True)
class Memory(Fact):
    """Is the card's memory calibrated; None: a platform report that does not say it in a readable way."""

    calibrated: bool | None


@dataclass(frozen=True, slots=True)
class Firewall(Fact):
    """An AXI firewall level: `tripped` None where the status is not readable."""

    level: str
    tripped: bool | None


@dataclass(frozen=True, slots=True)
class Kernels(Fact):
    """Names of the compute units of the xclbin that is loaded."""

    names: tuple[str, ...]


class Outcome(StrEnum):
    """How one validate test ended."""

    PASSED = "PASSED"
    WARNED = "PASSED WITH WARNINGS"
    SKIPPED = "SKIPPED"
    FAILED = "FAILED"
    SILENT = "no status"  # XRT prints none for a skipped test unless it is verbose
    UNREADABLE = "unreadable status"


@dataclass(frozen=True, slots=True)
class Trial(Fact):
    """One test of `validate`. `name` as XRT 2022.1+ spells it, `printed` as the output does; log: (kind, text)."""

    name: str
    printed: str
    outcome: Outcome
    log: tuple[tuple[str, str], ...] = ()

    @property
    def text(self) -> str:
        """All log lines as one text."""
        return "\n".join(line for _, line in self.log)

    @property
    def errors(self) -> tuple[str, ...]:
        """What the test logged as an error."""
        return tuple(line for kind, line in self.log if kind == "error")


@dataclass(frozen=True, slots=True)
class Validation(Fact):
    """One run of `validate` on one card: the end it states for itself; None: it has no readable end."""

    vbnv: str
    passed: bool | None
    tests: int = 0


@dataclass(frozen=True, slots=True)
class Report(Fact):
    """One of the tools' reports about a card was read: its part is "thermals", "electrical", "platform", ..."""

    part: str


@dataclass(frozen=True, slots=True)
class Node(Fact):
    """A device file: `access` is what this user may do with it ("rw", "r", "") or None where it is not there."""

    path: str
    access: str | None


@dataclass(frozen=True, slots=True)
class Complaint(Fact):
    """What a tool said instead of an answer."""

    kind: str  # one of those that deploy.card.complaints names
    text: str


@dataclass(frozen=True, slots=True)
class Unreadable(Fact):
    """Output of a card tool that could not be understood; with one of these a card never counts as healthy."""

    reason: str


F = TypeVar("F", bound=Fact)


def normal_bdf(text: str) -> str:
    """A PCI address in full: domain of four digits, lower case; "" when `text` is none.

    >>> normal_bdf("65:00.1"), normal_bdf("0000:D8:00"), normal_bdf("card[0]")
    ('0000:65:00.1', '0000:d8:00', '')
    """
    found = _BDF.fullmatch(text.strip().strip("[]"))
    if found is None:
        return ""
    domain, bus, device, function = found.groups()
    address = f"{int(domain or '0', 16):04x}:{int(bus, 16):02x}:{int(device, 16):02x}"
    return address if function is None else f"{address}.{function}"


def slot_of(bdf: str) -> str:
    """The card that a PCI function belongs to: its address without the function.

    >>> slot_of("0000:65:00.1")
    '0000:65:00'
    """
    return bdf.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Evidence:
    """All facts of one machine, and the files that held none."""

    facts: tuple[Fact, ...]
    files: tuple[str, ...] = ()
    unrecognised: tuple[str, ...] = ()

    def all(self, kind: type[F], slot: str | None = None) -> tuple[F, ...]:
        """The facts of one kind, of all cards or of the card in `slot` alone."""
        return tuple(f for f in self.facts if isinstance(f, kind) and (slot is None or slot_of(f.bdf) == slot))

    @property
    def slots(self) -> tuple[str, ...]:
        """Every card that any fact names, in order of appearance."""
        return tuple(dict.fromkeys(slot_of(fact.bdf) for fact in self.facts if fact.bdf))


UNNAMED = "a card without an address"


def gathered(facts: Iterable[Fact], files: Iterable[str] = (), unrecognised: Iterable[str] = ()) -> Evidence:
    """Evidence in which a fact without an address belongs to a card.

    That is the only card of its file, the only card with the shell that the file names, the only card at all, or else
    `UNNAMED`. Facts about the machine stay without an address.
    """
    listed = tuple(facts)
    overall, by_file, by_shell, hints = set[str](), _sets(), _sets(), _sets()
    for fact in listed:
        shell = fact.vbnv if isinstance(fact, Shell | Validation) and fact.vbnv else ""
        if fact.bdf:
            overall.add(slot_of(fact.bdf))
            by_file[fact.source.file].add(slot_of(fact.bdf))
            if shell and getattr(fact, "running", True):
                by_shell[shell].add(slot_of(fact.bdf))
        elif shell:
            hints[fact.source.file].add(shell)

    def owner(fact: Fact) -> str:
        named = set().union(*(by_shell[shell] for shell in hints[fact.source.file]))
        owners = (slots for slots in (by_file[fact.source.file], named, overall) if len(slots) == 1)
        return next(iter(next(owners, {UNNAMED})))

    machine = (Host, Complaint, Unreadable, PciScan)
    placed = tuple(f if f.bdf or isinstance(f, machine) else replace(f, bdf=owner(f)) for f in listed)
    return Evidence(placed, tuple(files), tuple(unrecognised))


def _sets() -> defaultdict[str, set[str]]:
    return defaultdict(set)
