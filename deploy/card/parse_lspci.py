"""`lspci` in any of its styles: which Xilinx functions there are, their drivers and links."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from deploy.card.facts import Fact, Link, PciFunction, PciScan, Source, normal_bdf
from deploy.card.lines import BDF, command, interrupts

_HEAD = re.compile(
    rf"^({BDF})\s+(?:\"?[A-Za-z][^:]{{0,100}}?|[0-9a-fA-F]{{4}}|\"?Class [0-9a-fA-F]{{4}})\"?:?\s+(\S.*)$"
)
_XILINX = re.compile(r"xilinx|\b10ee:", re.IGNORECASE)
_ID = re.compile(r"\b10ee:([0-9a-fA-F]{4})\b", re.IGNORECASE)
_NAMED = re.compile(r"Xilinx.{0,60}?\bDevice ([0-9a-fA-F]{4})\b", re.IGNORECASE)
_DRIVER = re.compile(r"^\s*Kernel driver in use:\s*(\S+)")
_DETAIL = re.compile(r"^\s*(?:Kernel |Flags:|Subsystem:|Control:|Memory at )")
_LINK = re.compile(r"^\s*Lnk(Cap|Sta):.{0,60}?Speed ([\d.]{1,5})\s*GT/s.{0,40}?Width x(\d{1,2})")
_GENERATIONS = {"2.5": 1, "5": 2, "5.0": 2, "8": 3, "8.0": 3, "16": 4, "16.0": 4, "32": 5, "32.0": 5}


def facts_of(lines: Sequence[str], file: str) -> list[Fact]:
    """Every Xilinx function that the text lists; [] when it is no output of lspci."""
    source = Source(file, "lspci")
    blocks = list(_blocks(lines))
    found: list[Fact] = []
    for bdf, head, body in blocks:
        if _XILINX.search(head):
            found += _function(source, bdf, head, body)
    return [PciScan(source, "", sum(isinstance(f, PciFunction) for f in found)), *found] if blocks else []


def _blocks(lines: Sequence[str]) -> Iterator[tuple[str, str, list[str]]]:
    current: tuple[str, str, list[str]] | None = None
    for line in lines:
        head = _HEAD.match(line)
        if head is None and interrupts(line):
            continue
        if head or not line.strip() or command(line):
            if current is not None:
                yield current
            current = (normal_bdf(head[1]), line, []) if head else None
        elif current is not None:
            current[2].append(line)
    if current is not None:
        yield current


def _function(source: Source, bdf: str, head: str, body: Sequence[str]) -> Iterator[Fact]:
    found = _ID.search(head) or _NAMED.search(head)
    device = int(found[1], 16) if found else None
    drivers = [m[1] for line in body if (m := _DRIVER.match(line))]
    told = bool(drivers) or any(_DETAIL.match(line) for line in body)
    yield PciFunction(source, bdf, device, (drivers[0] if drivers else "") if told else None, head.partition(" ")[2])
    links = {m[1]: (_GENERATIONS.get(m[2]), int(m[3])) for line in body if (m := _LINK.match(line))}
    if "Sta" in links:
        now, best = links["Sta"], links.get("Cap", (0, 0))
        yield Link(source, bdf, now[0], now[1], best[0], best[1], device)
