"""Where the time of Unmask's kernels goes, op by op: what `unmask bench --profile` prints.

    python -m benchmarks.layer_profile [--models uynet-lite,uynet] [--batch 1] [--threads 1] [--rounds 7]

The plan is that of a plain run: a concatenation that a convolution reads where it lies has no line. JSON on stdout.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.engine_case import products
from benchmarks.engines import Job
from benchmarks.speed import ROOT, machine, numbers, say
from runtime.emulator.program import KernelChoice, Program
from xmodel import file
from xmodel.artifact import json_text, versions
from xmodel.graph import Array, Graph


def timed(program: Program, feeds: Mapping[str, Array]) -> dict[str, tuple[float, float]]:
    """Seconds and CPU seconds of all threads by op, in the order of one run."""
    taken: dict[str, tuple[float, float]] = {}
    last = time.perf_counter(), time.process_time()

    def after(name: str) -> None:
        nonlocal last
        now = time.perf_counter(), time.process_time()
        before = taken.get(name, (0.0, 0.0))  # a batch may come in several pieces
        taken[name] = before[0] + now[0] - last[0], before[1] + now[1] - last[1]
        last = time.perf_counter(), time.process_time()

    program.run(feeds, after=after)
    return taken


def rows(graph: Graph, program: Program, feeds: Mapping[str, Array], rounds: int) -> list[dict[str, Any]]:
    """A row an op: medians of `rounds` runs in milliseconds an image, its share, billions of products a second."""
    timed(program, feeds)
    runs = [timed(program, feeds) for _ in range(rounds)]
    batch, counts = len(next(iter(feeds.values()))), products(graph)
    wall, cpu = (
        {name: statistics.median(run[name][kind] for run in runs) / batch for name in runs[0]} for kind in (0, 1)
    )
    total = sum(wall.values()) or 1.0
    return [
        {
            "op": name,
            "type": graph.op(name).type,
            "shape": list(graph.op(name).output.shape),
            "ms_per_image": wall[name] * 1000,
            "cpu_ms_per_image": cpu[name] * 1000,
            "share": wall[name] / total,
            "products_per_second": counts[name] / wall[name] if name in counts and wall[name] else None,
        }
        for name in wall
    ]


def profile(folder: Path, batch: int, threads: int, rounds: int, kernels: KernelChoice = "auto") -> dict[str, Any]:
    """The rows of the case in `folder` (see `benchmarks.engine_case`) and the kernels that they are of."""
    job, graph = Job(folder, batch, threads), file.read(folder / "compiled.xmodel")
    program = Program(graph, kernels)
    program.set_threads(threads)
    found = rows(graph, program, {program.inputs[0].name: job.images()}, rounds)
    return {"model": job.case["model"], "batch": batch, "threads": threads, "kernels": program.kernels, "rows": found}


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", default="uynet-lite,uynet")
    parser.add_argument("--batch", type=numbers, default=[1])
    parser.add_argument("--threads", type=numbers, default=[1])
    parser.add_argument("--rounds", type=int, default=7)
    chosen = parser.parse_args()
    profiles = []
    with tempfile.TemporaryDirectory(prefix="unmask-bench-") as scratch:
        for model in chosen.models.split(","):
            folder = Path(scratch) / model
            folder.mkdir()
            say(f"{model}: quantizing and compiling")
            subprocess.run([sys.executable, "-m", "benchmarks.engine_case", model, str(folder)], cwd=ROOT, check=True)
            for batch in chosen.batch:
                for threads in chosen.threads:
                    profiles.append(profile(folder, batch, threads, chosen.rounds))
    sys.stdout.write(json_text({"machine": machine(), "versions": versions(), "profiles": profiles}))


if __name__ == "__main__":
    main()
