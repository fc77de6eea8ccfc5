"""The judgement for a terminal: the worst first, colour only where it means something."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from deploy.card.judge import Judgement
from deploy.card.verdict import BAD, Check, Status
from deploy.console import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

_COLOURS = {Status.FAILED: "bold red", Status.BROKEN: "bold red", Status.WARNING: "yellow", Status.OK: "green"}


def shown(judgement: Judgement) -> Iterator[RenderableType]:
    """Tables of all checks, then what to do."""
    yield _table("this machine" if judgement.live else "saved output", judgement.machine)
    for verdict in judgement.cards:
        facts = verdict.card
        named = " · ".join(part for part in (facts.user or facts.slot, facts.kind, facts.vbnv) if part)
        yield _table(named, verdict.checks)
    told = [c for v in judgement.cards for c in v.checks] + list(judgement.machine)
    for check in sorted((c for c in told if c.advice and c.status in (*BAD, Status.WARNING)), key=_urgency):
        yield f"{check.name}: {check.advice}"
    unseen = [c.name for v in judgement.cards for c in v.unseen]
    if unseen:
        yield f"Not looked at: {', '.join(dict.fromkeys(unseen))}."


def _urgency(check: Check) -> int:
    return 0 if check.status in BAD else 1


def _table(title: str, checks: Sequence[Check]) -> RenderableType:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(title=printable(title), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1), expand=False)
    for column in ("check", "status", "measured", "limit"):
        table.add_column(column, overflow="fold")
    for check in checks:
        status = Text(str(check.status), _COLOURS.get(check.status, "dim"))
        table.add_row(printable(check.name), status, printable(check.measured), printable(check.limit))
    return table
