"""`unmask bench`: the benchmark of a checkout, started as a process, and its tables.

The engines beside Unmask's are no part of the product, so they live in benchmarks/, which an installed package leaves
out and a checkout (what `make setup` installs) has beside this folder.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.report import number, percent
from deploy.tables import columns
from xmodel.errors import UnavailableError, UsageError

ROOT = Path(__file__).resolve().parents[1]
SMALL_SHARE = 0.005  # of a run's time: an op with less has no line of its own
MOST = 1024  # images a batch, threads, rounds


@dataclass(frozen=True, slots=True)
class BenchJob:
    """What is measured."""

    models: tuple[str, ...] = ("uynet-lite", "uynet")
    batches: tuple[int, ...] = (1, 8)
    threads: tuple[int, ...] = (1, 2)
    rounds: int = 7
    quiet: bool = False

    @staticmethod
    def quick(quiet: bool) -> BenchJob:
        """A look in about a minute: the light network, one image, one thread."""
        return BenchJob(("uynet-lite",), (1,), (1,), 3, quiet)


def whole_numbers(text: str, option: str) -> tuple[int, ...]:
    """`1,8` as numbers. Raises `UsageError`."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 0 < int(part) <= MOST for part in parts):
        raise UsageError(f"{option} {text!r} is no list of numbers from 1 to {MOST}.", hint=f"Example: {option} 1,8")
    return tuple(int(part) for part in parts)


def run_bench(job: BenchJob, root: Path = ROOT, module: str = "speed") -> dict[str, Any]:
    """The benchmark's results: machine, peaks, and a table for each network, batch and number of threads.

    `module` is that of benchmarks/ which measures; "layer_profile" gives a profile where "speed" gives a table. Raises
    `UsageError` for an unknown network and `UnavailableError` outside a checkout or when the run fails.
    """
    from model import registry

    for name in job.models:
        registry.find(name)
    if not (root / f"benchmarks/{module}.py").is_file():
        raise UnavailableError("The benchmark is not installed.", hint="Run it in a checkout of the repository.")
    arguments = {
        "--models": ",".join(job.models),
        "--batch": ",".join(map(str, job.batches)),
        "--threads": ",".join(map(str, job.threads)),
        "--rounds": str(job.rounds),
    }
    command = [sys.executable, "-m", f"benchmarks.{module}", *(part for item in arguments.items() for part in item)]
    noise = subprocess.DEVNULL if job.quiet else None
    done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, stderr=noise, text=True)
    if done.returncode:
        raise UnavailableError(
            f"The benchmark ended with status {done.returncode}.", hint=f"Run it by itself: {' '.join(command)}"
        )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def machine(facts: Mapping[str, Any]) -> str:
    """What was measured on, in a line or two."""
    has = ", ".join(facts["instructions"]) or "none that is known here"
    load = "" if facts["load"] is None else f" Load average {facts['load'][0]:.1f}."
    line = f"{facts['cpu']}, {facts['cores']} cores; instructions: {has}.{load}"
    if facts["native_bfloat16"]:
        return line
    return f"{line}\nThis CPU has no bfloat16 instructions: torch emulates them."


def shown(found: Mapping[str, Any]) -> str:
    """The results for a person."""
    lines = [machine(found["machine"])]
    for peak in found["peaks"]:
        speed = f"{peak['products_per_second'] / 1e9:.0f} billion products a second"
        lines.append(f"Measured INT8 peak, {_threads(peak['threads'])}, {peak['instructions']}: {speed}.")
    for item in found["tables"]:
        lines += ["", table(item)]
        lines += [f"Skipped: {name}; {why}" for name, why in item["skipped"].items()]
    return "\n".join([*lines, "", load_table(found["tables"])])


def shown_profiles(found: Mapping[str, Any]) -> str:
    """Profiles for a person: where the time of the kernels goes, op by op."""
    lines = [machine(found["machine"])]
    for item in found["profiles"]:
        lines += ["", profile(item)]
    return "\n".join(lines)


def profile(item: Mapping[str, Any]) -> str:
    """One network, batch and number of threads, in the order of a run; what takes next to nothing is one line."""
    head = f"{item['model']}, batch {item['batch']}, {_threads(item['threads'])}, {item['kernels']} kernels"
    numbers = ("ms/image", "CPU ms", "share", "GMAC/s")
    shown = [row for row in item["rows"] if row["share"] >= SMALL_SHARE]
    rest = [row for row in item["rows"] if row["share"] < SMALL_SHARE]
    rows = [
        [
            f"{row['type']} {'x'.join(map(str, row['shape'][1:]))}",
            *_times(row["ms_per_image"], row["cpu_ms_per_image"], row["share"]),
            "–" if row["products_per_second"] is None else number(row["products_per_second"] / 1e9, 1),
        ]
        for row in shown
    ]
    keys = ("ms_per_image", "cpu_ms_per_image", "share")
    for title, group in ((f"{len(rest)} others", rest), ("together", item["rows"])):
        rows.append([title, *_times(*(sum(row[key] for row in group) for key in keys)), "–"])
    return columns((head, *numbers), rows, numbers)


def _times(wall: float, cpu: float, share: float) -> tuple[str, str, str]:
    return number(wall, 2), number(cpu, 2), percent(share)


def table(item: Mapping[str, Any]) -> str:
    """One network, batch and number of threads, fastest first."""
    head = f"{item['model']}, batch {item['batch']}, {_threads(item['threads'])}"
    numbers = ("ms/image", "FPS", "ratio", "CPU ms", "CPU ratio", "of the peak", "memory")
    rows = [
        [
            row["title"],
            number(row["ms_per_image"], 1),
            number(row["fps"], 1),
            _ratio(row["ratio"]),
            number(row["cpu_ms_per_image"], 1),
            _ratio(row["cpu_ratio"]),
            "–" if row["peak_share"] is None else percent(row["peak_share"]),
            f"{row['peak_kib'] / 1024:.0f} MB",
            _exact(row["equal"]),
        ]
        for row in sorted(item["rows"].values(), key=lambda row: row["ms_per_image"])
    ]
    return columns((head, *numbers, "exact"), rows, numbers)


def load_table(tables: Sequence[Mapping[str, Any]]) -> str:
    """From file to first answer, in the first table of each network; imports apart."""
    first = {item["model"]: item for item in reversed(tables)}
    keys = ("load_seconds", "load_cpu_seconds", "import_seconds")
    numbers = ("seconds", "CPU seconds", "imports before that")
    rows = [
        [row["title"], model, *(number(row[key], 2) for key in keys)]
        for model, item in reversed(first.items())
        for row in item["rows"].values()
    ]
    return columns(("from file to first answer", "network", *numbers), rows, numbers)


def _threads(count: int) -> str:
    return f"{count} thread" if count == 1 else f"{count} threads"


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}×"


def _exact(equal: float | None) -> str:
    if equal is None:
        return "float"
    return "yes" if equal == 1 else f"no, {percent(equal)} equal"
