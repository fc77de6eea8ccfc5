"""The engine: order, tails, failures, stops; the same results whatever the threads."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
import tracemalloc
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import engine
from runtime.engine import Failure, Result, Statistics, close, left_behind, run
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


def test_a_failing_runner_stops_the_run_with_its_cause_and_keeps_what_was_done() -> None:
    seen: list[Result[int]] = []
    with pytest.raises(UnavailableError, match=r"failed on 16 to 23: compute unit timeout") as caught:
        run(range(1000), load, [Doubler(fail_at=2)], seen.append, lambda f: None)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert [r.index for r in seen] == list(range(16))
    assert left_behind() == []


def test_an_error_of_the_sink_stops_the_run() -> None:
    def sink(result: Result[int]) -> None:
        if result.index == 5:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        run(range(1000), load, [Doubler(), Doubler()], sink, lambda f: None)
    assert left_behind() == []


def test_an_error_of_the_sources_stops_the_run() -> None:
    def sources() -> Iterator[int]:
        yield from range(20)
        raise ValueError("no more video")

    with pytest.raises(ValueError, match="no more video"):
        run(sources(), load, [Doubler()], lambda r: None, lambda f: None)
    assert left_behind() == []


def test_interrupt_ends_every_thread_and_keeps_what_was_delivered() -> None:
    kept: list[int] = []

    def sink(result: Result[int]) -> None:
        kept.append(result.index)
        if result.index == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(count(), load, [Doubler(0.001), Doubler(0.001)], sink, lambda f: None, workers=4)
    assert kept == list(range(21)) and left_behind() == []


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


class Mute(Doubler):
    """A device that hangs: `wait` of job number `hangs_at` returns when the test lets it."""

    def __init__(self, hangs_at: int, free: threading.Event) -> None:
        super().__init__()
        self.hangs_at, self.free = hangs_at, free

    def wait(self, job: int) -> None:
        if job == self.hangs_at:
            self.free.wait(60)
        super().wait(job)

    def close(self) -> None:
        self.free.wait(60)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Set at the end, so that no thread of a test outlives it."""
    monkeypatch.setattr(engine, "GRACE", 0.05)
    event = threading.Event()
    yield event
    event.set()
    while left_behind():
        time.sleep(0.001)


def test_a_device_that_never_answers_stops_the_run_and_hangs_nothing(free: threading.Event) -> None:
    seen: list[Result[int]] = []
    runner = Mute(2, free)
    with pytest.raises(UnavailableError, match=r"did not answer within 0.2 s on 16 to 23(; also|\.)"):
        run(range(1000), load, [runner], seen.append, lambda f: None, limit=0.2)
    assert [r.index for r in seen] == list(range(16))
    close([runner])
    assert left_behind() == ["unmask-runner", "unmask-close"]


def test_an_error_that_a_runner_explains_itself_names_its_items_too() -> None:
    class Watched(Doubler):
        def wait(self, job: int) -> None:
            raise UnavailableError("A job on the card gave no result.", hint="Reset it.")

    with pytest.raises(UnavailableError, match=r"gave no result") as caught:
        run(range(100), load, [Watched()], lambda r: None, lambda f: None)
    assert (caught.value.where, caught.value.hint) == ("0 to 7", "Reset it.")


def test_a_device_that_does_not_take_a_job_is_told_too(free: threading.Event) -> None:
    class Full(Doubler):
        def execute_async(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> int:
            free.wait(60)
            return super().execute_async(inputs, outputs)

    with pytest.raises(UnavailableError, match=r"did not answer within 0.1 s on 0 to 7\."):
        run(range(100), load, [Full()], lambda r: None, lambda f: None, limit=0.1)


def test_a_slow_device_within_its_limit_is_left_in_peace() -> None:
    seen: list[Result[int]] = []
    run(range(40), load, [Doubler(0.02), Doubler()], seen.append, lambda f: None, limit=30)
    assert len(seen) == 40 and left_behind() == []


def test_close_drops_what_a_runner_raises() -> None:
    class Broken(Doubler):
        def close(self) -> None:
            raise OSError("device gone")

    close([Broken(), Doubler()])
    assert left_behind() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains_what_is_in_flight(number: signal.Signals) -> None:
    kept: list[int] = []
    told: list[int] = []
    runners = [Doubler(0.002), Doubler(0.001)]

    def sink(result: Result[int]) -> None:
        kept.append(result.index)
        if result.index == 20:
            signal.raise_signal(number)

    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        run(count(), load, runners, sink, lambda f: None, workers=4, draining=lambda: told.append(len(kept)))
    assert told == [21] and signal.getsignal(number) == before and left_behind() == []
    assert kept == list(range(sum(size for r in runners for size in r.sizes))), "all that was started, no more"
    assert 24 <= len(kept) <= 21 + 3 * 16 + 8


def test_a_second_signal_stops_at_once(free: threading.Event) -> None:
    runner = Mute(1, free)

    def again() -> None:
        signal.raise_signal(signal.SIGINT)

    def sink(result: Result[int]) -> None:
        if result.index == 7:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(count(), load, [runner], sink, lambda f: None, draining=again)
    assert left_behind() == ["unmask-runner"]


def test_signals_are_left_alone_outside_of_the_main_thread_and_where_a_program_handles_them() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda *_: seen.append(1))
    try:
        thread = threading.Thread(target=collect, args=([1, 2], [Doubler()]))
        thread.start()
        thread.join()
        run(range(9), load, [Doubler()], lambda r: signal.raise_signal(signal.SIGTERM), lambda f: None)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [1] * 9


class Late(Doubler):
    """Jobs take random times and may be asked for by their numbers only once."""

    def __init__(self, seed: int, batch: int) -> None:
        super().__init__()
        self.batch, self.draw = batch, random.Random(seed)

    def wait(self, job: int) -> None:
        self.delay = self.draw.choice((0.0, 0.0, 0.0005))
        super().wait(job)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    sources=st.lists(st.integers(-3, 99), max_size=90),
    threads=st.sampled_from((1, 2, 5, 12)),
    workers=st.sampled_from((1, 2, 5, 12)),
    batch=st.sampled_from((1, 3, 4, 6, 8)),
    seed=st.integers(0, 9),
)
def test_nothing_is_lost_repeated_or_out_of_order(
    sources: list[int], threads: int, workers: int, batch: int, seed: int
) -> None:
    draw = random.Random(seed)
    delays = [draw.choice((0.0, 0.0, 0.0, 0.0003)) for _ in sources]

    def late(item: tuple[int, int]) -> Array:
        time.sleep(delays[item[0]])
        return load(item[1])

    seen: list[Result[tuple[int, int]] | Failure[tuple[int, int]]] = []
    runners = [Late(seed + n, batch) for n in range(threads)]
    found = run(enumerate(sources), late, runners, seen.append, seen.append, workers)
    assert [r.source for r in seen] == list(enumerate(sources))
    assert all(isinstance(r, Result) == (r.source[1] >= 0) for r in seen)
    assert all(r.outputs["y"].tolist() == [r.source[1]] * 3 for r in seen if isinstance(r, Result))
    assert (found.items, found.failures) == (len(sources), sum(s < 0 for s in sources))
    assert sum(size for r in runners for size in r.sizes) == found.items - found.failures
    assert all(not r.jobs for r in runners)


def test_the_engine_keeps_nothing_of_what_it_delivered() -> None:
    levels: list[int] = []

    def sink(result: Result[int]) -> None:
        if result.index % 1000 == 999:
            levels.append(tracemalloc.get_traced_memory()[0])

    image = np.zeros((2, 2, 3), np.int8)
    tracemalloc.start()
    try:
        runners = [NullRunner((INPUT,), (OUTPUT,)) for _ in range(2)]
        run(iter(range(10_000)), lambda _: image.copy(), runners, sink, lambda f: None)
    finally:
        tracemalloc.stop()
    assert len(levels) == 10
    assert max(levels[2:]) - levels[1] < 40_000, "a small object kept an item would take ten times that"


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory in use is read from Linux's /proc")
def test_a_hundred_thousand_crops_hold_memory_flat() -> None:
    levels: list[int] = []

    def sink(result: Result[int]) -> None:
        if result.index % 10_000 == 9_999:
            levels.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))

    crop, tensor = np.zeros((32, 32, 3), np.int8), Tensor("x", (1, 32, 32, 3), "XINT8")
    runners = [NullRunner((tensor,), (OUTPUT,)) for _ in range(2)]
    found = run(iter(range(100_000)), lambda _: crop.copy(), runners, sink, lambda f: None)
    assert found.items == 100_000 and len(levels) == 10
    assert max(levels) - levels[0] < 8 << 20, "the crops together are 293 MiB"


def statistics(host: float, device: float, sink: float, threads: int = 1, workers: int = 2) -> Statistics:
    return Statistics(8, 0, 1, 1.0, threads, workers, host, 0.0, device, sink)


def test_threads_to_try_are_as_many_as_keep_up_with_the_host() -> None:
    assert statistics(host=2.0, device=25.0, sink=0.5).threads_to_try(64) == 25  # an item a millisecond
    assert statistics(host=2.0, device=25.0, sink=5.0).threads_to_try(64) == 5  # the sink is slower than that
    assert statistics(host=2.0, device=25.0, sink=0.5).threads_to_try(2) == 2  # the emulator's cores
    assert statistics(host=9.0, device=0.1, sink=0.1, threads=4).threads_to_try(64) == 1
    assert statistics(host=0.0, device=5.0, sink=0.0).threads_to_try(64) == 64
    assert statistics(host=1.0, device=0.0, sink=1.0, threads=3).threads_to_try(64) == 3
    assert statistics(host=8.0, device=25.0, sink=1.0).device_busy == 0.2  # 8 items in a second
    assert statistics(host=8.0, device=3.0, sink=1.0).bottleneck == "host"
    assert statistics(host=8.0, device=6.0, sink=5.0).bottleneck == "device"
    assert statistics(host=8.0, device=6.0, sink=7.0).bottleneck == "sink"


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
