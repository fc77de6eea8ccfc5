"""The judgement as one HTML page, for a phone beside the rack and for paper."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploy.card.judge import CardVerdict, Judgement
from deploy.card.live import Depth
from deploy.card.verdict import BAD, Check, Status
from deploy.report import write_html
from xmodel.artifact import versions
from xmodel.errors import ExitCode

_TITLES = {
    "machine": "Bus, drivers, access", "card": "Shell, link, memory", "sensors": "Power and heat",
    "validate": "XRT's own tests",
}  # fmt: skip
_CLASSES = {
    Status.OK: "ok", Status.WARNING: "warning", Status.FAILED: "failed", Status.BROKEN: "broken",
    Status.SKIPPED: "skipped", Status.NOT_APPLICABLE: "skipped",
}  # fmt: skip
_DEPTHS = {
    Depth.QUICK: "quick check, without XRT's own tests", Depth.NORMAL: "all checks",
    Depth.FULL: "all checks, all tests, and load",
}  # fmt: skip
# What a reader looks for first: the check's name, and what the tile calls it.
_TILES = (
    ("Temperature FPGA", "FPGA"), ("PCIe link", "PCIe link"), ("Total power", "power"),
    ("validate: verify", "verify"), ("validate: dma", "DMA"), ("validate: mem-bw", "memory bandwidth"),
)  # fmt: skip


def write_page(path: Path, judgement: Judgement) -> None:
    """Write the report to `path`, atomically."""
    write_html(path, "card.html.j2", **view(judgement))


def view(judgement: Judgement) -> dict[str, Any]:
    """What the template shows."""
    every = [c for v in judgement.cards for c in v.checks] + list(judgement.machine)
    urgent = [c for c in every if c.advice and c.status in (*BAD, Status.WARNING)]
    return {
        "j": judgement,
        "headline": _headline(judgement),
        "mood": "good" if judgement.exit_code is ExitCode.DONE else "bad",
        "depth": _DEPTHS[judgement.depth],
        "when": time.strftime("%Y-%m-%d %H:%M %Z") if judgement.live else "",
        "urgent": sorted(urgent, key=lambda c: c.status not in BAD),
        "tiles": [_tiles(v) for v in judgement.cards],
        "layers": [_layers(v.checks) for v in judgement.cards],
        "classes": {str(status): name for status, name in _CLASSES.items()},
        "record": {"versions": versions()},
    }


def _headline(judgement: Judgement) -> str:
    if judgement.exit_code is ExitCode.ENVIRONMENT:
        return "No usable card"
    if judgement.exit_code is ExitCode.GATE:
        failed = sum(len(v.failed) for v in judgement.cards) + sum(c.status in BAD for c in judgement.machine)
        return f"Not healthy: {failed} check{'s' * (failed != 1)} failed"
    if judgement.depth is Depth.QUICK:
        return "No fault found"
    return "Healthy" if not any(v.warnings for v in judgement.cards) else "Healthy, with warnings"


def _tiles(verdict: CardVerdict) -> list[tuple[str, str, bool]]:
    by_name = {check.name: check for check in verdict.checks}
    found = ((by_name.get(name), label) for name, label in _TILES)
    return [
        (check.measured.partition(",")[0].partition(":")[0], label, check.status in BAD)
        for check, label in found
        if check is not None and check.status not in (Status.SKIPPED, Status.NOT_APPLICABLE)
    ]


def _layers(checks: Sequence[Check]) -> list[tuple[str, list[Check]]]:
    grouped = ((title, [c for c in checks if c.layer == layer]) for layer, title in _TITLES.items())
    return [(title, own) for title, own in grouped if own]
