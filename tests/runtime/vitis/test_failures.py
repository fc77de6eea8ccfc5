"""When the vendor's runtime fails: what is told, that nothing hangs, and that no bad result gets through."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from runtime.vitis import messages
from runtime.vitis.process import Limits
from runtime.vitis.runner import CardRunner, open_runners
from tests.runtime.vitis import tool
from tests.runtime.vitis.conftest import Recorded
from tests.xmodel.test_process import wait_gone
from xmodel.errors import UnavailableError

HERE = Path(sys.executable)


def opened(recorded: Recorded, count: int = 1, limits: Limits | None = None) -> list[CardRunner]:
    return open_runners(recorded.graph, recorded.path, HERE, count, "reference", limits)


def start(runner: CardRunner, recorded: Recorded) -> int:
    outputs = {t.name: np.zeros((8, *t.shape[1:]), np.float32) for t in runner.outputs}
    return runner.execute_async({recorded.x: recorded.images[recorded.x][:8]}, outputs)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("fingerprint", "for DPUCVDX8H_ISA1_F2W2_8PE .* the card runs DPUCVDX8H_ISA1_F2W4_4PE .*SIGABRT"),
        ("es1", "does not know the DPU DPUCVDX8H_ISA1_F2W2 .*engineering sample .* Vitis AI 1.4.1 alone"),
        ("acquire", "got no compute unit.*XLNX_VART_FIRMWARE"),
        ("library", "A library of the runtime's is missing.*librt-engine.so, which the vendor's container"),
        ("import", "cannot open shared object file.*A library of the runtime's is missing"),
    ],
)
def test_a_card_that_cannot_be_opened(
    fault: str, text: str, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool.use(monkeypatch, recorded.answers, fault)
    with pytest.raises(UnavailableError, match=text):
        opened(recorded)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("abort", r"crashed \(SIGABRT\); it last said: .*Check failed: size == buffer\.second\..*end the process"),
        ("segv", r"crashed \(SIGSEGV\)"),
        ("exit", r"ended with exit code 3; it last said: .*terminate called\."),
        ("invalid", "The runtime refused the batch"),
        ("status", "refused: CallError: wait gave the status 5"),
    ],
)
def test_a_job_that_fails(fault: str, text: str, recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    tool.use(monkeypatch, recorded.answers, fault)
    (runner,) = opened(recorded)
    job = start(runner, recorded)
    with pytest.raises(UnavailableError, match=text):
        runner.wait(job)
    runner.close()


def test_after_a_timeout_of_the_card_nothing_is_believed(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    """`wait` returned in order and the outputs are there: only the line on stderr tells."""
    tool.use(monkeypatch, recorded.answers, "timeout", at=1)
    first, second = opened(recorded, 2)
    jobs = [start(first, recorded), start(second, recorded)]
    for runner, job in zip((second, first), reversed(jobs), strict=True):
        with pytest.raises(UnavailableError, match=r"CU timeout 0: .* cannot be trusted.*Reset the card") as caught:
            runner.wait(job)
        assert "switch the machine off" in caught.value.hint
    with pytest.raises(UnavailableError, match="cannot be trusted"):
        first.wait(start(first, recorded))
    assert wait_gone(first._card.worker.pid)
    first.close()
    second.close()


def test_a_job_that_never_returns(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    tool.use(monkeypatch, recorded.answers, "hang")
    first, second = opened(recorded, 2, Limits(job=0.5))
    jobs = [start(first, recorded), start(second, recorded)]
    told: list[UnavailableError] = []

    def wait(runner: CardRunner, job: int) -> None:
        try:
            runner.wait(job)
        except UnavailableError as error:
            told.append(error)

    threads = [threading.Thread(target=wait, args=pair) for pair in zip((first, second), jobs, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [str(error).split(". ")[0] for error in told] == [
        "A job on the card gave no result for 0.5 s and was ended"
    ] * 2
    first.close()
    second.close()


def test_a_card_that_is_never_open(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    tool.use(monkeypatch, recorded.answers, "opening")
    with pytest.raises(UnavailableError, match="gave no result for"):
        opened(recorded, limits=Limits(opening=0.3))


def test_a_worker_that_is_stopped_is_ended(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    tool.use(monkeypatch, recorded.answers)
    (runner,) = opened(recorded, limits=Limits(silence=0.5, beat=0.05))
    worker = runner._card.worker
    os.kill(worker.pid, signal.SIGSTOP)
    assert wait_gone(worker.pid)
    with pytest.raises(UnavailableError, match=r"no sign of life for 0\.5 s"):
        runner.wait(start(runner, recorded))
    runner.close()


def test_an_idle_worker_answers_heartbeats(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    tool.use(monkeypatch, recorded.answers)
    (runner,) = opened(recorded, limits=Limits(beat=0.01))
    worker = runner._card.worker
    heard, deadline = worker._heard, time.monotonic() + 60
    while worker._heard == heard and time.monotonic() < deadline:
        time.sleep(0.01)
    assert worker._heard > heard and worker.error is None
    runner.wait(start(runner, recorded))
    runner.close()


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("terminate: cu timeout! device_core_idx 0", "cannot be trusted"),
        ("RuntimeError: task timeout", "cannot be trusted"),
        ("Failed to open /dev/dri/renderD128: Operation not permitted", "device node cannot be used"),
        ("[XRT] ERROR: Failed to load xclbin.", "overlay could not be loaded"),
        ("cannot find or create target with fingerprint=0x123", "does not know the DPU 0x123"),
    ],
)
def test_known_lines(line: str, text: str) -> None:
    error = messages.ended(-signal.SIGABRT, ["before", line, "*** Check failure stack trace: ***", "    @ 0x1"], 30)
    assert text in str(error).replace("; the vendor's runtime crashed (SIGABRT)", "")
    assert error.where == line and error.exit_code == 3


def test_unknown_ends() -> None:
    error = messages.ended(-signal.SIGBUS, ["a" * 1000, "*** Check failure stack trace: ***"], 30)
    assert "crashed (SIGBUS); it last said: aaa" in error.what and len(error.what) < 400
    assert "fell off the bus" in error.hint and "--device emulator" in error.hint
    assert "said nothing" in messages.ended(1, [], 30).what
    assert "signal 64" in messages.ended(-64, [], 30).what or "SIGRTMAX" in messages.ended(-64, [], 30).what
    assert messages.spoils("all is well") is None
