"""The engine: order, tails, failures, stops; the same results whatever the threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from itertools import count

import numpy as np
import pytest

from runtime.engine import Failure, Result, Statistics, run
from runtime.null import NullRunner
from xmodel.errors import ArtifactError, UnavailableError, UsageError
from xmodel.graph import Array, Tensor

INPUT = Tensor("x", (1, 2, 2, 3), "XINT8")
OUTPUT = Tensor("y", (1, 3), "XINT8")


class Doubler:
    """y = the first pixel plus the batch's size in the last channel; optionally late, or failing."""

    def __init__(self, delay: float = 0.0, fail_at: int | None = None) -> None:
        self.batch = 8
        self.inputs: tuple[Tensor, ...] = (INPUT,)
        self.outputs: tuple[Tensor, ...] = (OUTPUT,)
        self.delay, self.fail_at, self.sizes = delay, fail_at, list[int]()
        self.numbers = count()
        self.most_in_flight = 0
        self.jobs: dict[int, tuple[Array, Array]] = {}

    def execute_async(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> int:
        number = next(self.numbers)
        self.sizes.append(len(inputs["x"]))
        self.jobs[number] = inputs["x"], outputs["y"]
        self.most_in_flight = max(self.most_in_flight, len(self.jobs))
        return number

    def wait(self, job: int) -> None:
        if job == self.fail_at:
            raise RuntimeError("compute unit timeout")
        time.sleep(self.delay)
        x, y = self.jobs.pop(job)
        y[...] = x[:, 0, 0]

    def close(self) -> None:
        pass


def load(source: int) -> Array:
    """A picture of the number; sources below 0 are unreadable."""
    if source < 0:
        raise ArtifactError("This image cannot be decoded: broken.", where=str(source))
    return np.full((2, 2, 3), source % 100, np.int8)


def collect(
    sources: list[int], runners: list[Doubler], workers: int = 3
) -> tuple[Statistics, list[Result[int] | Failure[int]]]:
    seen: list[Result[int] | Failure[int]] = []
    statistics = run(sources, load, runners, seen.append, seen.append, workers)
    return statistics, seen


@pytest.mark.parametrize("threads", [1, 2, 5, 12])
def test_order_and_values_do_not_depend_on_threads(threads: int) -> None:
    runners = [Doubler(delay=0.001 * (i % 3)) for i in range(threads)]
    statistics, seen = collect(list(range(100)), runners, workers=threads)
    assert [r.index for r in seen] == list(range(100)) == [r.source for r in seen]
    assert all(isinstance(r, Result) and r.outputs["y"].tolist() == [r.source] * 3 for r in seen)
    assert sorted(size for r in runners for size in r.sizes) == [4] + [8] * 12
    assert (statistics.items, statistics.failures, statistics.jobs, statistics.threads) == (100, 0, 13, threads)


def test_a_runner_has_the_next_job_before_one_is_done() -> None:
    runner = Doubler(delay=0.01)
    collect(list(range(64)), [runner])
    assert runner.most_in_flight == 2


def test_failures_are_reported_in_place_and_cost_no_result() -> None:
    sources = [0, -1, 2, 3, -4, -5, 6, 7, 8, 9, 10, -11]
    statistics, seen = collect(sources, [Doubler()])
    assert [r.source for r in seen] == sources
    assert [r.source for r in seen if isinstance(r, Failure)] == [-1, -4, -5, -11]
    assert seen[1] == Failure(1, -1, "This image cannot be decoded: broken.")
    assert statistics.failures == 4 and statistics.jobs == 1


def test_more_failures_than_the_window_holds() -> None:
    sources = [0, 1, 2] + [-1] * 500 + [3] + [-1] * 500
    _, seen = collect(sources, [Doubler()])
    assert [r.source for r in seen] == sources
    assert [r.outputs["y"][0] for r in seen if isinstance(r, Result)] == [0, 1, 2, 3]


def test_only_failures() -> None:
    statistics, seen = collect([-1] * 30, [Doubler(), Doubler()])
    assert len(seen) == 30 and statistics.failures == 30 and statistics.jobs == 0 and statistics.fps == 0


def test_no_sources() -> None:
    statistics, seen = collect([], [Doubler()])
    assert seen == [] and statistics.items == 0


def test_an_array_that_does_not_fit_is_that_sources_failure() -> None:
    seen: list[Result[int] | Failure[int]] = []
    run([1, 2], lambda s: np.zeros((2, s, 3), np.int8), [Doubler()], seen.append, seen.append)
    assert isinstance(seen[0], Failure) and "int8 [2, 1, 3]; the network takes int8 [2, 2, 3]" in seen[0].reason
    assert isinstance(seen[1], Result)


def test_unexpected_exceptions_of_a_source_are_its_failure() -> None:
    def broken(source: int) -> Array:
        if source == 1:
            raise ZeroDivisionError
        return load(source)

    seen: list[Result[int] | Failure[int]] = []
    run([0, 1, 2], broken, [Doubler()], seen.append, seen.append)
    assert seen[1] == Failure(1, 1, "ZeroDivisionError")


def live_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name in ("decode", "runner")]


def test_a_failing_runner_stops_the_run_with_its_cause_and_keeps_what_was_done() -> None:
    seen: list[Result[int]] = []
    with pytest.raises(UnavailableError, match=r"failed on 16 to 23: compute unit timeout") as caught:
        run(range(1000), load, [Doubler(fail_at=2)], seen.append, lambda f: None)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert [r.index for r in seen] == list(range(16))
    assert live_threads() == []


def test_an_error_of_the_sink_stops_the_run() -> None:
    def sink(result: Result[int]) -> None:
        if result.index == 5:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        run(range(1000), load, [Doubler(), Doubler()], sink, lambda f: None)
    assert live_threads() == []


def test_an_error_of_the_sources_stops_the_run() -> None:
    def sources() -> Iterator[int]:
        yield from range(20)
        raise ValueError("no more video")

    with pytest.raises(ValueError, match="no more video"):
        run(sources(), load, [Doubler()], lambda r: None, lambda f: None)
    assert live_threads() == []


def test_interrupt_ends_every_thread_and_keeps_what_was_delivered() -> None:
    kept: list[int] = []

    def sink(result: Result[int]) -> None:
        kept.append(result.index)
        if result.index == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(count(), load, [Doubler(0.001), Doubler(0.001)], sink, lambda f: None, workers=4)
    assert kept == list(range(21)) and live_threads() == []


def test_endless_sources_are_taken_only_as_far_as_the_sink_keeps_up() -> None:
    taken: list[int] = []

    def sources() -> Iterator[int]:
        for number in count():
            taken.append(number)
            yield number

    def sink(result: Result[int]) -> None:
        time.sleep(0.002)
        assert len(taken) - result.index <= 3 * 8 + 2 * 2 + 1
        if result.index == 200:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(sources(), load, [Doubler()], sink, lambda f: None, workers=2)


def test_statistics_name_the_bottleneck() -> None:
    def slow(source: int) -> Array:
        time.sleep(0.004)
        return load(source)

    host = run(range(32), slow, [NullRunner((INPUT,), (OUTPUT,))], lambda r: None, lambda f: None, workers=1)
    assert host.bottleneck == "host" and host.host_ms >= 4
    device, _ = collect(list(range(32)), [Doubler(delay=0.05)])
    assert device.bottleneck == "device" and 5 <= device.device_ms <= 15
    assert 0 < device.fps < 32 / 0.2


def test_it_needs_a_runner_with_one_input() -> None:
    with pytest.raises(UsageError, match="needs a runner"):
        run([1], load, [], lambda r: None, lambda f: None)
    with pytest.raises(UsageError, match="one input; this one has 2"):
        run([1], load, [NullRunner((INPUT, INPUT), (OUTPUT,))], lambda r: None, lambda f: None)
