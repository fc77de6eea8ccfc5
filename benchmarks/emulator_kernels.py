"""How fast the emulator runs: its reference and torch kernels beside torch's own float forward, in one run.

    python benchmarks/emulator_kernels.py [--full] [--batch 8] [--rounds 7] [--threads N] [--json FILE]

All candidates run in this process on the same batch, taking turns, so that what disturbs the machine
disturbs them alike; the median counts. The int8 candidates compute the same bytes, which is checked.
The weights are random: speed does not depend on them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from arch.targets import DEFAULT, find
from compile.pipeline import compile_graph
from model import registry
from quantize.pipeline import float_graph, quantize_graph
from runtime.emulator.program import Program
from xmodel.artifact import versions, write_json

CALIBRATION = 4  # random images: enough for a graph whose speed is measured, not its accuracy


@dataclass(frozen=True, slots=True)
class Candidate:
    """`run` processes `images` images."""

    name: str
    images: int
    run: Callable[[], Any]


def candidates(model: str, batch: int) -> list[Candidate]:
    """The emulator's two kernel sets and the float network, single precision and bfloat16."""
    random = np.random.default_rng(0)
    spec = registry.find(model)
    height, width = spec.preprocessing.height, spec.preprocessing.width
    module = registry.load(model, None, seed=0)
    calibration = [random.random((1, 3, height, width), np.float32) for _ in range(CALIBRATION)]
    graph = float_graph(module, spec.class_name, calibration[0], spec.preprocessing)
    compiled = compile_graph(quantize_graph(graph, calibration).graph, find(DEFAULT))
    fast, slow = Program(compiled, "torch"), Program(compiled, "reference")
    feed = {fast.inputs[0].name: random.integers(-128, 128, (batch, height, width, 3), np.int8)}
    one = {name: values[:1] for name, values in feed.items()}
    _demand_same_bytes(fast.run(one), slow.run(one))
    floats = torch.rand(batch, 3, height, width).to(memory_format=torch.channels_last)
    network = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(autocast: bool) -> None:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            network(floats)

    return [
        Candidate("emulator, torch kernels, int8", batch, lambda: fast.run(feed)),
        Candidate("emulator, reference, int8", 1, lambda: slow.run(one)),
        Candidate("torch float32", batch, lambda: forward(False)),
        Candidate("torch bfloat16", batch, lambda: forward(True)),
    ]


def _demand_same_bytes(fast: dict[str, Any], slow: dict[str, Any]) -> None:
    for name, values in slow.items():
        if not np.array_equal(fast[name], values):
            raise SystemExit(f"{name}: the torch kernels and the reference give different bytes.")


def measure(entrants: list[Candidate], rounds: int) -> dict[str, float]:
    """Median milliseconds an image, the candidates taking turns; the first round warms up and is not counted."""
    taken: dict[str, list[float]] = {entrant.name: [] for entrant in entrants}
    for turn in range(rounds + 1):
        for entrant in entrants:
            start = time.perf_counter()
            entrant.run()
            if turn:
                taken[entrant.name].append((time.perf_counter() - start) * 1000 / entrant.images)
    return {name: statistics.median(times) for name, times in taken.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--full", action="store_true", help="the published size (uynet) instead of uynet-lite")
    parser.add_argument("--batch", type=int, default=8, help="images a call; the reference runs one")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="write the numbers to this file too")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    model = "uynet" if chosen.full else "uynet-lite"
    found = measure(candidates(model, chosen.batch), chosen.rounds)
    base = found["torch float32"]
    print(f"{model}, batch {chosen.batch}, {chosen.threads} threads, median of {chosen.rounds} rounds")
    print(f"{'':32}{'ms/image':>10}{'images/s':>10}{'x float32':>11}")
    for name, milliseconds in found.items():
        print(f"{name:32}{milliseconds:10.2f}{1000 / milliseconds:10.1f}{base / milliseconds:10.2f}x")
    if chosen.json:
        setting = {"model": model, "batch": chosen.batch, "threads": chosen.threads, "rounds": chosen.rounds}
        write_json(chosen.json, {**setting, "milliseconds_per_image": found, "versions": versions()})


if __name__ == "__main__":
    main()
