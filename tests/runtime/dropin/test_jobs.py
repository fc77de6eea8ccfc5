"""The pool: order, shares of the cores, limits, failures that nobody hears of."""

from __future__ import annotations

import threading
from queue import SimpleQueue

import pytest

from runtime.dropin import jobs
from runtime.dropin.jobs import Jobs
from xmodel.errors import UsageError


def test_jobs_run_side_by_side_and_share_the_cores() -> None:
    pool, shares, gate = Jobs(4), SimpleQueue[int](), threading.Event()

    def work(cores: int) -> None:
        shares.put(cores)
        gate.wait(30)

    first = pool.start(work)
    assert shares.get(timeout=30) == 4
    rest = [pool.start(work) for _ in range(3)]
    assert [shares.get(timeout=30) for _ in rest] in ([2, 1, 1], [1, 1, 1], [2, 2, 1], [2, 1, 2])
    gate.set()
    for number in (*reversed(rest), first):
        assert pool.wait((number, 0)) == 0


def test_starting_waits_for_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MOST", 2)
    monkeypatch.setattr(jobs, "_PATIENCE", 0.01)
    pool, told = Jobs(1), threading.Event()
    numbers = [pool.start(lambda cores: None) for _ in range(2)]
    started: list[int] = []
    late = threading.Thread(target=lambda: started.append(pool.start(lambda cores: None)))
    monkeypatch.setattr(jobs.log, "warning", lambda *_: told.set())
    late.start()
    assert told.wait(30) and not started
    pool.wait((numbers[0], 0))
    late.join(30)
    assert started == [3] and pool.wait((3, 0)) == pool.wait((numbers[1], 0)) == 0


def test_a_failure_that_nobody_waits_for_is_not_lost() -> None:
    def fail(cores: int) -> None:
        raise UsageError("It broke.")

    pool = Jobs(1)
    number, after = pool.start(fail), pool.start(lambda cores: None)
    pool.wait((after, 0))
    assert [str(error) for error in pool.unheard()] == ["It broke."]
    with pytest.raises(UsageError, match="It broke"):
        pool.wait((number, 0))
    assert not pool.unheard()


@pytest.mark.parametrize("value", [1, None, "ab", (1,), (1, 0, 0), ("1", 0), {1: 0}])
def test_only_the_tuple_is_waited_for(value: object) -> None:
    with pytest.raises(TypeError, match="takes the tuple"):
        Jobs(1).wait(value)


def test_cores_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert jobs.cores() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    most = jobs.cores()
    monkeypatch.setenv("OMP_NUM_THREADS", "100000")
    assert jobs.cores() == most >= 1
