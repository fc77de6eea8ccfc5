"""What calibration costs: the quantizer's calibration beside a plain float forward of the same module.

    python benchmarks/calibration.py [--model uynet] [--images 16] [--batch 8] [--rounds 3] [--threads 1 2]
                                     [--json FILE]

Both run in this process over the same random images in the same batches, taking turns, so that what
disturbs the machine disturbs them alike; the medians count. A calibration is everything from the
float graph with its constants to positions and bias corrections: the search over the weights, every
batch, the merging. Capture, equalization and the writing of files are not in it, nor is the report.
The weights are random: the positions depend on them, the work hardly does.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model import registry
from quantize.approximate import approximate
from quantize.calibrate import Calibrator
from quantize.equalize import equalize
from quantize.pipeline import float_graph
from quantize.plan import plan
from xmodel.artifact import versions, write_json

MODELS = ("uynet", "uynet-lite")


@dataclass(frozen=True, slots=True)
class Cost:
    """Median seconds of one pass over all images, the CPU seconds of all threads in it, and the peak resident MiB."""

    wall: float
    cpu: float
    peak: float


def passes(model: str, images: int, batch: int) -> dict[str, Callable[[], None]]:
    """The float forward and the calibration of `model`, each a pass over the same batches."""
    module = registry.load(model, None, seed=0).eval()
    spec = registry.find(model)
    shape = (images, 3, spec.preprocessing.height, spec.preprocessing.width)
    data = np.random.default_rng(0).random(shape, np.float32)
    batches: Sequence[Tensor] = torch.split(torch.from_numpy(data), batch)
    graph = approximate(equalize(float_graph(module, spec.class_name, data[:1])))
    placed = plan(graph)

    def forward() -> None:
        with torch.inference_mode():
            for images in batches:
                module(images)

    def calibrate() -> None:
        calibrator = Calibrator(graph, placed)
        for images in batches:
            calibrator.observe(images)
        calibrator.finish()
        calibrator.bias_correction()

    return {"float forward": forward, "calibration": calibrate}


def measure(entrants: dict[str, Callable[[], None]], rounds: int) -> dict[str, Cost]:
    """Medians over `rounds`, the entrants taking turns; a first round warms up and is not counted."""
    taken: dict[str, list[Cost]] = {name: [] for name in entrants}
    for turn in range(rounds + 1):
        for name, run in entrants.items():
            _forget_peak()
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            cost = Cost(time.perf_counter() - wall, time.process_time() - cpu, _peak())
            if turn:
                taken[name].append(cost)
    return {name: _median(costs) for name, costs in taken.items()}


def _median(costs: list[Cost]) -> Cost:
    return Cost(*(statistics.median(getattr(cost, name) for cost in costs) for name in ("wall", "cpu", "peak")))


def _forget_peak() -> None:
    """Let Linux count the peak of resident memory anew (5 = reset VmHWM)."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak() -> float:
    """VmHWM in MiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", type=Path, help="write the numbers to this file too")
    chosen = parser.parse_args()
    rows = []
    print(f"{chosen.images} images in batches of {chosen.batch}, median of {chosen.rounds} rounds")
    print(f"{'':12}{'threads':>8}  {'':15}{'seconds':>9}{'CPU s':>9}{'peak MiB':>10}")
    for model in chosen.model:
        entrants = passes(model, chosen.images, chosen.batch)
        for threads in chosen.threads:
            torch.set_num_threads(threads)
            found = measure(entrants, chosen.rounds)
            for name, cost in found.items():
                rows.append({"model": model, "threads": threads, "what": name, **asdict(cost)})
                print(f"{model:12}{threads:>8}  {name:15}{cost.wall:9.2f}{cost.cpu:9.2f}{cost.peak:10.0f}")
            base, own = found.values()
            print(f"{'':12}{'':>8}  {'ratio':15}{own.wall / base.wall:8.2f}x{own.cpu / base.cpu:8.2f}x", flush=True)
    if chosen.json:
        setting = {"images": chosen.images, "batch": chosen.batch, "rounds": chosen.rounds}
        write_json(chosen.json, {**setting, "costs": rows, "versions": versions()})


if __name__ == "__main__":
    main()
