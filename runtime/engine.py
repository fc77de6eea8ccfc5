"""The streaming engine: sources -> decode workers -> batches in order -> one thread a runner -> an ordered sink.

Everything between the stages is bounded, so memory does not grow with the number of sources. Batches are made of
consecutive sources, so they are the same whatever the number of threads. A signal ends a run in order: nothing new is
taken, what is in flight is finished and delivered. A device that does not answer ends it too, and hangs nothing.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TypeVar

import numpy as np

from runtime.interrupt import requested
from runtime.line import Failure, Job, Line, Loaded, Result, names
from runtime.runner import Runner
from runtime.statistics import Statistics
from xmodel.errors import UnavailableError, UnmaskError, UsageError
from xmodel.graph import Array, Tensor, numpy_dtype

__all__ = ["Failure", "Result", "Statistics", "close", "left_behind", "run"]

S = TypeVar("S")
IN_FLIGHT = 2  # jobs a runner has at a time: the next one is there when one is done
GRACE, HASTE = 2.0, 0.2  # seconds that threads get to end, and after a second signal; who is stuck is left behind
THREADS = "unmask-"  # how the names of the engine's threads begin


def _work(line: Line[S], load: Callable[[S], Array], tensor: Tensor) -> None:
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
            line.put(Loaded(index, source, array, reason, now), now - start)
    except BaseException as error:
        line.stop(error)


def _drive(line: Line[S], runner: Runner) -> None:
    """A runner's thread: keep jobs in flight, hand their results on."""
    flying: deque[Job[S]] = deque()
    buffers = [_buffer(runner) for _ in range(IN_FLIGHT)]
    idle_since = 0.0
    last: list[Loaded[S]] = []
    try:
        ended = False
        while not line.stopped and not (ended and not flying):
            items = None if ended or len(flying) == IN_FLIGHT else line.batch(runner.batch, block=not flying)
            if items:
                buffer = buffers.pop()
                last = items
                with line.watched(runner, [*flying, Job(-1, items, {}, 0.0)]):
                    job = _start(runner, buffer, items)
                flying.append(job)
                buffers.insert(0, buffer)
            elif items is not None:
                ended = True
            elif flying:
                last = flying[0].items
                with line.watched(runner, flying):
                    runner.wait(flying[0].number)
                job = flying.popleft()
                line.finish(job, idle_since)
                idle_since = time.perf_counter()
    except UnmaskError as error:
        error.where = error.where or (names(last) if last else "")
        line.stop(error)
    except BaseException as error:
        line.stop(_runner_failed(error, names(last) if last else "the first job"))


def _runner_failed(error: BaseException, where: str) -> BaseException:
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return error
    failure = UnavailableError(
        f"The device failed on {where}: {str(error) or type(error).__name__}.",
        hint="Results before it were kept; run again, or use --device emulator.",
    )
    failure.__cause__ = error
    return failure


def _buffer(runner: Runner) -> Array:
    tensor = runner.inputs[0]
    return np.zeros((runner.batch, *tensor.shape[1:]), numpy_dtype(tensor.data_type))


def _start(runner: Runner, buffer: Array, items: Sequence[Loaded[S]]) -> Job[S]:
    for row, item in enumerate(items):
        buffer[row] = item.array
        item.array = None
    count = len(items)
    outputs = {t.name: np.zeros((count, *t.shape[1:]), numpy_dtype(t.data_type)) for t in runner.outputs}
    start = time.perf_counter()
    number = runner.execute_async({runner.inputs[0].name: buffer[:count]}, outputs)
    return Job(number, list(items), outputs, start)


def run(
    sources: Iterable[S],
    load: Callable[[S], Array],
    runners: Sequence[Runner],
    sink: Callable[[Result[S]], None],
    failed: Callable[[Failure[S]], None],
    workers: int = 2,
    limit: float | None = None,
    draining: Callable[[], None] = lambda: None,
) -> Statistics:
    """Stream `sources` through `load` and the runners; call `sink` and `failed` in source order, on this thread.

    `load` makes one source's input array (the runner's only input, without the batch axis) and runs on `workers`
    threads; what it raises is that source's failure. An error of a runner, a sink or the iteration over `sources`
    ends the run and is raised here; what was delivered before stays delivered. A runner that takes more than `limit`
    seconds (None: no limit) to accept a job or to answer one raises `UnavailableError`, which names what is in flight.

    On SIGINT or SIGTERM nothing new is taken, `draining` is called, what is in flight is delivered, and then
    `KeyboardInterrupt` is raised; a second signal raises it at once. The runners stay open: see `close`. Every thread
    has ended then, but for those that are stuck in a backend or in `sources` for longer than `GRACE` seconds; they
    are daemons.
    """
    if not runners or workers < 1:
        raise UsageError(f"The engine needs a runner and a worker; it got {len(runners)} and {workers}.")
    if len(runners[0].inputs) != 1:
        raise UsageError(f"The engine feeds networks with one input; this one has {len(runners[0].inputs)}.")
    window = sum((IN_FLIGHT + 1) * runner.batch for runner in runners) + 2 * workers
    line: Line[S] = Line(sources, window, min(runner.batch for runner in runners), limit)
    threads = [_thread("decode", _work, line, load, runners[0].inputs[0]) for _ in range(workers)]
    threads += [_thread("runner", _drive, line, runner) for runner in runners]
    start, in_sink, items, failures = time.perf_counter(), 0.0, 0, 0
    grace = GRACE
    with requested(line.drain):
        try:
            for thread in threads:
                thread.start()
            for delivery in line.deliveries(draining):
                before = time.perf_counter()
                items += 1
                if isinstance(delivery, Result):
                    sink(delivery)
                else:
                    failures += 1
                    failed(delivery)
                in_sink += time.perf_counter() - before
        except KeyboardInterrupt:
            grace = HASTE
            raise
        finally:
            line.stop()
            _join(threads, grace)
    if line.draining:
        raise KeyboardInterrupt
    each, through = 1000 / max(1, items), 1000 / max(1, items - failures)
    return Statistics(
        items, failures, line.jobs, time.perf_counter() - start, len(runners), workers,
        line.host * each, line.queue * through, line.device * through, in_sink * each,
    )  # fmt: skip


def close(runners: Iterable[Runner]) -> None:
    """Close all of them at once; one that takes longer than `GRACE` seconds is left to a daemon thread, or than `HASTE`
    where a backend holds a thread of `run`: that one will not close either.

    What `close` of a runner raises is dropped: the results are there already.
    """
    grace = HASTE if left_behind() else GRACE
    threads = [_thread("close", _close, runner) for runner in runners]
    for thread in threads:
        thread.start()
    _join(threads, grace)


def _close(runner: Runner) -> None:
    with suppress(Exception):
        runner.close()


def left_behind() -> list[str]:
    """Names of the engine's threads that still run: after `run` and `close`, those that a backend holds.

    The interpreter cannot end in order while a thread is inside native code; `os._exit` can end the process.
    """
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(THREADS)]


def _thread(name: str, target: Callable[..., None], *arguments: object) -> threading.Thread:
    return threading.Thread(target=target, args=arguments, name=THREADS + name, daemon=True)


def _join(threads: Iterable[threading.Thread], seconds: float) -> None:
    deadline = time.perf_counter() + seconds
    for thread in threads:
        if thread.ident is not None:
            thread.join(max(0.0, deadline - time.perf_counter()))
