"""Timestamps that always rise: the clip's own where they make sense, repaired and counted where not."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

FAR = 86400  # seconds: no clip pauses for longer than a day between two frames
BACK = 1  # seconds: a clip that goes back further starts anew, as joined recordings do


@dataclass(slots=True)
class Clock:
    """Turns presentation timestamps in units of `base` seconds into ticks from the clip's start `start`.

    `step` is what a frame lasts, in ticks. Ticks rise from frame to frame; `repaired` counts those not taken as
    they stand: missing ones, ones that do not rise, and jumps of more than `FAR` or back by more than `BACK`
    seconds, behind which the clip goes on one step after the last frame.
    """

    base: Fraction
    start: int | None
    step: int
    last: int | None = None
    repaired: int = 0

    @staticmethod
    def of(base: Fraction | None, start: int | None, rate: Fraction | None) -> Clock:
        """For a stream with this time base and mean frame rate, whose clip starts at tick `start`."""
        base = base if base is not None and base > 0 else Fraction(1, 90000)
        rate = rate if rate is not None and 0 < rate <= 1000 else Fraction(25)
        return Clock(base, start, max(1, round(1 / (rate * base))))

    def tick(self, pts: int | None) -> int:
        """The tick of the next frame, whose timestamp is `pts`, or None where it has none."""
        if pts is not None and self.start is None:
            self.start = pts
        ticks = None if pts is None or self.start is None else pts - self.start
        if self.last is None:
            self.last = ticks if ticks is not None and abs(ticks) * self.base <= FAR else 0
            if ticks != self.last:
                self._anchor(pts, self.last)
            return self.last
        following = self.last + self.step
        if ticks is None:
            self.repaired += 1
            self.last = following
        elif (ticks - self.last) * self.base > FAR or (self.last - ticks) * self.base > BACK:
            self._anchor(pts, following)
            self.last = following
        elif ticks <= self.last:
            self.repaired += 1
            self.last += 1
        else:
            self.last = ticks
        return self.last

    def seconds(self, tick: int) -> float:
        """A tick in seconds from the clip's start."""
        return float(tick * self.base)

    def _anchor(self, pts: int | None, tick: int) -> None:
        self.repaired += 1
        if pts is not None:
            self.start = pts - tick
