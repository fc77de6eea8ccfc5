"""frames.csv, and what all frames together say."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path

from deploy.console import printable
from deploy.video.clock import Clock
from deploy.video.page import Timeline
from deploy.video.spool import Judged, Spool
from deploy.video.verdict import Scores, Smoothed
from xmodel import artifact

COLUMNS = ("frame", "seconds", "left", "top", "width", "height", "p_real", "smoothed", "manipulated", "reason")
SHOWN = 8  # frames in the report: of each such part of the clip's time, the one with the lowest P(real)
REASONS = 50  # different reasons that are told apart
OTHER = "Another reason; frames.csv has it."


@dataclass(slots=True)
class Results:
    """Times of the first and last considered frame, their number, scores, why some have none, and which to show."""

    first: float
    last: float
    timeline: Timeline
    frames: int = 0
    scores: Scores = field(default_factory=Scores)
    reasons: dict[str, int] = field(default_factory=dict)
    lowest: dict[int, tuple[float, int]] = field(default_factory=dict)

    @property
    def shown(self) -> set[int]:
        """The numbers of the frames to show."""
        return {index for _, index in self.lowest.values()}

    def add(self, judged: Judged, seconds: float, smoothed: float) -> None:
        """The next considered frame."""
        self.frames += 1
        self.timeline.add(seconds, judged.p_real, smoothed)
        if judged.reason:
            reason = judged.reason if judged.reason in self.reasons or len(self.reasons) < REASONS else OTHER
            self.reasons[reason] = self.reasons.get(reason, 0) + 1
            return
        self.scores.add(judged.p_real, judged.share)
        span = self.last - self.first
        part = min(SHOWN - 1, int((seconds - self.first) / span * SHOWN)) if span > 0 else 0
        self.lowest[part] = min(self.lowest.get(part, (2.0, 0)), (judged.p_real, judged.index))


def write_frames(path: Path, spool: Spool, clock: Clock) -> Results:
    """Write one row a considered frame, in order, with the columns `COLUMNS`; what is unknown stays empty."""
    first, last, count = _ends(spool)
    start, end = clock.seconds(first), clock.seconds(last)
    results, smoothed = Results(start, end, Timeline(start, end - start, count)), Smoothed()
    with artifact.atomic(path, "w") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for judged in spool.read():
            seconds = clock.seconds(judged.tick)
            if not judged.reason:
                smoothed.add(judged.p_real, seconds)
            writer.writerow(_row(judged, seconds, smoothed.value))
            results.add(judged, seconds, smoothed.value)
    return results


def _ends(spool: Spool) -> tuple[int, int, int]:
    """The ticks of the first and the last frame, and how many there are."""
    first = last = count = 0
    for judged in spool.read():
        first, last, count = judged.tick if not count else first, judged.tick, count + 1
    return first, last, count


def _row(judged: Judged, seconds: float, smoothed: float) -> tuple[str, ...]:
    square = judged.square
    place = ("",) * 4 if square is None else tuple(map(str, (square.left, square.top, square.width, square.height)))
    if judged.reason:
        return (str(judged.index), f"{seconds:.6f}", *place, "", "", "", printable(judged.reason))
    scores = (f"{value:.6f}" for value in (judged.p_real, smoothed, judged.share))
    return (str(judged.index), f"{seconds:.6f}", *place, *scores, "")
