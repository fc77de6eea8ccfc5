"""Sampling at a steady pace, with a clock that tests can put another in place of."""

from __future__ import annotations

import csv
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from deploy.card.facts import Evidence, Fact, Shell, gathered, slot_of
from deploy.card.live import Machinery, identify, sample, users
from deploy.card.readings import Reading, readings
from xmodel.artifact import storage
from xmodel.errors import UnavailableError


@dataclass(frozen=True, slots=True)
class Clock:
    """The time in seconds, and waiting: `wait` returns early, with True, when it has been told to stop."""

    now: Callable[[], float]
    wait: Callable[[float], bool]

    @staticmethod
    def real(stop: threading.Event | None = None) -> Clock:
        """This machine's; `stop` ends a wait."""
        event = stop or threading.Event()
        return Clock(time.monotonic, event.wait)


@dataclass(frozen=True, slots=True)
class Sample:
    """All cards at one moment. `seconds` since the first sample; `cards`: readings by slot."""

    seconds: float
    cards: Mapping[str, tuple[Reading, ...]]


Take = Callable[[], Mapping[str, tuple[Reading, ...]]]


def samples(take: Take, interval: float, clock: Clock, length: float | None = None) -> Iterator[Sample]:
    """Samples every `interval` seconds, for `length` seconds or until the clock is told to stop.

    A sample that takes longer than the interval delays the next one; none is made up for.
    """
    start = clock.now()
    turn = 0
    while True:
        yield Sample(clock.now() - start, take())
        turn = max(turn + 1, int((clock.now() - start) // interval) + 1)
        if length is not None and turn * interval > length:
            return
        if clock.wait(max(0.0, start + turn * interval - clock.now())):
            return


def of_machine(here: Machinery, device: str | None) -> tuple[Evidence, Take]:
    """What is known of this machine's cards, and how to read their sensors.

    Raises `UnavailableError` when no card answers.
    """
    known = identify(here)
    found = users(known.evidence, device)
    if not found:
        raise UnavailableError(
            f"No card {device!r} answers here." if device else "No card answers here.",
            hint="`unmask card check` says what is missing; --from reads saved output.",
        )
    names = tuple(f for f in known.evidence.facts if isinstance(f, Shell))

    def take() -> dict[str, tuple[Reading, ...]]:
        return {slot_of(bdf): _of(names, sample(here, bdf), slot_of(bdf)) for bdf in found}

    return known.evidence, take


def _of(names: Sequence[Fact], facts: Sequence[Fact], slot: str) -> tuple[Reading, ...]:
    return readings(gathered((*names, *facts)), slot)


@dataclass(slots=True)
class Log:
    """Samples as rows of a CSV file, each there as soon as it was taken. Columns are those of the first sample."""

    path: Path
    _file: IO[str] | None = None
    _columns: list[tuple[str, str, str]] = field(default_factory=list)

    def __enter__(self) -> Log:
        with storage(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("w", encoding="utf-8", newline="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, sample: Sample) -> None:
        """Write one sample."""
        assert self._file is not None
        writer: Any = csv.writer(self._file)
        values = {(s, r.group, r.key): r.value for s, rows in sample.cards.items() for r in rows if r.group != "link"}
        with storage(self.path):
            if not self._columns:
                self._columns = list(values)
                several = len(sample.cards) > 1
                heads = [f"{s + ' ' if several else ''}{group} {key}" for s, group, key in self._columns]
                writer.writerow(["seconds", *heads])
            cells = [values.get(column) for column in self._columns]
            writer.writerow([f"{sample.seconds:.1f}", *("" if v is None else f"{v:g}" for v in cells)])
            self._file.flush()
