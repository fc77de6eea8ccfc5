"""How fast the emulator runs: its kernel sets beside torch's own float forward, in one run.

    python benchmarks/emulator_kernels.py [--full] [--batch 8] [--rounds 7] [--threads N] [--weights FILE]
                                          [--kernels-only] [--json FILE]

All candidates run in this process on the same batch, taking turns, so that what disturbs the machine
disturbs them alike; the median counts. CPU time is shown too, for on a shared machine it is steadier. The int8
candidates compute the same bytes, which is checked. Without --weights: the shipped ones, random ones where none
are. The native kernels' AVX2 path is faster the smaller the weights are beside the largest of their layer, and
random ones are the worst case; nothing else depends on them.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from arch.targets import DEFAULT, find
from compile.pipeline import compile_graph
from model import registry
from quantize.pipeline import float_graph, quantize_graph
from runtime.emulator.program import KernelChoice, Program
from xmodel.artifact import versions, write_json
from xmodel.errors import UnavailableError
from xmodel.graph import Graph

SETS: tuple[KernelChoice, ...] = ("native", "torch")
CALIBRATION = 4  # random images: enough for a graph whose speed is measured, not its accuracy


@dataclass(frozen=True, slots=True)
class Candidate:
    """`run` processes `images` images."""

    name: str
    images: int
    run: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds an image, medians: by the clock, and of all cores together."""

    wall: float
    cpu: float


def candidates(setting: argparse.Namespace) -> list[Candidate]:
    """The emulator's kernel sets and the float network, single precision and bfloat16."""
    model, batch = setting.model, setting.batch
    random = np.random.default_rng(0)
    spec = registry.find(model)
    height, width = spec.preprocessing.height, spec.preprocessing.width
    shipped = setting.weights or spec.weights
    module = registry.load(model, shipped, seed=None if shipped else 0)
    calibration = [random.random((1, 3, height, width), np.float32) for _ in range(CALIBRATION)]
    graph = float_graph(module, spec.class_name, calibration[0], spec.preprocessing)
    compiled = compile_graph(quantize_graph(graph, calibration).graph, find(DEFAULT))
    sets = {name: program for name in SETS if (program := loaded(compiled, name)) is not None}
    source = compiled.inputs[0].output.name
    feed = {source: random.integers(-128, 128, (batch, height, width, 3), np.int8)}
    one = {name: values[:1] for name, values in feed.items()}
    slow = Program(compiled, "reference")
    wanted = slow.run(one)
    for name, program in sets.items():
        program.set_threads(setting.threads)
        _demand_same_bytes(name, program.run(one), wanted)
    fast = [
        Candidate(f"emulator, {name} kernels, int8", batch, partial(program.run, feed))
        for name, program in sets.items()
    ]
    if setting.kernels_only:
        return fast
    floats = torch.rand(batch, 3, height, width).to(memory_format=torch.channels_last)
    network = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(autocast: bool) -> None:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            network(floats)

    return [
        *fast,
        Candidate("emulator, reference, int8", 1, lambda: slow.run(one)),
        Candidate("torch float32", batch, lambda: forward(False)),
        Candidate("torch bfloat16", batch, lambda: forward(True)),
    ]


def loaded(graph: Graph, kernels: KernelChoice) -> Program | None:
    """The program on a kernel set; None, and a line that says why, where the set cannot be used."""
    start = time.perf_counter()
    try:
        program = Program(graph, kernels)
    except UnavailableError as error:
        print(error, file=sys.stderr)
        return None
    print(f"{kernels} kernels ready after {time.perf_counter() - start:.2f} s", file=sys.stderr)
    return program


def _demand_same_bytes(name: str, fast: dict[str, Any], slow: dict[str, Any]) -> None:
    for tensor, values in slow.items():
        if not np.array_equal(fast[tensor], values):
            raise SystemExit(f"{tensor}: the {name} kernels and the reference give different bytes.")


def measure(entrants: list[Candidate], rounds: int) -> dict[str, Times]:
    """Median times, the candidates taking turns; the first round warms up and is not counted."""
    wall: dict[str, list[float]] = {entrant.name: [] for entrant in entrants}
    cpu: dict[str, list[float]] = {entrant.name: [] for entrant in entrants}
    for turn in range(rounds + 1):
        for entrant in entrants:
            start, used = time.perf_counter(), time.process_time()
            entrant.run()
            if turn:
                wall[entrant.name].append((time.perf_counter() - start) * 1000 / entrant.images)
                cpu[entrant.name].append((time.process_time() - used) * 1000 / entrant.images)
    return {name: Times(statistics.median(wall[name]), statistics.median(cpu[name])) for name in wall}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--full", action="store_true", help="the published size (uynet) instead of uynet-lite")
    parser.add_argument("--batch", type=int, default=8, help="images a call; the reference runs one")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--weights", type=Path, help="float weights of the network")
    parser.add_argument("--kernels-only", action="store_true", help="leave out the reference and torch's float forward")
    parser.add_argument("--json", type=Path, help="write the numbers to this file too")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    chosen.model = "uynet" if chosen.full else "uynet-lite"
    found = measure(candidates(chosen), chosen.rounds)
    base = found.get("torch float32") or list(found.values())[-1]
    print(f"{chosen.model}, batch {chosen.batch}, {chosen.threads} threads, median of {chosen.rounds} rounds")
    print(f"{'':32}{'ms/image':>10}{'CPU ms':>10}{'images/s':>10}{'speedup':>10}")
    for name, times in found.items():
        print(f"{name:32}{times.wall:10.2f}{times.cpu:10.2f}{1000 / times.wall:10.1f}{base.wall / times.wall:9.2f}x")
    if chosen.json:
        setting = {"model": chosen.model, "batch": chosen.batch, "threads": chosen.threads, "rounds": chosen.rounds}
        milliseconds = {name: times.wall for name, times in found.items()}
        used = {name: times.cpu for name, times in found.items()}
        record = {**setting, "milliseconds_per_image": milliseconds, "cpu_milliseconds_per_image": used}
        write_json(chosen.json, {**record, "versions": versions()})


if __name__ == "__main__":
    main()
