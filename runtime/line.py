"""The engine's state: what is loaded, in flight and done, under one lock that all its threads share.

Who waits for something is woken when that is there and not at every change: with twelve runners, that would cost more
than the rest of the engine.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from runtime.runner import Runner
from xmodel.errors import UnavailableError
from xmodel.graph import Array

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Result(Generic[S]):
    """What the network made of source number `index`: one array a tensor, without the batch axis."""

    index: int
    source: S
    outputs: Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Failure(Generic[S]):
    """Source number `index` could not be loaded, and why."""

    index: int
    source: S
    reason: str


@dataclass(slots=True)
class Loaded(Generic[S]):
    """What a worker made of a source: an array or a reason, and since when it is there."""

    index: int
    source: S
    array: Array | None
    reason: str
    since: float


@dataclass(slots=True)
class Job(Generic[S]):
    """A batch that a runner has."""

    number: int
    items: list[Loaded[S]]
    outputs: dict[str, Array]
    start: float


class Line(Generic[S]):
    """Sources in, deliveries out, in order. `window` is how many items may be between the two, `batch` the smallest
    that a runner takes, `limit` how many seconds a runner may take for a job (None: no limit)."""

    def __init__(self, sources: Iterable[S], window: int, batch: int, limit: float | None) -> None:
        self.smallest, self.limit = batch, limit
        self.lock = threading.RLock()
        self.room = threading.Condition(self.lock)  # for one more source
        self.batches = threading.Condition(self.lock)  # to be taken by a runner
        self.results = threading.Condition(self.lock)  # to be delivered
        self.sources: Iterator[S] = iter(sources)
        self.taking = threading.Lock()  # one worker at a time asks the iterator, which may be slow
        self.free = window
        self.taken = 0  # sources
        self.exhausted = False
        self.loaded: dict[int, Loaded[S]] = {}
        self.front = 0  # all before it are loaded
        self.next_in_batch = 0  # all before it are in a job, or failed
        self.good = 0  # readable ones between the two
        self.waiting: dict[int, tuple[float, list[Job[S]]]] = {}  # by runner: since when, and for which jobs
        self.done: dict[int, Result[S] | Failure[S]] = {}
        self.delivered = 0
        self.error: BaseException | None = None
        self.stopped = self.draining = self.told = False
        self.host = self.queue = self.device = 0.0
        self.jobs = 0

    def stop(self, error: BaseException | None = None) -> None:
        """End all threads; the first error is kept."""
        with self.lock:
            self.error = self.error or error
            self.stopped = True
            self._wake_all()

    def drain(self) -> None:
        """Take nothing new and end when what is in flight is delivered. A signal handler may call this: the lock is
        one that a thread can take twice."""
        with self.lock:
            self.draining = True
            self._wake_all()

    def _wake_all(self) -> None:
        for condition in (self.room, self.batches, self.results):
            condition.notify_all()

    @contextmanager
    def watched(self, runner: Runner, jobs: Iterable[Job[S]]) -> Iterator[None]:
        """The block must not take longer than the limit; `jobs` are what the runner has, the oldest first."""
        with self.lock:
            self.waiting[id(runner)] = time.perf_counter(), list(jobs)
        yield
        with self.lock:
            del self.waiting[id(runner)]

    def take(self) -> tuple[int, S] | None:
        """The next source once there is room for it, None at the end."""
        with self.taking:
            with self.lock:
                self.room.wait_for(lambda: self.free > 0 or self._closed())
                if self._closed():
                    return None
                self.free -= 1
            try:
                source = next(self.sources)
            except StopIteration:
                with self.lock:
                    self.exhausted = True
                    self._wake_all()
                return None
            with self.lock:
                self.taken += 1
                return self.taken - 1, source

    def put(self, item: Loaded[S], seconds: float) -> None:
        """A worker is done with an item."""
        with self.lock:
            self.loaded[item.index] = item
            self.host += seconds
            while (at_front := self.loaded.get(self.front)) is not None:
                self.front += 1
                self.good += at_front.array is not None
            self._wake_runners()

    def batch(self, size: int, block: bool) -> list[Loaded[S]] | None:
        """The next `size` consecutive readable items, fewer at the end; [] when there are none to come; None to come
        back later.

        Unreadable ones go to the sink. A batch is also cut short when there is no room to load more, which happens
        among many unreadable sources. None is only returned unless `block`.
        """
        with self.lock:
            while not self.stopped and not self.draining:
                finished = self._all_loaded()
                if self.good >= size or finished or self._stuck():
                    good = self._pass(size)
                    if good or finished:
                        self._wake_runners()  # there may be more
                        return good
                if not block:
                    return None
                self.batches.wait()
            return []

    def _wake_runners(self) -> None:
        if self._all_loaded() or self._stuck():
            self.batches.notify_all()
        else:
            self.batches.notify(self.good // self.smallest)

    def _all_loaded(self) -> bool:
        return self.exhausted and self.front == self.taken

    def _stuck(self) -> bool:
        """No room to load more and nothing in flight that would make some."""
        return self.free == 0 and self.front == self.taken and self.next_in_batch == self.delivered

    def _pass(self, size: int) -> list[Loaded[S]]:
        """Take `size` readable items out, fewer where there are not more, and the unreadable ones before them."""
        good: list[Loaded[S]] = []
        while self.next_in_batch < self.front and len(good) < size:
            item = self.loaded.pop(self.next_in_batch)
            if item.array is not None:
                good.append(item)
            else:
                self.done[item.index] = Failure(item.index, item.source, item.reason)
            self.next_in_batch += 1
        self.good -= len(good)
        self._wake_sink()
        return good

    def _wake_sink(self) -> None:
        if self.delivered in self.done:
            self.results.notify()

    def finish(self, job: Job[S], since: float) -> None:
        """A job's results; `since` is when the backend could begin it."""
        now = time.perf_counter()
        with self.lock:
            self.device += now - max(job.start, since)
            self.queue += sum(job.start - item.since for item in job.items)
            self.jobs += 1
            for row, item in enumerate(job.items):
                outputs = {name: array[row] for name, array in job.outputs.items()}
                self.done[item.index] = Result(item.index, item.source, outputs)
            self._wake_sink()

    def deliveries(self, draining: Callable[[], None]) -> Iterator[Result[S] | Failure[S]]:
        """Everything in source order; then raises what stopped the run. Each delivery makes room for one more.

        `draining` is called once, on this thread, when that was asked for.
        """
        while True:
            with self.lock:
                self._await(lambda: self.delivered in self.done or self._over() or self._untold())
                delivery = self.done.pop(self.delivered, None)
                if delivery is None and self._over():
                    if self.error is not None:
                        raise self.error
                    return
                tell, self.told = self._untold(), self.draining
            if tell:
                draining()
            if delivery is None:
                continue
            yield delivery
            with self.lock:
                self.delivered += 1
                self.free += 1
                self.room.notify()

    def _await(self, predicate: Callable[[], bool]) -> None:
        """Wait, and look after the runners meanwhile."""
        if self.limit is None:
            self.results.wait_for(predicate)
            return
        while not self.results.wait_for(predicate, min(1.0, self.limit / 10)):
            order = sorted(self.waiting.values(), key=lambda item: item[0])
            if order and time.perf_counter() - order[0][0] > self.limit:
                self.stop(never_answered([job for _, jobs in order for job in jobs], self.limit))

    def _untold(self) -> bool:
        return self.draining and not self.told

    def _closed(self) -> bool:
        return self.stopped or self.exhausted or self.draining

    def _over(self) -> bool:
        """Nothing more can be delivered in order; what is done may still be."""
        end = self.next_in_batch if self.draining else self.taken
        return self.stopped or ((self.exhausted or self.draining) and self.delivered == end)


def names(items: Sequence[Loaded[S]]) -> str:
    """What a batch is called in a message: its first and its last source."""
    first, last = items[0].source, items[-1].source
    return f"{first} to {last}" if len(items) > 1 else str(first)


def never_answered(jobs: Sequence[Job[S]], limit: float) -> UnavailableError:
    """The error for a device that hangs; `jobs` are all in flight, the late ones first."""
    more = ", ".join(names(job.items) for job in jobs[1:])
    return UnavailableError(
        f"The device did not answer within {limit:g} s on {names(jobs[0].items)}"
        + (f"; also in flight: {more}." if more else "."),
        hint="Results before that were kept. A card that hangs must be reset before its results are trusted again: "
        "see `unmask card check`; or use --device emulator.",
    )
