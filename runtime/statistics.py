"""Where a run's time went: host, queue and device apart, what held it up, and how many runner threads to try."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Statistics:
    """Milliseconds are means an item: `host_ms` loading on one worker, `queue_ms` waiting for a place in a job,
    `device_ms` one runner's share of a job, `sink_ms` taking the result on the one thread that does so.
    """

    items: int
    failures: int
    jobs: int
    seconds: float
    threads: int
    workers: int
    host_ms: float
    queue_ms: float
    device_ms: float
    sink_ms: float

    @property
    def fps(self) -> float:
        """Items that came through, a second."""
        return (self.items - self.failures) / self.seconds if self.seconds > 0 else 0.0

    @property
    def device_busy(self) -> float:
        """How much of the time the runners had a job to do, from 0 to 1, their mean."""
        whole = self.threads * self.seconds
        return min(1.0, self.device_ms / 1000 * (self.items - self.failures) / whole) if whole > 0 else 0.0

    @property
    def busy(self) -> dict[str, float]:
        """What each stage needs an item with all its threads at work, in milliseconds: "host", "device", "sink"."""
        return {
            "host": self.host_ms / self.workers,
            "device": self.device_ms / self.threads,
            "sink": self.sink_ms,
        }

    @property
    def bottleneck(self) -> str:
        """ "host", "device" or "sink": the stage whose threads were busy for the largest part of the run."""
        busy = self.busy
        return max(busy, key=lambda name: busy[name])

    def threads_to_try(self, most: int) -> int:
        """How many runner threads would keep up with the host, from 1 to `most`.

        The host passes an item every h = max(host_ms / workers, sink_ms) milliseconds, and a runner takes device_ms
        for one, so device_ms / h runners are busy at that pace: fewer starve the host's work of a device, more wait
        for it. `most` is what the backend can use: the cores for an emulator; the published project took 12 threads
        on the card. Device times that grow with the threads (a card that is full, cores that are shared) make this
        an upper bound, so try and measure.
        """
        pace = max(self.host_ms / self.workers, self.sink_ms)
        if not self.items or self.device_ms <= 0:
            return min(self.threads, most)
        wanted = most if pace <= 0 else math.ceil(min(self.device_ms / pace, float(most)))
        return max(1, wanted)
