"""A soak: the card under load for a while, its temperatures beside, and whether its limits came near."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from deploy.card.readings import Reading
from deploy.card.sampling import Clock, Sample, Take, samples
from deploy.card.verdict import Status, worst
from xmodel.errors import UnmaskError

NEAR = 5.0  # degrees below a limit that count as near it
STEADY = 1.0  # degrees that the last fifth of a soak may be above the fifth before it, and still be called steady
SLOWED = 0.9  # of the speed of the first half: below it the second half was slowed down
INTERRUPTED = "Interrupted."
_FIFTHS = 10  # samples from which on a trend can be told

# Runs the network until `stop()` is true, calls `done(count)` for crops that came through, returns the run's figures.
Load = Callable[[Callable[[], bool], Callable[[int], None]], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Curve:
    """One temperature over the soak: `points` are (seconds, °C); `limit`, `what`: where the card acts and how."""

    card: str
    name: str
    points: tuple[tuple[float, float], ...]
    limit: float
    what: str
    status: Status

    @property
    def first(self) -> float:
        """°C at the beginning."""
        return self.points[0][1]

    @property
    def highest(self) -> float:
        """The highest °C."""
        return max(celsius for _, celsius in self.points)

    @property
    def headroom(self) -> float:
        """Degrees between the highest and the limit."""
        return self.limit - self.highest

    @property
    def near(self) -> bool:
        """Did it come near its limit, or reach it?"""
        return self.headroom <= NEAR

    @property
    def rising(self) -> bool | None:
        """Was it still rising at the end? None: too few samples to tell."""
        count = len(self.points) // 5
        if len(self.points) < _FIFTHS:
            return None
        last, before = self.points[-count:], self.points[-2 * count : -count]
        return sum(c for _, c in last) / count - sum(c for _, c in before) / count > STEADY


@dataclass(frozen=True, slots=True)
class Soak:
    """What came of a soak. `speed`: the load's figures, {} when it failed; `rates`: (seconds, crops a second).

    `ended`: why it ended before its time, or "".
    """

    wanted: float
    seconds: float
    samples: tuple[Sample, ...]
    curves: tuple[Curve, ...]
    speed: Mapping[str, Any]
    rates: tuple[tuple[float, float], ...]
    ended: str = ""

    @property
    def reached(self) -> tuple[Curve, ...]:
        """The curves that reached the limit at which the card acts."""
        return tuple(curve for curve in self.curves if curve.headroom <= 0)

    @property
    def near(self) -> tuple[Curve, ...]:
        """The curves that came near their limit and did not reach it."""
        return tuple(curve for curve in self.curves if curve.near and curve.headroom > 0)

    @property
    def slowed(self) -> bool:
        """Did the load run slower in the second half, the first sample left out, which pays for the start?"""
        rates = [rate for _, rate in self.rates[1:]]
        half = len(rates) // 2
        if half < 2:
            return False
        return sum(rates[-half:]) / half < SLOWED * sum(rates[:half]) / half

    @property
    def passed(self) -> bool:
        """Was it run to its end, with no limit reached, and every sensor read?"""
        return not self.ended and not self.reached and bool(self.curves) and self.status is not Status.FAILED

    @property
    def status(self) -> Status:
        """The gravest that any temperature came to."""
        return worst(curve.status for curve in self.curves)

    @property
    def sentence(self) -> str:
        """The outcome in a sentence or two."""
        if not self.curves:
            return f"No temperature was read in {self.seconds:.0f} s. {self.ended}".strip()
        hottest = min(self.curves, key=lambda curve: curve.headroom)
        limit = f"{hottest.what} limit" if hottest.what != "critical" else "critical threshold"
        told = f"{hottest.name} reached {hottest.highest:g} °C, {abs(hottest.headroom):g} "
        told += f"{'below' if hottest.headroom > 0 else 'above'} its {limit} of {hottest.limit:g}."
        if self.reached:
            told = f"The card's limits were reached: {told}"
        elif self.near:
            told = f"The card's limits came near: {told}"
        more = " It was still rising at the end: run longer." if any(c.rising for c in self.curves) else ""
        slow = " The load became slower meanwhile." if self.slowed else ""
        return f"{told}{more}{slow}{f' {self.ended}' if self.ended else ''}"


@dataclass(slots=True)
class _State:
    """What the sampling thread and the load share."""

    stop: threading.Event
    crops: int = 0
    taken: list[Sample] = field(default_factory=list)
    counts: list[tuple[float, int]] = field(default_factory=list)
    ended: str = ""


def soak(
    take: Take, load: Load, seconds: float, interval: float, seen: Callable[[Sample], None] = lambda _: None,
    clock: Callable[[threading.Event], Clock] = Clock.real,
) -> Soak:  # fmt: skip
    """Run `load` for `seconds` while the card is sampled every `interval` seconds on a thread of its own.

    The load is stopped at once when a temperature becomes critical, and when the card no longer answers. What the
    load raises (Ctrl-C too) ends the soak; what was sampled until then is kept and returned. `seen` gets each sample,
    on that thread.
    """
    state = _State(threading.Event())
    thread = threading.Thread(
        target=_sample, args=(state, take, seconds, interval, seen, clock(state.stop)), name="sampling", daemon=True
    )
    thread.start()
    speed: Mapping[str, Any] = {}

    def done(count: int) -> None:
        state.crops += count

    try:
        speed = load(state.stop.is_set, done)
        if not state.stop.is_set():
            state.ended = state.ended or "The load ended by itself."
    except UnmaskError as error:
        state.ended = f"The load failed: {error.what}"
    except KeyboardInterrupt:
        state.ended = INTERRUPTED
    finally:
        state.stop.set()
        thread.join()
    length = state.taken[-1].seconds if state.taken else 0.0
    return Soak(seconds, length, tuple(state.taken), curves(state.taken), speed, _rates(state.counts), state.ended)


def _sample(
    state: _State, take: Take, seconds: float, interval: float, seen: Callable[[Sample], None], clock: Clock
) -> None:
    try:
        for sample in samples(take, interval, clock, seconds):
            state.taken.append(sample)
            state.counts.append((sample.seconds, state.crops))
            seen(sample)
            hot = [row for row in _temperatures(sample) if row.value is not None and row.status is Status.FAILED]
            if hot:
                state.ended = f"Stopped: {hot[0].name} is critical at {hot[0].value:g} °C."
                return
            if not any(row.value is not None for row in _temperatures(sample)):
                state.ended = "Stopped: the card gives no temperature."
                return
    except UnmaskError as error:
        state.ended = f"Sampling failed: {error.what}"
    finally:
        state.stop.set()


def _temperatures(sample: Sample) -> Iterator[Reading]:
    return (row for rows in sample.cards.values() for row in rows if row.group == "temperature")


def curves(taken: Sequence[Sample]) -> tuple[Curve, ...]:
    """One curve a temperature sensor, from all samples that have it."""
    points: dict[tuple[str, str], list[tuple[float, float]]] = {}
    rows: dict[tuple[str, str], list[Reading]] = {}
    for sample in taken:
        for slot, readings in sample.cards.items():
            for row in readings:
                if row.group == "temperature" and row.value is not None and row.limit is not None:
                    points.setdefault((slot, row.name), []).append((sample.seconds, row.value))
                    rows.setdefault((slot, row.name), []).append(row)
    return tuple(
        Curve(slot, name, tuple(found), rows[slot, name][0].limit or 0.0, rows[slot, name][0].what,
              worst(row.status for row in rows[slot, name]))
        for (slot, name), found in points.items()
    )  # fmt: skip


def _rates(counts: Sequence[tuple[float, int]]) -> tuple[tuple[float, float], ...]:
    return tuple((b[0], (b[1] - a[1]) / (b[0] - a[0])) for a, b in pairwise(counts) if b[0] > a[0])
