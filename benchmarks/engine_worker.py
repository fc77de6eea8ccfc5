"""One engine in a process of its own, so that thread pools do not fight: `python -m benchmarks.engine_worker`.

Arguments: engine, folder, batch, threads. It answers each line on stdin with a line of JSON: "load" makes the engine
and computes once, "run N" computes N times, "check" compares the integers with expected.npz and tells the peak memory
up to then. What libraries print goes to stderr.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.engines import ENTRANTS, Engine, Job
from xmodel.errors import UnmaskError

_OUR_MODULES = ("runtime.emulator.program", "runtime.emulator.native.native_selftest", "xmodel.file")


def memory(field: str) -> int:
    """KiB of VmRSS or VmHWM of this process, 0 where the system does not tell."""
    try:
        found = re.search(rf"{field}:\s*(\d+)", Path("/proc/self/status").read_text(encoding="ascii"))
    except OSError:
        return 0
    return int(found[1]) if found else 0


class Worker:
    """The commands, by name."""

    def __init__(self, name: str, job: Job) -> None:
        self._entrant, self._job = ENTRANTS[name], job
        self._engine: Engine | None = None
        self._imported = 0

    def load(self) -> dict[str, Any]:
        """Seconds of the imports, and from file to first answer."""
        if self._entrant.onnx and importlib.util.find_spec("onnx") is None:
            raise ModuleNotFoundError("No ONNX model could be written.", name="onnx")
        start = time.perf_counter()
        for module in (self._entrant.module, *(_OUR_MODULES if self._entrant.ours else ())):
            importlib.import_module(module)
        if self._entrant.ours and self._entrant.module == "torch":
            importlib.import_module("runtime.emulator.torch_selftest")
        imported = time.perf_counter()
        self._imported = memory("VmRSS")
        processor = time.process_time()
        engine = self._engine = self._entrant.make(self._job)
        engine.run()
        answered, worked = time.perf_counter(), time.process_time()
        return {
            "import_seconds": imported - start,
            "load_seconds": answered - imported,
            "load_cpu_seconds": worked - processor,
        }

    def run(self, times: int) -> dict[str, Any]:
        """Seconds and CPU seconds of one computation, the mean of `times`."""
        assert self._engine is not None
        start, processor = time.perf_counter(), time.process_time()
        for _ in range(times):
            self._engine.run()
        wall, cpu = time.perf_counter() - start, time.process_time() - processor
        return {"seconds": wall / times, "cpu_seconds": cpu / times}

    def check(self) -> dict[str, Any]:
        """Peak memory beyond the imports, and the share of output integers that are the reference's."""
        assert self._engine is not None
        peak = max(0, memory("VmHWM") - self._imported)
        found = self._engine.integers()
        if found is None:
            return {"peak_kib": peak, "equal": None}
        with np.load(self._job.folder / "expected.npz") as expected:
            wanted = [expected[name] for name in expected.files]
        same = [int((a.reshape(b.shape) == b).sum()) for a, b in zip(found, wanted, strict=True)]
        return {"peak_kib": peak, "equal": sum(same) / sum(array.size for array in wanted)}


def main() -> None:
    """Serve until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    name, folder, batch, threads = sys.argv[1:]
    worker = Worker(name, Job(Path(folder), int(batch), int(threads)))
    for line in sys.stdin:
        command, *rest = line.split()
        try:
            answer = worker.run(int(rest[0])) if rest else {"load": worker.load, "check": worker.check}[command]()
        except ImportError as error:
            answer = {"missing": error.name or str(error)}
        except UnmaskError as error:
            answer = {"failed": f"{error.where}: {error.what}" if error.where else error.what}
        except (RuntimeError, MemoryError) as error:
            answer = {"failed": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
