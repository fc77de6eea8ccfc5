"""Reading and writing an .xmodel: this repository beside the vendor's library, time and peak memory.

    python benchmarks/xmodel_file.py [FILE] [--rounds 5] [--json OUT]

Without FILE: the float graph of the full-size network with random weights, 126 MB. Each round is a new process that
reads the file and writes it to another place; the two take turns and the median counts. The vendor's side is a small
C++ program against libxir (Debian: g++ libxir-dev libunilog-dev); without them only ours is measured.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xmodel.artifact import versions, write_json

_OURS = """
import json, re, sys, time
from pathlib import Path
from xmodel import file

def peak():
    return int(re.search("VmHWM:[ \\t]*([0-9]+)", Path("/proc/self/status").read_text())[1]) * 1024

before, start = peak(), time.perf_counter()
graph = file.read(Path(sys.argv[1]))
middle, after_read = time.perf_counter(), peak()
file.write(Path(sys.argv[2]), graph)
print(json.dumps({"ops": len(graph.ops), "read": middle - start, "write": time.perf_counter() - middle,
                  "before": before, "after_read": after_read, "peak": peak()}))
"""
_SOURCE = Path(__file__).with_suffix(".cpp")


def vendor(folder: Path) -> list[str] | None:
    """The command that runs the vendor's side, built in `folder`; None where it cannot be built."""
    if shutil.which("g++") is None:
        return None
    program = folder / "libxir"
    command = ["g++", "-O2", "-std=c++17", str(_SOURCE), "-o", str(program), "-lxir"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return [str(program)] if done.returncode == 0 else None


def full_size(folder: Path) -> Path:
    """The full-size network's float graph with random weights."""
    import numpy as np

    from model import registry
    from quantize.pipeline import float_graph
    from xmodel import file

    spec = registry.find("uynet")
    size = spec.preprocessing
    example = np.zeros((1, 3, size.height, size.width), np.float32)
    file.write(
        folder / "full.xmodel", float_graph(registry.load("uynet", None, seed=0), spec.class_name, example, size)
    )
    return folder / "full.xmodel"


def measure(commands: Mapping[str, Sequence[str]], path: Path, folder: Path, rounds: int) -> dict[str, dict[str, Any]]:
    """Medians for each command: seconds to read and to write, bytes of memory at the peak above the start."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            done = subprocess.run(
                [*command, str(path), str(folder / f"{name}.written")],
                capture_output=True,
                text=True,
                timeout=600,
                check=True,
            )
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
    return {name: _medians(runs) for name, runs in found.items()}


def _medians(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    def median(name: str) -> float:
        return float(statistics.median(run[name] for run in runs))

    return {
        "ops": runs[0]["ops"],
        "read_seconds": median("read"),
        "write_seconds": median("write"),
        "read_bytes": median("after_read") - median("before"),
        "peak_bytes": median("peak") - median("before"),
    }


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = arguments.file or full_size(folder)
        commands = {"unmask": [sys.executable, "-c", _OURS]}
        if other := vendor(folder):
            commands["libxir"] = other
        found = measure(commands, path.resolve(), folder, arguments.rounds)
        size = path.stat().st_size
    print(f"{size / 1e6:.1f} MB, {found['unmask']['ops']} ops, median of {arguments.rounds} processes")
    print(f"{'':8}{'read':>10}{'write':>10}{'memory, read':>16}{'at the peak':>14}")
    for name, item in found.items():
        print(
            f"{name:8}{item['read_seconds'] * 1e3:>7.0f} ms{item['write_seconds'] * 1e3:>7.0f} ms"
            f"{item['read_bytes'] / 1e6:>13.0f} MB{item['peak_bytes'] / 1e6:>11.0f} MB"
        )
    if "libxir" not in found:
        print("libxir: not measured; it needs g++, libxir-dev and libunilog-dev")
    if arguments.json:
        write_json(arguments.json, {"bytes": size, "rounds": arguments.rounds, "found": found, "versions": versions()})


if __name__ == "__main__":
    main()
