"""`unmask card status`: what the card's sensors read, once or again and again, against their limits."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.card.evidence import from_folder
from deploy.card.facts import Evidence
from deploy.card.judge import cards_of
from deploy.card.live import Machinery
from deploy.card.readings import Reading, readings, title
from deploy.card.sampling import Clock, Log, Sample, of_machine, samples
from deploy.card.verdict import Status
from deploy.console import Output, printable
from xmodel.errors import UnavailableError

if TYPE_CHECKING:
    from rich.console import RenderableType

_COLOURS = {Status.FAILED: "bold red", Status.WARNING: "yellow"}


@dataclass(frozen=True, slots=True)
class StatusJob:
    """What to show. `watch`: until Ctrl-C, every `interval` seconds; `source`: saved output; `csv`: a log."""

    device: str | None = None
    watch: bool = False
    interval: float = 2.0
    csv: Path | None = None
    source: Path | None = None


@dataclass(slots=True)
class Extremes:
    """The lowest and highest value of each reading so far."""

    found: dict[tuple[str, str, str], tuple[float, float]] = field(default_factory=dict)

    def add(self, sample: Sample) -> None:
        """Take a sample into account."""
        for slot, rows in sample.cards.items():
            for row in rows:
                if row.value is not None:
                    low, high = self.found.get((slot, row.group, row.name), (row.value, row.value))
                    self.found[slot, row.group, row.name] = (min(low, row.value), max(high, row.value))

    def worst(self, slot: str, row: Reading) -> float | None:
        """The lowest of what must not sink, the highest of what must not rise."""
        span = self.found.get((slot, row.group, row.name))
        return None if span is None else span[row.group not in ("voltage", "clock", "link")]


def status(job: StatusJob, output: Output, here: Machinery | None = None, clock: Clock | None = None) -> None:
    """Run the job. Ctrl-C ends a watch, which is no error. Raises `UnavailableError` when there is no card."""
    if job.source is not None:
        evidence = from_folder(job.source)
        cards = {facts.slot: readings(evidence, facts.slot) for facts in cards_of(evidence, job.device)}
        if not any(cards.values()):
            raise UnavailableError(
                "No sensor's reading is in this folder.",
                where=str(job.source),
                hint="Save `xbutil examine --report thermal electrical` with --format JSON.",
            )
        stream: Iterable[Sample] = [Sample(0.0, cards)]
    else:
        evidence, take = of_machine(here or Machinery.here(), job.device)
        endless = samples(take, job.interval, clock or Clock.real())
        stream = endless if job.watch else [next(endless)]
    if job.csv is None:
        _show(stream, evidence, job, output)
    else:
        with Log(job.csv) as log:
            _show(_logged(stream, log), evidence, job, output)
        output.note(f"Log: {job.csv}")


def _logged(stream: Iterable[Sample], log: Log) -> Iterator[Sample]:
    for sample in stream:
        log.add(sample)
        yield sample


def _show(stream: Iterable[Sample], evidence: Evidence, job: StatusJob, output: Output) -> None:
    seen, last = Extremes(), None
    live = job.watch and not output.json and not output.quiet and sys.stdout.isatty()
    try:
        if live:
            last = _live(stream, evidence, seen)
        else:
            for last in stream:
                seen.add(last)
                output.result(data(last, evidence), *tables(last, evidence, seen if job.watch else None))
    except KeyboardInterrupt:
        if not job.watch:
            raise
        output.note("Stopped.")
    if live and last is not None:
        output.result({}, *tables(last, evidence, seen))


def _live(stream: Iterable[Sample], evidence: Evidence, seen: Extremes) -> Sample | None:
    from rich.console import Console, Group
    from rich.live import Live

    last = None
    with Live(console=Console(markup=False, highlight=False), auto_refresh=False, transient=True) as screen:
        try:
            for last in stream:
                seen.add(last)
                screen.update(Group(*tables(last, evidence, seen)), refresh=True)
        except KeyboardInterrupt:
            return last
    return last


def tables(sample: Sample, evidence: Evidence, seen: Extremes | None) -> Iterator[RenderableType]:
    """A table a card; with `seen`, the worst since the beginning too: the lowest voltage, the highest of the others."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    for slot, rows in sample.cards.items():
        heading = printable(title(evidence, slot)) + (f" · {sample.seconds:.0f} s" if seen is not None else "")
        table = Table(title=heading, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
        table.add_column("reading", no_wrap=True)
        for column in ("now", *(("worst",) if seen is not None else ()), "limit", "head-room"):
            table.add_column(column, justify="right", no_wrap=True)
        for row in rows:
            cells = [] if seen is None else [_plain(seen.worst(slot, row), row)]
            limit = "" if row.limit is None else f"{row.what} {row.limit:g} {row.unit}"
            style = _COLOURS.get(row.status, "")
            name = row.name if row.group in ("temperature", "link") else f"{row.group} {row.name}"
            table.add_row(printable(name), Text(row.shown, style), *cells, limit, _plain(row.headroom, row))
        yield table


def _plain(value: float | None, row: Reading) -> str:
    return "" if value is None else Reading(row.group, row.name, value, row.unit).shown


def data(sample: Sample, evidence: Evidence) -> Mapping[str, Any]:
    """The sample for `--json`."""
    return {
        "seconds": round(sample.seconds, 1),
        "cards": {slot: [_reading(row) for row in rows] for slot, rows in sample.cards.items()},
        "names": {slot: title(evidence, slot) for slot in sample.cards},
    }


def _reading(row: Reading) -> dict[str, Any]:
    return {
        "group": row.group, "name": row.name, "value": row.value, "unit": row.unit, "limit": row.limit,
        "headroom": row.headroom, "status": str(row.status),
    }  # fmt: skip
