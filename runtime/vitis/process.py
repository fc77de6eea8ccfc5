"""The worker's process, seen from here: control lines, heartbeat, watchdog, and what it said when it died."""

from __future__ import annotations

import json
import os
import queue
import selectors
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from runtime.vitis import messages
from runtime.vitis.interpreter import WORKER
from xmodel.errors import UnavailableError
from xmodel.python import environment

_TICK = 0.5  # seconds between two looks at the clock, at most
_LINES = 200  # of the worker's stderr that are kept
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds: for opening a file (which loads the card), for a job, without a sign of life, between heartbeats,
    for ending. A runtime of the vendor's gives a job up after 10 s (XLNX_DPU_TIMEOUT, in ms)."""

    opening: float = 300.0
    job: float = 30.0
    silence: float = 120.0
    beat: float = 2.0
    grace: float = 5.0

    @staticmethod
    def of(environ: Mapping[str, str]) -> Limits:
        """The usual ones; a job may take longer where the environment gives the vendor's runtime more time."""
        text = environ.get("XLNX_DPU_TIMEOUT", "")
        own = int(text) / 1000 if text.isdecimal() and len(text) < 10 else 0.0
        return Limits(job=max(Limits().job, own + 10))


class _Job:
    """A job in flight; `error` is what the worker said of this one."""

    __slots__ = ("done", "error", "event")

    def __init__(self) -> None:
        self.event, self.done = threading.Event(), False
        self.error: UnavailableError | None = None


class Worker:
    """A running worker. Any thread may start and wait for jobs.

    When the process dies, hangs, or the card cannot be trusted any more, it is ended and everything that waits or is
    asked later raises why.
    """

    def __init__(self, python: Path, memory: int, limits: Limits) -> None:
        self.limits = limits
        self.error: UnavailableError | None = None
        timing = (limits.opening, limits.job, limits.silence)
        command = [str(python), "-u", str(WORKER), "serve", str(memory), *(f"{seconds:g}" for seconds in timing)]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
                env=dict(environment(python)), pass_fds=(memory,), start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise UnavailableError(f"Cannot start this program: {error.strerror}.", where=str(python)) from error
        self._numbers, self._jobs = count(), dict[int, _Job]()
        self._answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._changing, self._writing = threading.Lock(), threading.Lock()
        self._said: deque[str] = deque(maxlen=_LINES)
        self._answer_rest = self._said_rest = b""
        self._closing = self._calling = False
        self._sent = self._heard = self._progress = time.monotonic()
        self._listener = threading.Thread(target=self._listen, name="card", daemon=True)
        self._listener.start()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def call(self, seconds: float, **message: Any) -> dict[str, Any]:
        """Send a message that is no job; its answer. Raises `UnavailableError`."""
        self._calling = True
        self._send(message)
        try:
            answer = self._answers.get(timeout=seconds + self.limits.grace)
        except queue.Empty:
            self._stop(messages.hung(seconds))
            answer = {}
        finally:
            self._calling = False
        self._check()
        if answer.get("said") == "failed":
            raise messages.refused(str(answer.get("why")), [*self._said])
        return answer

    def run(self, runner: int, slot: int, part: int) -> int:
        """Start a job on what lies in the slot; its number. Raises `UnavailableError`."""
        with self._changing:
            self._check()
            number = next(self._numbers)
            if not self._jobs:
                self._progress = time.monotonic()
            self._jobs[number] = _Job()
        self._send({"do": "run", "job": number, "runner": runner, "slot": slot, "part": part})
        return number

    def wait(self, number: int) -> None:
        """Return when the job is done. Raises `UnavailableError` when it failed or the worker did."""
        job = self._jobs[number]
        job.event.wait()
        with self._changing:
            del self._jobs[number]
        if job.error is not None:
            raise job.error
        if not job.done:
            self._check()

    def close(self) -> None:
        """Let the worker finish what it runs, free the card and end; it is killed when that takes too long."""
        self._closing = True
        with suppress(UnavailableError):
            self._send({"do": "end"})
        with suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._listener.join(self.limits.grace)
        self._kill()
        self._listener.join()

    def _check(self) -> None:
        if self.error is not None:
            raise UnavailableError(self.error.what, where=self.error.where, hint=self.error.hint)

    def _send(self, message: Mapping[str, Any]) -> None:
        data = (json.dumps(message) + "\n").encode("ascii")
        try:
            with self._writing:
                self._write(data)
        except (OSError, ValueError):
            self._listener.join(self.limits.grace)  # it sees the end as well, and knows of what
            self._check()
            raise UnavailableError("The vendor's runtime does not listen any more.") from None

    def _write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        while data:
            data = data[self._process.stdin.write(data) or 0 :]
        self._sent = time.monotonic()

    def _stop(self, error: UnavailableError) -> None:
        """Everything raises `error` from now on, unless there was one before."""
        with self._changing:
            self.error = self.error or error
            for job in self._jobs.values():
                job.event.set()
        self._answers.put({})
        self._kill()

    def _kill(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)

    def _listen(self) -> None:
        """Read both pipes until the end.

        What the runtime prints about a job it prints before the job's answer is sent, so stderr is read after stdout
        and acted on before it: no result of a card that timed out passes for a good one.
        """
        out, err = self._process.stdout, self._process.stderr
        assert out is not None and err is not None
        os.set_blocking(err.fileno(), False)
        try:
            with out, err, selectors.DefaultSelector() as selector:
                selector.register(out, selectors.EVENT_READ)
                selector.register(err, selectors.EVENT_READ)
                data: bytes | None = None
                while data != b"":
                    ready = {key.fileobj for key, _ in selector.select(min(_TICK, self.limits.beat))}
                    data = os.read(out.fileno(), _CHUNK) if out in ready else None
                    if err in ready or data:
                        open_ = self._listen_to(err.fileno())
                        if not open_ and err in ready:
                            selector.unregister(err)
                    self._take(data or b"")
                    self._watch()
                self._ended(err.fileno())
        except BaseException as error:  # whatever it is, nobody may wait for ever
            self._stop(UnavailableError(f"The worker's answers could not be read: {error!r}."))

    def _ended(self, err: int) -> None:
        """The worker closed its side: say why, unless it was told to."""
        try:
            code = self._process.wait(self.limits.grace)
        except subprocess.TimeoutExpired:
            self._kill()
            code = self._process.wait()
        self._listen_to(err)
        self._hear(self._said_rest)
        if self._closing and code == 0:
            self._stop(UnavailableError("The card was closed."))
        else:
            self._stop(messages.ended(code, [*self._said], self.limits.job))

    def _listen_to(self, err: int) -> bool:
        """Take what the worker printed, if anything; False when it closed its stderr."""
        for _ in range(_LINES):
            try:
                data = os.read(err, _CHUNK)
            except BlockingIOError:
                return True
            if not data:
                return False
            *lines, rest = (self._said_rest + data).split(b"\n")
            self._said_rest = rest[-_CHUNK:]
            for line in lines:
                self._hear(line)
        return True

    def _hear(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip()
        if text:
            self._said.append(text)
            if error := messages.spoils(text):
                self._stop(error)

    def _take(self, data: bytes) -> None:
        *lines, self._answer_rest = (self._answer_rest + data).split(b"\n")
        for line in lines:
            self._answer(json.loads(line))

    def _answer(self, answer: dict[str, Any]) -> None:
        self._heard = time.monotonic()
        if answer["said"] == "beat":
            return
        job = self._jobs.get(answer["job"]) if "job" in answer else None
        if job is None:
            self._answers.put(answer)
            return
        self._progress = self._heard
        if answer["said"] == "failed":
            job.error = messages.refused(str(answer["why"]), [*self._said])
            if messages.spoils(str(answer["why"])):
                self._stop(job.error)
        job.done = job.error is None and self.error is None
        job.event.set()

    def _watch(self) -> None:
        """Send a heartbeat when it is time, and end a worker that hangs."""
        now = time.monotonic()
        if self._closing:
            return
        if now - self._sent >= self.limits.beat and self._writing.acquire(blocking=False):
            try:
                with suppress(OSError, ValueError):
                    self._write(b'{"do": "beat"}\n')
            finally:
                self._writing.release()
        with self._changing:
            flying = any(not job.event.is_set() for job in self._jobs.values())
        # The worker's own alarm comes first; this is for one that cannot even be woken by it.
        if flying and now - self._progress > self.limits.job + self.limits.grace:
            self._stop(messages.hung(self.limits.job))
        elif not (flying or self._calling) and now - self._heard > self.limits.silence:
            self._stop(UnavailableError(f"The vendor's runtime gave no sign of life for {self.limits.silence:g} s."))
