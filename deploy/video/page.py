"""The clip's report: a timeline, the numbers, some frames with their masks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.predictions import THRESHOLD
from deploy.report import provenance, write_html

POINTS = 600  # columns of the timeline: longer clips are summed up in that many steps of time
_W, _H, _LEFT, _TOP, _RIGHT, _BOTTOM = 760, 270, 46, 12, 8, 46


@dataclass(slots=True)
class Step:
    """What the frames of one step of time said: P(real) summed, its range, and how many were judged or not."""

    total: float = 0.0
    lowest: float = math.inf
    highest: float = -math.inf
    judged: int = 0
    skipped: int = 0
    smoothed: float = math.nan


@dataclass(slots=True)
class Timeline:
    """P(real) over `seconds` of time, in as many steps as there are `frames`, but at most `POINTS`."""

    start: float
    seconds: float
    frames: int
    steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.steps = [Step() for _ in range(max(1, min(POINTS, self.frames)))]

    def add(self, seconds: float, p_real: float, smoothed: float) -> None:
        """A frame at this time; `p_real` NaN for one that was not judged."""
        place = (seconds - self.start) / self.seconds if self.seconds > 0 else 0.0
        last = len(self.steps) - 1
        step = self.steps[min(last, max(0, int(place * last + 0.5)))]
        if math.isnan(p_real):
            step.skipped += 1
            return
        step.total += p_real
        step.lowest, step.highest = min(step.lowest, p_real), max(step.highest, p_real)
        step.judged += 1
        step.smoothed = smoothed

    def svg(self) -> str:
        """The plot: each step's mean and range, the smoothed curve, and where nothing was judged."""
        bands = "".join(
            f'<rect class="gap" x="{x:.1f}" y="{_TOP}" width="{self._wide:.1f}" height="{_y(0) - _TOP}"/>'
            for x, step in self._placed()
            if step.skipped and not step.judged
        )
        ranges = "".join(self._range(x, step) for x, step in self._placed() if step.judged)
        curves = "".join(f'<polyline class="line" points="{" ".join(part)}"/>' for part in self._curves())
        middle = f'<line class="chance" x1="{_LEFT}" x2="{_W - _RIGHT}" y1="{_y(0.5)}" y2="{_y(0.5)}"/>'
        return (
            f'<svg class="plot wide timeline" viewBox="0 0 {_W} {_H}" role="img" aria-label="P(real) over time">'
            f"{_frame(self.start, self.seconds)}{bands}{ranges}{middle}{curves}</svg>"
        )

    def _range(self, left: float, step: Step) -> str:
        kind = "fake" if step.total / step.judged < THRESHOLD else "real"
        x, high, low = left + self._wide / 2, _y(step.highest) - 1.5, _y(step.lowest) + 1.5
        wide = max(1.0, self._wide - 0.6)
        return (
            f'<line class="{kind}" stroke-width="{wide:.1f}" x1="{x:.1f}" x2="{x:.1f}" y1="{high:.1f}" y2="{low:.1f}"/>'
        )

    @property
    def _wide(self) -> float:
        return (_W - _LEFT - _RIGHT) / len(self.steps)

    def _placed(self) -> Iterable[tuple[float, Step]]:
        return ((_LEFT + number * self._wide, step) for number, step in enumerate(self.steps))

    def _curves(self) -> list[list[str]]:
        """The smoothed curve, broken where frames were not judged."""
        parts: list[list[str]] = [[]]
        for x, step in self._placed():
            if step.judged:
                parts[-1].append(f"{x + self._wide / 2:.1f},{_y(step.smoothed):.1f}")
            elif step.skipped:
                parts.append([])
        return [part for part in parts if len(part) > 1]


def _y(value: float) -> float:
    return _TOP + (_H - _TOP - _BOTTOM) * (1 - value)


def _frame(start: float, seconds: float) -> str:
    rows = "".join(
        f'<line class="grid" x1="{_LEFT}" x2="{_W - _RIGHT}" y1="{_y(v):.1f}" y2="{_y(v):.1f}"/>'
        f'<text x="{_LEFT - 6}" y="{_y(v) + 4:.1f}" text-anchor="end">{v:g}</text>'
        for v in (0.0, 0.25, 0.5, 0.75, 1.0)
    )
    marks = "".join(
        f'<text x="{_LEFT + (_W - _LEFT - _RIGHT) * (t - start) / (seconds or 1):.1f}" y="{_H - _BOTTOM + 16}" '
        f'text-anchor="middle">{told(t)}</text>'
        for t in ticks(start, seconds)
    )
    middle = _TOP + (_H - _TOP - _BOTTOM) / 2
    return (
        f'{rows}{marks}<text class="axis" x="{_LEFT + (_W - _LEFT) / 2}" y="{_H - 8}" text-anchor="middle">time</text>'
        f'<text class="axis" x="12" y="{middle}" text-anchor="middle" transform="rotate(-90 12 {middle})">'
        "P(real)</text>"
    )


def ticks(start: float, seconds: float) -> Sequence[float]:
    """Up to eight round times within the clip."""
    steps = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600]
    step = next((s for s in steps if seconds / s <= 8), 3600.0 * math.ceil(seconds / 3600 / 8))
    first = math.ceil(start / step)
    return [(first + n) * step for n in range(9) if (first + n) * step <= start + seconds + 1e-9]


def told(seconds: float) -> str:
    """A time for reading.

    >>> told(0.4), told(75), told(3723)
    ('0.4 s', '1:15', '1:02:03')
    """
    if seconds < 60:
        return f"{round(seconds, 3):g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def write_page(
    path: Path, report: Mapping[str, Any], timeline: Timeline, figures: Sequence[Mapping[str, Any]], record: Any
) -> None:
    """Write the clip's report.html."""
    write_html(
        path, "video.html.j2", r=report, timeline=timeline.svg(), figures=figures, provenance=provenance(record),
        record=record, told=told,
    )  # fmt: skip
