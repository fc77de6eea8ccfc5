"""Jobs: run by a pool of threads, known by number, waited for in any order and from any thread.

A program that ends with jobs in flight ends when the running ones are done; the others are dropped, as on the card.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from numbers import Integral
from queue import Empty, SimpleQueue
from typing import Any

from xmodel.errors import UsageError

MOST = 10000  # jobs not yet waited for; starting another one waits (spec: VCK5000's runner)
_PATIENCE = 10.0  # seconds that starting a job may wait before it is told why

log = logging.getLogger("unmask.vart")
Work = Callable[[int], None]


def cores() -> int:
    """Cores that this process may use: OMP_NUM_THREADS caps them."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return max(1, min(here, int(wanted))) if wanted.isdecimal() and int(wanted) else here


class Jobs:
    """A pool of `threads` threads. A job is told how many cores it may use: all, shared among those in flight."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._queue: SimpleQueue[tuple[Work, Future[None]] | None] = SimpleQueue()
        self._changed = threading.Condition()
        self._started: dict[int, Future[None]] = {}
        self._number = 0
        self._unfinished = 0
        # Daemons, for Python would otherwise wait for them before it calls `close`.
        self._workers = [threading.Thread(target=self._serve, name=f"vart-{n}", daemon=True) for n in range(threads)]
        for worker in self._workers:
            worker.start()

    def start(self, work: Work) -> int:
        """Queue `work(cores)`; returns its number. Waits while `MOST` jobs were started and not waited for."""
        with self._changed:
            while len(self._started) >= MOST:
                if not self._changed.wait(_PATIENCE):
                    log.warning("%d jobs were started and none of them is waited for: call wait.", MOST)
            self._number += 1
            self._unfinished += 1
            future = self._started[self._number] = Future[None]()
            self._queue.put((work, future))
            return self._number

    def _serve(self) -> None:
        """A worker thread."""
        while (item := self._queue.get()) is not None:
            self._run(*item)

    def _run(self, work: Work, future: Future[None]) -> None:
        with self._changed:
            share = max(1, self._threads // min(self._unfinished, self._threads))
        error: BaseException | None = None
        try:
            work(share)
        except BaseException as raised:  # the thread that waits for the job gets it
            error = raised
        with self._changed:
            self._unfinished -= 1
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    def close(self) -> None:
        """Drop queued jobs, finish the running ones: a thread must not be inside a kernel when the process ends."""
        with suppress(Empty):
            while True:
                self._queue.get_nowait()
        for _ in self._workers:
            self._queue.put(None)
        for worker in self._workers:
            worker.join()

    def unheard(self) -> list[BaseException]:
        """What jobs raised that nobody has waited for."""
        with self._changed:
            done = [future for future in self._started.values() if future.done()]
        return [error for future in done if (error := future.exception()) is not None]

    def wait(self, job: Any) -> int:
        """Return 0 when the job is done; raises what it raised. `job` is the tuple that `execute_async` returned.

        Raises `TypeError` for anything else, and `UsageError` for a job that is not there, or was waited for.
        """
        if not isinstance(job, tuple | list) or len(job) != 2 or not all(isinstance(part, Integral) for part in job):
            raise TypeError(f"wait takes the tuple (job id, status) that execute_async returned, not {job!r}.")
        with self._changed:
            future = self._started.pop(job[0], None)
            known = 1 <= job[0] <= self._number
            self._changed.notify_all()
        if future is None:
            raise UsageError(
                f"Job {job[0]} {'was waited for already' if known else 'was never started'}.",
                hint="Wait once for every job; on the card a second wait takes another job's number.",
            )
        future.result()
        return 0


_jobs: list[Jobs] = []
_lock = threading.Lock()


def jobs() -> Jobs:
    """The jobs of this process."""
    with _lock:
        if not _jobs:
            _jobs.append(Jobs(cores()))
            # Not before there are networks: what is registered last runs first, and networks are freed at exit too.
            atexit.register(_end)
        return _jobs[0]


def _end() -> None:
    """Stop, and tell what would be lost without a word: a job that failed and was not waited for."""
    for pool in _jobs:
        pool.close()
        for error in pool.unheard():
            log.error("A job failed that nothing waited for: %s", error)


def _forget() -> None:
    """In a forked child: its parent's threads are not there."""
    global _lock
    _lock = threading.Lock()
    _jobs.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
