"""From many frames to one verdict: mean, median and trimmed mean of P(real), and a curve smoothed over time."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from deploy.crops import FAKE, NAMES, REAL
from deploy.predictions import THRESHOLD

TRIMMED = 0.1  # share of the judged frames left out at each end by the trimmed mean
MEMORY = 1.0  # seconds: time constant of the smoothed curve


@dataclass(slots=True)
class Scores:
    """P(real) of the judged frames, counted by value: a network of 8 bits gives few different ones, so that the
    exact order statistics of any clip need little memory. Values that differ in the seventh decimal count as one."""

    counts: Counter[float] = field(default_factory=Counter)
    shares: float = 0.0

    def add(self, p_real: float, share: float) -> None:
        """One judged frame: P(real) and the share of its pixels called manipulated."""
        self.counts[round(p_real, 6)] += 1
        self.shares += share

    @property
    def frames(self) -> int:
        """How many were judged."""
        return self.counts.total()

    def mean(self) -> float:
        """The arithmetic mean."""
        return self._average(0, self.frames)

    def median(self) -> float:
        """The middle value; of an even number, the mean of the two in the middle."""
        low, high = (self.frames - 1) // 2, self.frames // 2 + 1
        return self._average(low, high)

    def trimmed(self) -> float:
        """The mean without the floor(`TRIMMED` * n) lowest and as many highest of n values."""
        cut = math.floor(TRIMMED * self.frames)
        return self._average(cut, self.frames - cut)

    def summary(self) -> dict[str, Any]:
        """What the report says; the verdict is that of the trimmed mean. Needs a judged frame."""
        trimmed = self.trimmed()
        fake = sum(count for value, count in self.counts.items() if value < THRESHOLD)
        return {
            "verdict": NAMES[REAL if trimmed >= THRESHOLD else FAKE],
            "p_real": trimmed,
            "mean": self.mean(),
            "median": self.median(),
            "trimmed_mean": trimmed,
            "lowest": min(self.counts),
            "highest": max(self.counts),
            "frames_fake": fake,
            "frames_real": self.frames - fake,
            "manipulated": self.shares / self.frames,
        }

    def _average(self, start: int, stop: int) -> float:
        """The mean of the values from rank `start` to before rank `stop`, in rising order."""
        rank, total = 0, []
        for value in sorted(self.counts):
            count = self.counts[value]
            taken = min(stop, rank + count) - max(start, rank)
            if taken > 0:
                total.append(value * taken)
            rank += count
        return math.fsum(total) / (stop - start)


@dataclass(slots=True)
class Smoothed:
    """An exponential average over time: what is `MEMORY` seconds old counts 1/e. It starts at the first value."""

    value: float = math.nan
    seconds: float = 0.0

    def add(self, p_real: float, seconds: float) -> float:
        """The average after a frame at `seconds`."""
        if math.isnan(self.value):
            self.value = p_real
        else:
            self.value += (p_real - self.value) * (1 - math.exp(-max(0.0, seconds - self.seconds) / MEMORY))
        self.seconds = seconds
        return self.value
