"""One check and what came of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from deploy.card.facts import Evidence, Fact
from deploy.card.known import CardFacts
from deploy.card.live import Depth


class Status(StrEnum):
    """What came of a check."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"
    BROKEN = "tool broken"
    NOT_APPLICABLE = "not applicable"


_SEVERITY = (Status.NOT_APPLICABLE, Status.SKIPPED, Status.OK, Status.WARNING, Status.BROKEN, Status.FAILED)
BAD = (Status.FAILED, Status.BROKEN)


@dataclass(frozen=True, slots=True)
class Check:
    """One named check: what was measured, the limit it is held against, and what to do when it is not ok.

    `layer`: "machine", "card", "sensors" or "validate"; `sources`: the files that it rests on.
    """

    name: str
    layer: str
    status: Status
    measured: str
    limit: str = ""
    advice: str = ""
    sources: tuple[str, ...] = ()

    def data(self) -> dict[str, Any]:
        """The check for `--json`."""
        return {
            "name": self.name, "layer": self.layer, "status": str(self.status), "measured": self.measured,
            "limit": self.limit, "advice": self.advice, "sources": list(self.sources),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Case:
    """What the checks of one card look at. `live`: this machine, not saved output."""

    evidence: Evidence
    card: CardFacts
    depth: Depth = Depth.NORMAL
    live: bool = False

    @property
    def slot(self) -> str:
        """The card's PCI address without function."""
        return self.card.slot


def worst(statuses: Iterable[Status]) -> Status:
    """The gravest of them; `NOT_APPLICABLE` when there is none."""
    return max(statuses, key=_SEVERITY.index, default=Status.NOT_APPLICABLE)


def files(facts: Iterable[Fact]) -> tuple[str, ...]:
    """The files that facts come from, each once."""
    return tuple(dict.fromkeys(fact.source.file for fact in facts))
