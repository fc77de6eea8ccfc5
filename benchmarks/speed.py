"""Every engine on the same networks in the same run: what `unmask bench` prints.

    python -m benchmarks.speed [--models uynet-lite,uynet] [--batch 1,8] [--threads 1,2] [--rounds 7]

An engine has a process of its own, so that thread pools do not fight; for each batch and number of threads all of
them stay loaded and take turns, so that what disturbs the machine disturbs them alike, and the median counts. CPU
time stands beside it: on a machine with other work it is the steadier number. JSON on stdout, progress on stderr.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import int8_peak
from benchmarks.engines import ENTRANTS
from xmodel.artifact import json_text, read_json, versions

ROOT = Path(__file__).resolve().parents[1]
SHORTEST = 0.2  # seconds a turn; a faster engine computes several times
PAUSE = 0.02  # seconds between turns, in which the last engine's threads stop spinning


@dataclass(frozen=True, slots=True)
class Setting:
    """One table."""

    model: str
    batch: int
    threads: int


class WorkerError(Exception):
    """An engine that cannot take part; the text says why."""


class Worker:
    """An engine in a process."""

    def __init__(self, name: str, folder: Path, setting: Setting) -> None:
        command = [sys.executable, "-m", "benchmarks.engine_worker", name, str(folder), str(setting.batch)]
        self._process = subprocess.Popen(
            [*command, str(setting.threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=environment(setting.threads), cwd=ROOT,
        )  # fmt: skip

    def ask(self, command: str) -> dict[str, Any]:
        """The answer to a command of `benchmarks.engine_worker`. Raises `WorkerError`."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(command + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerError(f"its process ended with status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "missing" in answer:
            raise WorkerError(missing(answer["missing"]))
        if "failed" in answer:
            raise WorkerError(str(answer["failed"]))
        return answer

    def end(self) -> None:
        """Stop the process."""
        self._process.kill()
        self._process.communicate()


def missing(module: str) -> str:
    """Why an engine without its module does not take part."""
    return f"{module} is not installed; the extra `bench` brings it: pip install -e '.[bench]'"


def environment(threads: int) -> dict[str, str]:
    """This process's environment, where every pool has `threads` threads and NumPy's BLAS one."""
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": "1"}


@contextmanager
def _loaded(names: Sequence[str], folder: Path, setting: Setting, skipped: dict[str, str]) -> Iterator[Any]:
    """(workers, their load answers) by name; those that cannot take part go to `skipped`."""
    with ExitStack() as stack:
        workers, loads = {}, {}
        for name in names:
            worker = Worker(name, folder, setting)
            stack.callback(worker.end)
            try:
                loads[name] = worker.ask("load")
                workers[name] = worker
            except WorkerError as error:
                skipped[name] = str(error)
        yield workers, loads


def turns(
    workers: Mapping[str, Worker], rounds: int, shortest: float = SHORTEST, pause: float = PAUSE
) -> dict[str, list[dict[str, Any]]]:
    """What each worker took in each round; all take turns. A first, shorter round warms up and is not counted."""
    times = {name: max(1, round(shortest / worker.ask("run 1")["seconds"])) for name, worker in workers.items()}
    taken: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
    for _ in range(rounds):
        for name, worker in workers.items():
            time.sleep(pause)
            taken[name].append(worker.ask(f"run {times[name]}"))
    return taken


def row(taken: Sequence[Mapping[str, float]], batch: int, products: int, peak: float | None) -> dict[str, Any]:
    """Medians of one engine's rounds; `products` an image, `peak` the CPU's products a second."""
    seconds = statistics.median(item["seconds"] for item in taken) / batch
    return {
        "ms_per_image": seconds * 1000,
        "cpu_ms_per_image": statistics.median(item["cpu_seconds"] for item in taken) / batch * 1000,
        "fps": 1 / seconds,
        "peak_share": None if peak is None else products / seconds / peak,
    }


def with_ratios(rows: Mapping[str, dict[str, Any]], ours: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`rows` with `ratio` and `cpu_ratio`: how many times as long as the fastest of `ours` an engine takes an image."""
    found = {name: dict(item) for name, item in rows.items()}
    for key, ratio in (("ms_per_image", "ratio"), ("cpu_ms_per_image", "cpu_ratio")):
        best = min((rows[name][key] for name in ours if name in rows), default=None)
        for item in found.values():
            item[ratio] = None if best is None else item[key] / best
    return found


def measure(
    folder: Path, setting: Setting, names: Sequence[str], rounds: int, peak: int8_peak.Peak | None
) -> dict[str, Any]:
    """One table: rows by engine and why others were skipped."""
    skipped: dict[str, str] = {}
    products = int(read_json(folder / "case.json")["products"])
    with _loaded(names, folder, setting, skipped) as (workers, loads):
        taken = turns(workers, rounds)
        rows = {
            name: {
                "title": ENTRANTS[name].title,
                **row(taken[name], setting.batch, products, peak.products if peak else None),
                **workers[name].ask("check"),
                **loads[name],
            }
            for name in workers
        }
    ours = [name for name in rows if ENTRANTS[name].ours]
    table = {"model": setting.model, "batch": setting.batch, "threads": setting.threads, "products": products}
    return {**table, "rows": with_ratios(rows, ours), "skipped": skipped}


def machine() -> dict[str, Any]:
    """What was measured on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = set(fields.get("flags", "").split())
    known = ("avx2", "avx_vnni", "avx512_vnni", "amx_int8", "avx512_bf16", "amx_bf16")
    return {
        "cpu": fields.get("model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "instructions": [name for name in known if name in flags],
        "native_bfloat16": bool(flags & {"avx512_bf16", "amx_bf16"}),
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
    }


def run(
    models: Sequence[str], batches: Sequence[int], threads: Sequence[int], names: Sequence[str], rounds: int
) -> dict[str, Any]:
    """Every table."""
    tables = []
    with tempfile.TemporaryDirectory(prefix="unmask-bench-") as scratch:
        program = int8_peak.program(Path(scratch))
        peaks = {count: int8_peak.measure(program, count) if program else None for count in threads}
        for model in models:
            folder = Path(scratch) / model
            folder.mkdir()
            say(f"{model}: quantizing, compiling, and the reference's answer")
            subprocess.run([sys.executable, "-m", "benchmarks.engine_case", model, str(folder)], cwd=ROOT, check=True)
            for batch in batches:
                for count in threads:
                    say(f"{model}: batch {batch}, {count} threads")
                    tables.append(measure(folder, Setting(model, batch, count), names, rounds, peaks[count]))
    measured = [
        {"threads": peak.threads, "instructions": peak.instructions, "products_per_second": peak.products}
        for peak in peaks.values() if peak
    ]  # fmt: skip
    return {"machine": machine(), "versions": versions(), "rounds": rounds, "peaks": measured, "tables": tables}


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


def numbers(text: str) -> list[int]:
    """`1,8` as numbers from 1 to 1024. Raises `ValueError`."""
    found = [int(part) for part in text.split(",")]
    if not all(0 < number <= 1024 for number in found):
        raise ValueError(text)
    return found


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", default="uynet-lite,uynet")
    parser.add_argument("--batch", type=numbers, default=[1, 8])
    parser.add_argument("--threads", type=numbers, default=[1, 2])
    parser.add_argument("--engines", default=",".join(ENTRANTS))
    parser.add_argument("--rounds", type=int, default=7)
    chosen = parser.parse_args()
    found = run(chosen.models.split(","), chosen.batch, chosen.threads, chosen.engines.split(","), chosen.rounds)
    sys.stdout.write(json_text(found))


if __name__ == "__main__":
    main()
