"""Text of the legacy `xbutil query` (up to 2020.x, and `--legacy`): tables of names above their values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deploy.card.facts import (
    Era,
    Fact,
    Firewall,
    Host,
    Link,
    Memory,
    Power,
    Rail,
    Report,
    Shell,
    Source,
    Temperature,
    Unreadable,
)  # fmt: skip
from deploy.card.lines import BDF, command, interrupts
from deploy.card.sensors import is_fpga
from deploy.card.text import flag, number, whole

_WIDTH = 16  # characters of a column; a name may fill it but for one blank
_BORDER = re.compile(
    rf"^\s*(?:INFO: (?:Found|Validating)|System Configuration$|Validate Device|Starting validation|Devices present|"
    rf"Card \[|(?:Thermals|Electrical|Platform|Pcie Info|Firewall)$|\[{BDF}\]\s*:)",
    re.IGNORECASE,
)
_TABLES = (
    ("shell", re.compile(r"^\s*(?:Shell|DSA name)\s+FPGA\s+IDCode", re.IGNORECASE)),
    ("ids", re.compile(r"^\s*Vendor\s+Device\s+SubDevice", re.IGNORECASE)),
    ("pcie", re.compile(r"^\s*PCIe\s+DMA chan.*MIG Calibrated", re.IGNORECASE)),
    ("thermals", re.compile(r"^\s*(?:PCB TOP|FPGA TEMP|QSFP 0|HBM TEMP)[^:]*$", re.IGNORECASE)),
    ("rails", re.compile(r"^\s*(?:12V PEX|3V3 PEX)\b[^:]*$", re.IGNORECASE)),
    ("power", re.compile(r"^\s*Card Power\s*\(W\)", re.IGNORECASE)),
)
_OTHER_PARTS = re.compile(
    r"^\s*(?:Firewall Last Error|ECC Error Status|Compute Unit Usage|INFO: xbutil query|DNA\s+CPU_AFFINITY)",
    re.IGNORECASE,
)
_BEGIN = re.compile(r"^\s*INFO: Found total \d")
_LEVEL = re.compile(r"^\s*Level\s+(\S{1,8})\s*:\s*(\S{1,20}?)\s*(?:\(([^)]{0,60})\))?\s*$", re.IGNORECASE)
_ROW = re.compile(r"gen\s*(\d{1,2})\s*x\s*(\d{1,2})\s+(\S+)\s+(\S+)", re.IGNORECASE)
_SENSORS = re.compile(r"(?:pcb|fpga|vccint|qsfp|hbm)\b", re.IGNORECASE)
_SUPPLIES = {"12v pex", "12v aux", "3v3 pex", "3v3 aux"}
_ABSENT = ("n/a", "na", "")
# What every query prints; an output without one of these was cut off, and the bad news may be in what is gone.
_WHOLE = ("shell", "pcie", "fpga temp", "12v pex", "power", "firewall")


@dataclass(frozen=True, slots=True)
class Split:
    """The lines of every query, and all other lines."""

    queries: tuple[tuple[str, ...], ...]
    others: tuple[str, ...]


def split(lines: Sequence[str]) -> Split:
    """Take the queries out of a log: in their tables other readers would look for reports that are not there."""
    queries: list[tuple[str, ...]] = []
    others: list[str] = []
    for part in _segments(lines):
        tables = {name for line in part for name, head in _TABLES if head.match(line)}
        if tables or any(_OTHER_PARTS.match(line) for line in part):
            queries.append(tuple(part))
        else:
            others += part
    return Split(tuple(queries), tuple(others))


def _segments(lines: Sequence[str]) -> Iterator[list[str]]:
    part: list[str] = []
    for line in lines:
        begun = bool(part) and _BEGIN.match(part[0]) and line.strip() == "System Configuration"
        if part and not begun and (command(line) or _BORDER.match(line)):
            yield part
            part = []
        part.append(line)
    yield part


def facts_of(lines: Sequence[str], file: str) -> list[Fact]:
    """What every query in the text says, of cards without an address; [] when there is none."""
    source = Source(file, "xbutil query", era=Era.LEGACY)
    return [fact for query in split(lines).queries for fact in _query(query, source)]


def _query(lines: Sequence[str], source: Source) -> Iterator[Fact]:
    kept = [line for line in lines if line.strip() and set(line.strip()) != {"~"} and not interrupts(line)]
    seen: set[str] = set()
    yield from _host(kept, source)
    for line, row in zip(kept, [*kept[1:], ""], strict=False):
        table = next((name for name, head in _TABLES if head.match(line)), "")
        if table:
            names = [line.strip()[at : at + _WIDTH].strip().lower() for at in range(0, len(line.strip()), _WIDTH)]
            seen |= {table, *names}
            yield from _table(table, names, row, source)
        elif level := _LEVEL.match(line):
            seen.add("firewall")
            code = whole(level[2])
            good = code == 0 and (level[3] or "GOOD").upper() == "GOOD"
            yield Firewall(source, "", level[1], None if code is None else not good)
    for part in ("thermals", "electrical", "platform", "pcie", "firewall"):
        yield Report(source, "", part)
    gone = [name for name in _WHOLE if name not in seen]
    if gone:
        yield Unreadable(source, "", f"a query without {', '.join(gone)}")


def _host(lines: Sequence[str], source: Source) -> Iterator[Fact]:
    pairs = (line.partition(":") for line in lines)
    values = {key.strip().lower(): value.strip() for key, mark, value in pairs if mark}
    version = values.get("version", "")
    if "git branch" in values and re.match(r"\d+\.\d+\.\d+$", version):
        told = tuple((n, values[n].partition(",")[0].strip()) for n in ("xocl", "xclmgmt") if n in values)
        yield Host(source, "", version, values["git branch"], told)


def _table(table: str, names: Sequence[str], row: str, source: Source) -> Iterator[Fact]:
    words = row.split()
    if table == "shell":
        yield Shell(source, "", words[0] if words and "_" in words[0] else "")
    elif table == "ids":
        if len(words) < 4 or whole(words[1]) is None:
            yield Unreadable(source, "", f"the card's ids: {row[:60]!r}")
    elif table == "pcie":
        found = _ROW.search(row)
        yield Link(source, "", int(found[1]) if found else None, int(found[2]) if found else None)
        yield Memory(source, "", flag(found[4]) if found else None)
    elif table == "power":
        yield Power(source, "", number(row, "W"))
    elif len(words) != len(names):
        yield Unreadable(source, "", f"{len(names)} names, {len(words)} values: {row[:60]!r}")
    elif table == "thermals":
        yield from _thermals(names, words, source)
    else:
        yield from _rails(names, words, source)


def _thermals(names: Sequence[str], words: Sequence[str], source: Source) -> Iterator[Fact]:
    for name, word in zip(names, words, strict=True):
        celsius, sensor = number(word), name.removesuffix(" temp")
        absent = celsius == 0 or word.lower() in _ABSENT
        if _SENSORS.match(name) and not (absent and not is_fpga(sensor)):
            yield Temperature(source, "", sensor, celsius or None)


def _rails(names: Sequence[str], words: Sequence[str], source: Source) -> Iterator[Fact]:
    values = dict(zip(names, words, strict=True))
    for name in _SUPPLIES & values.keys():
        volts, said = number(values[name]), values.get(f"{name} current", values.get(f"{name} curr", ""))
        if volts is None and values[name].lower() in _ABSENT and not name.startswith("12v"):
            continue
        amps = number(said)
        yield Rail(source, "", name, None if volts is None else volts / 1000, None if amps is None else amps / 1000)
        if amps is None and said.lower() not in _ABSENT:
            yield Unreadable(source, "", f"the current of rail {name}: {said[:60]!r}")
