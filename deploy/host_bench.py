"""`unmask bench --host`: how many crops a second the host passes to a device that takes no time.

On a card the host must not be what the run waits for, so everything but the device is measured: each step by itself on
one thread, then the engine with a runner that does nothing, with and without the files that `unmask infer` writes.
"""

from __future__ import annotations

import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from arch.anchors import ANCHORS
from deploy import journal
from deploy.crops import Crop
from deploy.infer import MASKS, SEGMENTATION, Sink
from deploy.journal import Journal
from deploy.judge import Judge
from deploy.report import number
from deploy.roles import Roles, real
from deploy.tables import columns
from runtime import plain_image
from runtime.engine import Result, run
from runtime.null import NullRunner
from runtime.preprocess import MAX_PIXELS, Pixels, decode, fit, to_int8
from xmodel.artifact import versions, write_bytes
from xmodel.graph import Op, Tensor, attrs
from xmodel.preprocess import Preprocessing

PUBLISHED = next(fps for anchor in ANCHORS if "U-YNet" in anchor.network for fps in anchor.fps.values())
SPEC, FIX_POINT = Preprocessing(224, 224), 6
KINDS = {"PNG": 224, "JPEG": 256}  # as the published crops, and as face detectors write them: pixels a side
INPUT = Tensor("image", (1, 224, 224, 3), "XINT8")
MASK = Tensor("mask", (1, 224, 224, 2), "XINT8", attrs(fix_point=4))
SCORE = Tensor("score", (1, 1), "XINT8", attrs(fix_point=4))
ROLES = Roles(Op("mask", "data-fix", {}, {}, MASK), Op("score", "data-fix", {}, {}, SCORE), sigmoid_on_host=True)


@dataclass(frozen=True, slots=True)
class HostJob:
    """`crops` go through the engine for each row, in each of `rounds`, of which the median counts. `files` are the
    different ones of each kind."""

    crops: int = 1000
    rounds: int = 3
    workers: tuple[int, ...] = (1, 2)
    files: int = 48


def run_host(job: HostJob) -> dict[str, Any]:
    """Measure on crops made here. Raises `UnavailableError` when there is no room for some hundred MB."""
    with tempfile.TemporaryDirectory(prefix="unmask-bench-") as scratch:
        folder = Path(scratch)
        files = {kind: make_crops(folder / kind, kind, side, job.files) for kind, side in KINDS.items()}
        return {
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
            "versions": versions(),
            "published_fps": PUBLISHED,
            "crops": job.crops,
            "kinds": {
                kind: {
                    "side": KINDS[kind],
                    "bytes": statistics.fmean(path.stat().st_size for path in paths),
                    "steps": steps(paths, folder, job.rounds),
                    "rows": rows(paths, folder, job),
                }
                for kind, paths in files.items()
            },
        }


def make_crops(folder: Path, kind: str, side: int, count: int) -> list[Path]:
    """`count` square files of noise whose detail falls off as a photograph's does; about as many bytes as face crops
    of that size."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    paths = [folder / f"v{n}_0_0.{kind.lower()}" for n in range(count)]
    for path in paths:
        image = np.full((side, side, 3), 128.0, np.float32)
        size, weight = 3, 60.0
        while size < side:
            layer = random.normal(0, 1, (size, size, 1)) + random.normal(0, 0.25, (size, size, 3))
            image += weight * cv2.resize(layer.astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
            size, weight = size * 2, weight * 0.52
        image += random.normal(0, 0.8, image.shape)
        stream = io.BytesIO()
        Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(stream, kind, quality=90)
        write_bytes(path, stream.getvalue())
    return paths


def steps(paths: Sequence[Path], folder: Path, rounds: int) -> dict[str, float]:
    """Milliseconds an image of each step by itself, on one thread with nothing beside it."""
    files = [plain_image.read(path) for path in paths]
    images = [_decoded(data, path) for data, path in zip(files, paths, strict=True)]
    small = [fit(image, SPEC) for image in images]
    outputs = example_outputs()
    with _sink(folder, paths, len(paths) * rounds) as sink:
        indices = iter(range(len(paths) * rounds))
        logits, p_real = collect(outputs)
        work: dict[str, tuple[Callable[..., Any], Sequence[Any]]] = {
            "read": (plain_image.read, paths),
            "decode": (lambda item: _decoded(*item), list(zip(files, paths, strict=True))),
            "resize": (lambda image: fit(image, SPEC), images),
            "quantize": (lambda image: to_int8(image, SPEC, FIX_POINT), small),
            "collect": (lambda _: collect(outputs), paths),
            "write": (lambda _: sink.take(next(indices), logits, p_real), paths),
        }
        taken: dict[str, list[float]] = {name: [] for name in work}
        for _ in range(rounds):
            for name, (function, items) in work.items():
                start = time.perf_counter()
                for item in items:
                    function(item)
                taken[name].append((time.perf_counter() - start) / len(items) * 1000)
    return {name: statistics.median(times) for name, times in taken.items()}


def rows(paths: Sequence[Path], folder: Path, job: HostJob) -> list[dict[str, Any]]:
    """The engine with a runner of no cost, for each number of workers, without and with writing files."""
    settings = [(workers, writes) for writes in (False, True) for workers in job.workers]
    taken: dict[tuple[int, bool], list[dict[str, Any]]] = {setting: [] for setting in settings}
    for _ in range(job.rounds):
        for workers, writes in settings:
            taken[workers, writes].append(sustained(paths, folder, job.crops, workers, writes))
    return [statistics_of(found) for found in taken.values()]


def statistics_of(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The round of the median speed."""
    return dict(sorted(found, key=lambda row: float(row["fps"]))[len(found) // 2])


def sustained(paths: Sequence[Path], folder: Path, crops: int, workers: int, writes: bool) -> dict[str, Any]:
    """One pass of `crops` crops from file to result."""
    runner = NullRunner((INPUT,), (MASK, SCORE))
    example = example_outputs()["mask"]  # the runner's own mask is empty, which would be written in less time
    with _sink(folder, paths, crops) as sink:

        def take(result: Result[Path]) -> None:
            logits, p_real = collect(result.outputs)
            if writes:
                sink.take(result.index, example, p_real)
            else:
                sink.judge.judge(sink.crops[result.index], logits, p_real)

        def fail(_: object) -> None:
            raise AssertionError("a crop that was made here is readable")

        cpu = time.process_time()
        found = run(islice(cycle(paths), crops), _load, [runner], take, fail, workers)
        cpu = time.process_time() - cpu
    return {
        "workers": workers,
        "writes": writes,
        "fps": found.fps,
        "times_published": found.fps / PUBLISHED,
        "cpu_ms": cpu / crops * 1000,
        "host_ms": found.host_ms,
        "sink_ms": found.sink_ms,
        "bottleneck": found.bottleneck,
    }


def collect(outputs: Mapping[str, NDArray[Any]]) -> tuple[NDArray[np.int8], float]:
    """Mask logits and P(real) of one crop's outputs, as `Deployed.run` makes them."""
    score = ROLES.p_real(real(outputs["score"].reshape(1, -1), SCORE))
    return outputs["mask"], float(score[0])


def example_outputs() -> dict[str, NDArray[np.int8]]:
    """Outputs of one crop: a round mask in some noise."""
    rows_, columns_ = np.ogrid[:224, :224]
    inside = (rows_ - 112) ** 2 + (columns_ - 100) ** 2 < 60**2
    mask = np.random.default_rng(0).integers(-9, 10, (224, 224, 2)).astype(np.int8)
    mask[..., 1] += np.where(inside, 20, -20).astype(np.int8)
    return {"mask": mask, "score": np.array([3], np.int8)}


def _load(path: Path) -> NDArray[np.int8]:
    return to_int8(decode(path, SPEC), SPEC, FIX_POINT)


def _decoded(data: bytes, path: Path) -> Pixels:
    pixels = plain_image.decode(data, MAX_PIXELS)
    return decode(path, SPEC) if pixels is None else pixels


@contextmanager
def _sink(folder: Path, paths: Sequence[Path], count: int) -> Iterator[Sink]:
    """What `infer` writes with, for `count` crops, in a folder that goes at the end."""
    crops = [Crop(path, f"{n}.png") for n, path in enumerate(islice(cycle(paths), count))]
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        out = Path(scratch)
        with journal.held(out, MASKS, afresh=True), closing(_journal(out)) as kept:
            yield Sink(crops, Judge(), out, kept)


def _journal(out: Path) -> Journal:
    return Journal(out, MASKS, SEGMENTATION, "", MASK.shape[1:], step=2.0**-4)


def shown(found: Mapping[str, Any]) -> str:
    """The results for a person."""
    load = "" if found["load"] is None else f" Load average {found['load'][0]:.1f}."
    lines = [f"The host without a device: {found['cores']} cores, {found['crops']} crops a row.{load}"]
    for kind, item in found["kinds"].items():
        title = f"{kind}, {item['side']}x{item['side']}, {item['bytes'] / 1000:.0f} kB"
        times = {**item["steps"], "sum": sum(item["steps"].values())}
        lines += ["", columns((title, *times), [["ms a crop on one thread", *_numbers(times.values())]], tuple(times))]
        numbers = ("workers", "FPS", "published", "CPU ms")
        lines += [
            "",
            columns(("with a device of no cost", *numbers, "waits for"), [_row(r) for r in item["rows"]], numbers),
        ]
    lines += ["", f"Published for the card, without the host's part: {found['published_fps']:.1f} FPS."]
    return "\n".join(lines)


def _numbers(values: Iterable[float]) -> list[str]:
    return [number(value, 2) for value in values]


def _row(row: Mapping[str, Any]) -> list[str]:
    waits = {"host": "decoding", "device": "the device", "sink": "writing" if row["writes"] else "collecting"}
    return [
        "masks and scores in files, as infer" if row["writes"] else "masks and scores in memory",
        str(row["workers"]),
        number(row["fps"], 0),
        f"{row['times_published']:.1f}×",
        number(row["cpu_ms"], 2),
        waits[row["bottleneck"]],
    ]
