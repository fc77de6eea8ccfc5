"""The streaming engine: sources -> decode workers -> batches in order -> one thread a runner -> an ordered sink.

Everything between the stages is bounded, so memory does not grow with the number of sources. Batches are made of
consecutive sources, so they are the same whatever the number of threads.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from runtime.runner import Runner
from xmodel.errors import UnavailableError, UnmaskError, UsageError
from xmodel.graph import Array, Tensor, numpy_dtype

S = TypeVar("S")
IN_FLIGHT = 2  # jobs a runner has at a time: the next one is there when one is done


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


@dataclass(frozen=True, slots=True)
class Statistics:
    """Where the time went. Milliseconds are means an item: loading on one worker, waiting for a place in a job, the
    backend's share of a job, and the sink."""

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
    def bottleneck(self) -> str:
        """ "host", "device" or "sink": the stage whose threads were busy for the largest part of the run."""
        busy = {
            "host": self.host_ms / self.workers,
            "device": self.device_ms / self.threads,
            "sink": self.sink_ms,
        }
        return max(busy, key=lambda name: busy[name])


@dataclass(slots=True)
class _Loaded(Generic[S]):
    index: int
    source: S
    array: Array | None
    reason: str
    since: float


@dataclass(slots=True)
class _Job(Generic[S]):
    number: int
    items: list[_Loaded[S]]
    outputs: dict[str, Array]
    start: float


class _Line(Generic[S]):
    """The state that the threads share, under one condition variable."""

    def __init__(self, sources: Iterable[S], window: int) -> None:
        self.changed = threading.Condition()
        self.sources: Iterator[S] = iter(sources)
        self.taking = threading.Lock()  # one worker at a time asks the iterator, which may be slow
        self.free = window
        self.taken = 0
        self.exhausted = False
        self.loaded: dict[int, _Loaded[S]] = {}
        self.next_in_batch = 0
        self.done: dict[int, Result[S] | Failure[S]] = {}
        self.delivered = 0
        self.error: BaseException | None = None
        self.stopped = False
        self.host = self.queue = self.device = 0.0
        self.jobs = 0

    def stop(self, error: BaseException | None = None) -> None:
        """End all threads; the first error is kept."""
        with self.changed:
            self.error = self.error or error
            self.stopped = True
            self.changed.notify_all()

    def take(self) -> tuple[int, S] | None:
        """The next source once there is room for it, None at the end."""
        with self.taking:
            with self.changed:
                self.changed.wait_for(lambda: self.free > 0 or self.stopped or self.exhausted)
                if self.stopped or self.exhausted:
                    return None
                self.free -= 1
            try:
                source = next(self.sources)
            except StopIteration:
                with self.changed:
                    self.exhausted = True
                    self.changed.notify_all()
                return None
            with self.changed:
                self.taken += 1
                return self.taken - 1, source

    def put(self, item: _Loaded[S], seconds: float) -> None:
        """A worker is done with an item."""
        with self.changed:
            self.loaded[item.index] = item
            self.host += seconds
            self.changed.notify_all()

    def batch(self, size: int, block: bool) -> list[_Loaded[S]] | None:
        """The next `size` consecutive readable items, fewer at the end, [] after it; None to come back later.

        Unreadable ones go to the sink. A batch is also cut short when there is no room to load more, which happens
        among many unreadable sources. None is only returned unless `block`.
        """
        with self.changed:
            while not self.stopped:
                good, end = self._ready(size)
                finished = self.exhausted and end == self.taken
                stuck = end == self.taken and self.free == 0 and self.next_in_batch == self.delivered
                if len(good) == size or finished or stuck:
                    self._pass(end)
                    if good or finished:
                        return good
                if not block:
                    return None
                self.changed.wait()
            return []

    def _pass(self, end: int) -> None:
        for index in range(self.next_in_batch, end):
            item = self.loaded.pop(index)
            if item.array is None:
                self.done[index] = Failure(index, item.source, item.reason)
        self.next_in_batch = end
        self.changed.notify_all()

    def _ready(self, size: int) -> tuple[list[_Loaded[S]], int]:
        good: list[_Loaded[S]] = []
        index = self.next_in_batch
        while index in self.loaded and len(good) < size:
            item = self.loaded[index]
            if item.array is not None:
                good.append(item)
            index += 1
        return good, index

    def finish(self, job: _Job[S], since: float) -> None:
        """A job's results; `since` is when the backend could begin it."""
        now = time.perf_counter()
        with self.changed:
            self.device += now - max(job.start, since)
            self.queue += sum(job.start - item.since for item in job.items)
            self.jobs += 1
            for row, item in enumerate(job.items):
                outputs = {name: array[row] for name, array in job.outputs.items()}
                self.done[item.index] = Result(item.index, item.source, outputs)
            self.changed.notify_all()

    def deliveries(self) -> Iterator[Result[S] | Failure[S]]:
        """Everything in source order; then raises what stopped the run. Each delivery makes room for one more."""
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.delivered in self.done or self.stopped or self._all_delivered())
                if self.delivered not in self.done:
                    if self.error is not None:
                        raise self.error
                    return
                delivery = self.done.pop(self.delivered)
            yield delivery
            with self.changed:
                self.delivered += 1
                self.free += 1
                self.changed.notify_all()

    def _all_delivered(self) -> bool:
        return self.exhausted and self.delivered == self.taken


def _work(line: _Line[S], load: Callable[[S], Array], tensor: Tensor) -> None:
    """A decode worker; `tensor` is what the arrays must fit."""
    shape, dtype = tensor.shape[1:], numpy_dtype(tensor.data_type)
    try:
        while (taken := line.take()) is not None:
            index, source = taken
            start = time.perf_counter()
            array, reason = None, ""
            try:
                array = load(source)
                if array.shape != shape or array.dtype != dtype:
                    reason = f"It loads as {array.dtype} {list(array.shape)}; the network takes {dtype} {list(shape)}."
                    array = None
            except UnmaskError as error:
                reason = error.what
            except Exception as error:  # one bad source never stops the others
                reason = str(error) or type(error).__name__
            now = time.perf_counter()
            line.put(_Loaded(index, source, array, reason, now), now - start)
    except BaseException as error:
        line.stop(error)


def _drive(line: _Line[S], runner: Runner) -> None:
    """A runner's thread: keep jobs in flight, hand their results on."""
    flying: deque[_Job[S]] = deque()
    buffers = [_buffer(runner) for _ in range(IN_FLIGHT)]
    idle_since = 0.0
    last: list[_Loaded[S]] = []
    try:
        ended = False
        while not line.stopped and not (ended and not flying):
            items = None if ended or len(flying) == IN_FLIGHT else line.batch(runner.batch, block=not flying)
            if items:
                buffer = buffers.pop()
                last = items
                flying.append(_start(runner, buffer, items))
                buffers.insert(0, buffer)
            elif items is not None:
                ended = True
            elif flying:
                job = flying.popleft()
                last = job.items
                runner.wait(job.number)
                line.finish(job, idle_since)
                idle_since = time.perf_counter()
    except UnmaskError as error:
        line.stop(error)
    except BaseException as error:
        names = f"{last[0].source} to {last[-1].source}" if last else "the first job"
        line.stop(_runner_failed(error, names))


def _runner_failed(error: BaseException, names: str) -> BaseException:
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return error
    failure = UnavailableError(
        f"The device failed on {names}: {str(error) or type(error).__name__}.",
        hint="Results before it were kept; run again, or use --device emulator.",
    )
    failure.__cause__ = error
    return failure


def _buffer(runner: Runner) -> Array:
    tensor = runner.inputs[0]
    return np.zeros((runner.batch, *tensor.shape[1:]), numpy_dtype(tensor.data_type))


def _start(runner: Runner, buffer: Array, items: Sequence[_Loaded[S]]) -> _Job[S]:
    for row, item in enumerate(items):
        buffer[row] = item.array
        item.array = None
    count = len(items)
    outputs = {t.name: np.zeros((count, *t.shape[1:]), numpy_dtype(t.data_type)) for t in runner.outputs}
    start = time.perf_counter()
    number = runner.execute_async({runner.inputs[0].name: buffer[:count]}, outputs)
    return _Job(number, list(items), outputs, start)


def run(
    sources: Iterable[S],
    load: Callable[[S], Array],
    runners: Sequence[Runner],
    sink: Callable[[Result[S]], None],
    failed: Callable[[Failure[S]], None],
    workers: int = 2,
) -> Statistics:
    """Stream `sources` through `load` and the runners; call `sink` and `failed` in source order, on this thread.

    `load` makes one source's input array (the runner's only input, without the batch axis) and runs on `workers`
    threads; what it raises is that source's failure. An error of a runner, a sink or the iteration over `sources`
    ends the run and is raised here, as is Ctrl-C, after every thread has ended; what was delivered before stays
    delivered. The runners stay open.
    """
    if not runners or workers < 1:
        raise UsageError(f"The engine needs a runner and a worker; it got {len(runners)} and {workers}.")
    if len(runners[0].inputs) != 1:
        raise UsageError(f"The engine feeds networks with one input; this one has {len(runners[0].inputs)}.")
    window = sum((IN_FLIGHT + 1) * runner.batch for runner in runners) + 2 * workers
    line: _Line[S] = _Line(sources, window)
    threads = [
        threading.Thread(target=_work, args=(line, load, runners[0].inputs[0]), name="decode", daemon=True)
        for _ in range(workers)
    ]
    threads += [threading.Thread(target=_drive, args=(line, runner), name="runner", daemon=True) for runner in runners]
    start, in_sink, items, failures = time.perf_counter(), 0.0, 0, 0
    try:
        for thread in threads:
            thread.start()
        for delivery in line.deliveries():
            before = time.perf_counter()
            items += 1
            if isinstance(delivery, Result):
                sink(delivery)
            else:
                failures += 1
                failed(delivery)
            in_sink += time.perf_counter() - before
    finally:
        line.stop()
        for thread in threads:
            if thread.ident is not None:
                thread.join()
    each, through = 1000 / max(1, items), 1000 / max(1, items - failures)
    return Statistics(
        items, failures, line.jobs, time.perf_counter() - start, len(runners), workers,
        line.host * each, line.queue * through, line.device * through, in_sink * each,
    )  # fmt: skip
