"""`xbmgmt flash --scan` and the text of `xbmgmt examine`: the shell that runs and those that are installed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from deploy.card.facts import Era, Fact, Shell, Source, normal_bdf
from deploy.card.lines import BDF, key_value

_CARD = re.compile(rf"^\s*Card\s*\[({BDF})\]")
_SHELL = re.compile(r"^\s*([\w.-]{3,100}),\[ID=([^\]]{0,60})\](?:,\[SC=([^\]]{0,40})\])?")
_RUNNING = re.compile(r"^\s*Flashable partitions? running on FPGA", re.IGNORECASE)
_INSTALLED = re.compile(r"^\s*Flashable partitions? installed in system", re.IGNORECASE)
_REPORT = re.compile(rf"^\s*(?:\d+/\d+\s+)?\[({BDF})\]\s*:")


def facts_of(lines: Sequence[str], file: str) -> list[Fact]:
    """Shells by card; [] when the text holds no such report."""
    scan = Source(file, "xbmgmt flash --scan", era=Era.LEGACY)
    bdf, card_type, running = "", "", None
    partition: dict[str, str] = {}
    found: list[Fact] = []
    for line in lines:
        if card := _CARD.match(line) or _REPORT.match(line):
            found += _partition(partition, file, bdf, running)
            bdf, card_type, running, partition = normal_bdf(card[1]), "", None, {}
        elif _RUNNING.match(line) or _INSTALLED.match(line):
            found += _partition(partition, file, bdf, running)
            running, partition = _RUNNING.match(line) is not None, {}
        elif running is not None and (shell := _SHELL.match(line)):
            found.append(
                Shell(scan, bdf, shell[1], shell[2], shell[3] or "", card_type=card_type, running=running)
            )  # fmt: skip
        elif pair := key_value(line):
            key = pair[0].lower()
            if key == "card type":
                card_type = pair[1]
            elif running is not None and key in ("platform", "sc version", "platform uuid"):
                if key == "platform":
                    found += _partition(partition, file, bdf, running)
                    partition = {}
                partition[key] = pair[1]
    return [*found, *_partition(partition, file, bdf, running)]


def _partition(partition: dict[str, str], file: str, bdf: str, running: bool | None) -> Iterator[Fact]:
    if partition.get("platform") and running is not None:
        source = Source(file, "xbmgmt examine")
        uuid, sc = partition.get("platform uuid", ""), partition.get("sc version", "")
        yield Shell(source, bdf, partition["platform"], uuid, sc, running=running)
