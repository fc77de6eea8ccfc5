"""What the worker's process costs a batch, beside calling the vendor's modules in this process.

    python benchmarks/card_worker.py [--rounds 300] [--job-ms 25.25]

There is no card here: the tests' stand-in for vart takes jobs and does nothing with them, at once or after the time
that a batch takes on a card (8 crops at the published 316.8 a second by default). Batches are those of U-YNet: 8 x
224 x 224 x 3 in, masks of 8 x 224 x 224 x 2 and 8 scores out, int8. Medians over rounds.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from runtime.vitis.runner import CardRunner, open_runners
from tests.runtime.vitis import tool
from xmodel.graph import Array, Graph, Op, Subgraph, Tensor, attrs

SHAPES = {"x": (224, 224, 3), "mask": (224, 224, 2), "score": (1,)}
FLYING = 2  # jobs in flight, as the engine has them
BATCH = 8


def network() -> Graph:
    """The outside of a compiled U-YNet."""

    def op(name: str, type_: str, *inputs: str) -> Op:
        tensor = Tensor(name, (1, *SHAPES[name]), "XINT8", attrs(fix_point=6))
        return Op(name, type_, {"input": inputs} if inputs else {}, {}, tensor)

    ops = (op("x", "data-fix"), op("mask", "download", "x"), op("score", "download", "x"))
    card = attrs(device="DPU", runner={"run": "librt-engine.so"})
    children = (Subgraph("in", ("x",), attrs=attrs(device="USER")), Subgraph("card", ("mask", "score"), attrs=card))
    return Graph("UNet", ops, root=Subgraph("root", children=children))


def microseconds(job: Callable[[], None], rounds: int) -> float:
    """The median of `rounds` calls."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        job()
        times.append((time.perf_counter() - start) * 1e6)
    return statistics.median(times)


def arrays(*names: str) -> dict[str, Array]:
    """A batch of each tensor."""
    return {name: np.ones((BATCH, *SHAPES[name]), np.int8) for name in names}


def in_process(delay: float, ahead: int) -> Callable[[], None]:
    """A job through the stand-in in this process, with `ahead` more of them on their way."""
    xir: Any = importlib.import_module("xir")
    vart: Any = importlib.import_module("vart")
    vart.DELAY = delay / 1000
    graph: Any = xir.Graph.deserialize(__file__)
    runner = vart.Runner.create_runner(graph.get_root_subgraph().toposort_child_subgraph()[1], "run")
    images, made = list(arrays("x").values()), [*reversed(arrays("mask", "score").values())]
    jobs = [runner.execute_async(images, made) for _ in range(ahead)]

    def job() -> None:
        jobs.append(runner.execute_async(images, made))
        runner.wait(jobs.pop(0))

    return job


def flying(runner: CardRunner) -> Callable[[], None]:
    """A job through the worker, with `FLYING` of them on their way: starts the next one, waits for the oldest."""
    images = arrays("x")
    outputs = [arrays("mask", "score") for _ in range(FLYING)]
    jobs = [runner.execute_async(images, made) for made in outputs[1:]]

    def job() -> None:
        outputs.append(outputs.pop(0))
        jobs.append(runner.execute_async(images, outputs[-1]))
        runner.wait(jobs.pop(0))

    return job


def worker(delay: float, job: Callable[[CardRunner], Callable[[], None]], rounds: int) -> float:
    """Microseconds a batch of `job` on a new worker."""
    os.environ["STANDIN_DELAY"] = str(delay)
    (runner,) = open_runners(network(), Path(__file__), Path(sys.executable), 1)
    try:
        return microseconds(job(runner), rounds)
    finally:
        runner.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--job-ms", type=float, default=8 / 316.8 * 1000, help="a batch on the card")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        tool.describe(network(), Path(name))
        settings = {"STANDIN_ANSWERS": name, "STANDIN_FAULT": "null", "STANDIN_AT": "-1", "STANDIN_BATCH": str(BATCH)}
        os.environ |= {**settings, "STANDIN_DELAY": "0", "PYTHONPATH": str(tool.TOOL)}
        sys.path.insert(0, str(tool.TOOL))
        images, made = arrays("x"), arrays("mask", "score")

        def alone(runner: CardRunner) -> Callable[[], None]:
            return lambda: runner.wait(runner.execute_async(images, made))

        def lines(runner: CardRunner) -> Callable[[], None]:
            process = runner._card.worker
            return lambda: process.wait(process.run(0, 0, 0))

        rounds, ms = given.rounds, given.job_ms
        few, busy = max(8, rounds // 4), f"a card that takes {ms:.2f} ms, {FLYING} in flight"
        results = {
            "in this process": microseconds(in_process(0, 0), rounds),
            "worker, control lines alone": worker(0, lines, rounds),
            "worker, one job at a time": worker(0, alone, rounds),
            f"worker, {FLYING} jobs in flight": worker(0, flying, rounds),
            f"in this process, {busy}": microseconds(in_process(ms, FLYING - 1), few),
            f"worker, {busy}": worker(ms, flying, few),
        }
    for what, value in results.items():
        print(f"{what:<65} {value:9.0f} us a batch")


if __name__ == "__main__":
    main()
