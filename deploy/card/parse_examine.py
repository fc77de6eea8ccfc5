"""Text of `xbutil examine` and `xbmgmt examine`: blocks of keys and values under the name of a report."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from deploy.card import parse_query
from deploy.card.facts import (
    Clock,
    Era,
    Fact,
    Firewall,
    Host,
    Kernels,
    Link,
    Memory,
    Power,
    Rail,
    Report,
    Shell,
    Source,
    Temperature,
    Unreadable,
    normal_bdf,
)  # fmt: skip
from deploy.card.lines import BDF, command, interrupts, key_value
from deploy.card.sensors import is_fpga
from deploy.card.testnames import era_of_version
from deploy.card.text import flag, number, whole

_HEADER = re.compile(rf"^\s*(?:\d+/\d+\s+)?\[({BDF})\]\s*:\s*(\S+)\s*$")
_LISTED = re.compile(rf"^\s*\[?({BDF})\]?\s*:\s*(\S+)\s+(\S.*)$")
_FOUND = re.compile(r"^\s*INFO: Found total [1-9]")
_BEGUN = re.compile(rf"^\s*\[{BDF}\]\s*:\s")
_SCANNED = re.compile(
    rf"^\s*\*?\[\d{{1,3}}\]:?\s*({BDF})\s+([\w.-]{{3,100}})(?:\(ID=([^)]{{0,60}})\))?\s+(?:user|mgmt)\("
)
_UUID = re.compile(r"^(?:[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|0x[0-9a-fA-F]{4,32}|[0-9A-Fa-f]{32})$")
_VERSION = re.compile(r"^\d+\.\d+\.\d+$")
_RAIL = re.compile(r"^([-+\d.,]{1,20})\s*V(?:olts?)?\b[,;]?\s*(?:([-+\d.,]{1,20})\s*A(?:mps?)?\b)?(.*)$", re.IGNORECASE)
_GEN = re.compile(r"gen\s*(\d)\s*x\s*(\d{1,2})(?!\d)", re.IGNORECASE)
_LEVEL = re.compile(r"^\s*Level\s+(\S+)\s*:\s*(0x[0-9a-fA-F]{1,16})\s*(?:\(([^)]{0,40})\))?", re.IGNORECASE)
_READING = re.compile(r"^[-+\d.,]{1,20}\s*(?:°?C|V|A|W|Watts)\b|^gen\s*\d\s*x\s*\d", re.IGNORECASE)
_END = re.compile(r"^\s*(?:Validate Device|Validating card|Test \d+ \[|Starting validation|Card \[|Flashable part)")

_SYSTEM = "System Configuration"
_NAMES = {
    "thermals": "thermals", "thermal": "thermals", "electrical": "electrical", "platform": "platform",
    "platforms": "platform", "pcie info": "pcie", "pcie-info": "pcie", "firewall": "firewall", "clocks": "clocks",
    "xrt": "xrt", "devices present": "devices", "compute units": "kernels", "xclbin compute units": "kernels",
}  # fmt: skip
_PARTS = ("thermals", "electrical", "platform", "pcie", "firewall", "clocks", "kernels")
# Reports that hold no reading that a check needs.
_OTHERS = {
    "system configuration", "mechanical", "fans", "memory", "memory topology", "mac addresses", "mac address",
    "dynamic regions", "dynamic region", "flash properties", "device properties", "mailbox", "cmc", "aie",
    "aie metadata", "aie shim status", "debug ip status", "asynchronous errors", "error", "memory status",
    "qspi write protection status", "dma transfer metrics", "power topology", "validation summary", "power rails",
}  # fmt: skip


@dataclass(slots=True)
class _Block:
    kind: str
    bdf: str
    heading: str = ""
    pairs: list[tuple[str, str]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    indented: bool = False

    def add(self, line: str, pair: tuple[str, str] | None) -> None:
        """Take a line in. Reports are indented: what is not, among lines that are, belongs to something else."""
        inside = line[0].isspace()
        if pair is not None and (inside or not self.indented):
            self.pairs.append(pair)
        self.indented = self.indented or inside
        self.lines.append(line)


def facts_of(lines: Sequence[str], file: str) -> list[Fact]:
    """What the reports in the text say; [] when there is none."""
    lines = parse_query.split(lines).others
    blocks = list(_blocks(lines))
    versions = [value for block in blocks for value in [_xrt_version(block)] if value]
    era = era_of_version(versions[0]) if len({era_of_version(v) for v in versions}) == 1 else Era.UNKNOWN
    source = Source(file, "xbutil examine", era=era)
    found: list[Fact] = []
    listed = any(block.kind == "devices" for block in blocks) or any(map(_SCANNED.match, lines))
    if not listed and (any(block.heading == _SYSTEM for block in blocks) or any(map(_FOUND.match, lines))):
        found.append(Unreadable(source, "", "it ends before the list of cards"))
    for block in blocks:
        if block.kind in _PARTS or (block.kind == "other" and block.bdf):
            found.append(Report(source, block.bdf, block.kind))
        if block.kind in _READERS:
            found += _READERS[block.kind](block, source)
    return found


def _blocks(lines: Sequence[str]) -> Iterator[_Block]:
    block = _Block("loose", "")
    for line in lines:
        plain = line.strip().rstrip(":").lower()
        if not plain or set(plain) <= set("-=~"):
            continue
        if command(line) or _END.match(line):
            yield block
            block = _Block("loose", "")
        elif header := _HEADER.match(line):
            yield block
            block = _Block("header", normal_bdf(header[1]), header[2])
        elif plain in _NAMES or plain in _OTHERS:
            yield block
            block = _Block(_NAMES.get(plain, "other"), block.bdf, line.strip())
        elif not interrupts(line):
            pair = key_value(line)
            if pair is None and block.bdf and not line[0].isspace() and _is_heading(line):
                yield block
                block = _Block("unknown", block.bdf, line.strip())
            block.add(line, pair)
    yield block


def _is_heading(line: str) -> bool:
    return re.fullmatch(r"[A-Za-z][\w -]{2,40}", line.rstrip()) is not None


def _xrt_version(block: _Block) -> str:
    values = dict(block.pairs)
    if block.kind == "xrt" or (block.kind == "loose" and "Branch" in values):
        return values.get("Version", "") if _VERSION.match(values.get("Version", "")) else ""
    return ""


def _host(block: _Block, source: Source) -> Iterator[Fact]:
    values, version = dict(block.pairs), _xrt_version(block)
    if version:
        told = ((name, values[name.upper()]) for name in ("xocl", "xclmgmt") if name.upper() in values)
        drivers = tuple((name, value.partition(",")[0].strip()) for name, value in told)
        yield Host(source, "", version, values.get("Branch", ""), drivers)
    for at in range(len(block.lines)):
        yield from _whole(block.lines[at : at + 3], source)


def _devices(block: _Block, source: Source) -> Iterator[Fact]:
    cards: list[Fact] = []
    for at in range(len(block.lines)):
        cards += _whole(block.lines[at : at + 3], source)
    none = any(re.match(r"^\s*0 devices found", line) for line in block.lines)
    yield from cards
    if not cards and not none:
        yield Unreadable(source, "", "the list of cards ends before its end")
    yield Host(source, "", "", cards=sum(isinstance(c, Shell) for c in cards) or (0 if none else None))


def _whole(lines: Sequence[str], source: Source) -> list[Fact]:
    """A card of the list; a terminal of 80 columns breaks its line, in a word or at a blank that is then lost."""
    first, *more = lines
    found = list(_listed(first, source))
    if not found or any(
        isinstance(fact, Unreadable) or (isinstance(fact, Shell) and fact.ready is None) for fact in found
    ):
        for count in range(1, len(more) + 1):
            rest = [line for line in more[:count] if not _LISTED.match(line)]
            for mark in ("", " ") if len(rest) == count and _BEGUN.match(first) else ():
                joined = list(_listed(mark.join((first, *rest)), source))
                if joined and all(isinstance(fact, Shell) and fact.ready is not None for fact in joined):
                    return joined
    return found


def _listed(line: str, source: Source) -> Iterator[Fact]:
    if scanned := _SCANNED.match(line):
        legacy = replace(source, tool="xbutil scan", era=Era.LEGACY)
        ready = False if line.lstrip().startswith("*") else None
        yield Shell(legacy, normal_bdf(scanned[1]), scanned[2], scanned[3] or "", ready=ready)
        return
    found = _LISTED.match(line)
    if not found:
        return
    words = found[3].split()
    ready = flag(words[-1]) if words[-1].lower() in ("yes", "no") else None
    listed = ready is not None or any("(inst=" in word for word in words)
    if not listed:
        return
    bdf, uuid = normal_bdf(found[1]), next((word for word in words if _UUID.match(word)), "")
    if ready is None and ("(inst=" not in words[-1] or source.era is Era.XRT_2022):
        yield Unreadable(source, bdf, f"whether card {bdf} is ready: {words[-1][:40]!r}")
    tool = "xbmgmt examine" if "mgmt(" in found[3] else source.tool
    yield Shell(replace(source, tool=tool), bdf, found[2], uuid, ready=ready)


def _header(block: _Block, source: Source) -> Iterator[Fact]:
    yield Shell(source, block.bdf, block.heading)
    yield from _loose(block, source)


def _loose(block: _Block, source: Source) -> Iterator[Fact]:
    """Readings under a name that is not known: what they mean cannot be told, and they may be bad ones."""
    if block.bdf and any(_READING.match(value) for _, value in block.pairs):
        yield Unreadable(source, block.bdf, f"readings under the unknown name {block.heading[:60]!r}")


def _with_unit(value: str, unit: str) -> float | None:
    """A reading whose unit is there: the end of a line that was cut off is not taken for its value."""
    return number(value, unit) if re.search(r"[A-Za-z]\s*$", value) else None


def _thermals(block: _Block, source: Source) -> Iterator[Fact]:
    readings = 0
    for name, value in block.pairs:
        if name.lower() == "temperature" and value.lower().startswith("cel"):
            continue
        celsius = _with_unit(value, "C")
        if not is_fpga(name) and (celsius == 0 or value.lower() in ("n/a", "na", "not present")):
            continue
        readings += 1
        yield Temperature(source, block.bdf, name, celsius or None)
    if not readings:
        yield Unreadable(source, block.bdf, "a thermal report without sensors")


def _electrical(block: _Block, source: Source) -> Iterator[Fact]:
    warning = any(k.lower() == "power warning" and flag(v) is True for k, v in block.pairs)
    readings = 0
    for name, value in block.pairs:
        key = name.lower()
        if key in ("max power", "power warning", "power rails"):
            continue
        readings += 1
        if key == "power":
            yield Power(source, block.bdf, _with_unit(value, "W"), warning)
        else:
            yield from _rail(name, value, source, block.bdf)
    names = {name.lower() for name, _ in block.pairs}
    if "power" not in names and names & {"max power", "power warning"}:
        yield Power(source, block.bdf, None, warning)
    if not readings:
        yield Unreadable(source, block.bdf, "an electrical report without rails and power")


def _rail(name: str, value: str, source: Source, bdf: str) -> Iterator[Fact]:
    found = _RAIL.match(value)
    volts, amps = (number(found[1]), number(found[2])) if found else (None, None)
    yield Rail(source, bdf, name, volts, amps)
    if found and amps is None and (found[2] or found[3].strip()):
        yield Unreadable(source, bdf, f"the current of rail {name}: {value[:60]!r}")


def _platform(block: _Block, source: Source) -> Iterator[Fact]:
    values = {key.lower(): value for key, value in block.pairs}
    name = values.get("xsa name", values.get("platform", ""))
    if "flash type" in values or (not name and "mig calibrated" not in values):
        if not values:
            yield Unreadable(source, block.bdf, "a platform report without a platform")
        return
    sc = values.get("sc version", values.get("satellite controller", ""))
    yield Shell(source, block.bdf, name, values.get("platform uuid", ""), sc)
    yield Memory(source, block.bdf, flag(values.get("mig calibrated", "not told")))


def _clocks(block: _Block, source: Source) -> Iterator[Fact]:
    for name, value in block.pairs:
        if "hz" in value.lower() or not value:
            yield Clock(source, block.bdf, name, number(value, "MHz"))
    yield from _platform(block, source) if any(k.lower() == "mig calibrated" for k, _ in block.pairs) else ()


def _pcie(block: _Block, source: Source) -> Iterator[Fact]:
    values = {key.lower(): value for key, value in block.pairs}
    found = _GEN.search(values.get("pcie", ""))
    generation, lanes = (int(found[1]), int(found[2])) if found else (None, None)
    yield Link(source, block.bdf, generation, lanes, device=whole(values.get("device")))


def _firewall(block: _Block, source: Source) -> Iterator[Fact]:
    for line in block.lines:
        if level := _LEVEL.match(line):
            good = int(level[2], 16) == 0 and (level[3] or "GOOD").upper() == "GOOD"
            yield Firewall(source, block.bdf, level[1], not good)


def _kernels(block: _Block, source: Source) -> Iterator[Fact]:
    names = tuple(word for line in block.lines for word in line.split() if word.startswith("DPU"))
    if names:
        yield Kernels(source, block.bdf, names)


_READERS: dict[str, Callable[[_Block, Source], Iterator[Fact]]] = {
    "xrt": _host, "loose": _host, "devices": _devices, "header": _header, "unknown": _loose, "thermals": _thermals,
    "electrical": _electrical, "platform": _platform, "clocks": _clocks, "pcie": _pcie, "firewall": _firewall,
    "kernels": _kernels,
}  # fmt: skip
