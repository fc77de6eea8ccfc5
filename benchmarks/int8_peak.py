"""The CPU's INT8 peak, measured: a C++ program of register-only sums with the best instructions there are."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from runtime.emulator.native import build

_SOURCE = Path(__file__).with_suffix(".cpp")
SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Peak:
    """Products of two int8 numbers a second, added up, on `threads` threads with `instructions`."""

    instructions: str
    threads: int
    products: float


def program(folder: Path) -> Path | None:
    """The measuring program, built in `folder`; None where there is no C++ compiler or not for this CPU."""
    compiler, made = build.compiler(), folder / "int8_peak"
    if compiler is None:
        return None
    flags = ["-std=c++17", "-O2", "-pthread", "-I", str(build.SOURCES)]
    command = [*compiler, *flags, str(_SOURCE), str(build.SOURCES / "target.cpp"), "-o", str(made)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return made if done.returncode == 0 else None


def measure(made: Path, threads: int) -> Peak | None:
    """What `threads` threads reach together, each in its best moment; None where the CPU has no such instructions."""
    command = [str(made), str(threads), str(SECONDS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode:
        return None
    instructions, products = done.stdout.split()
    return Peak(instructions, threads, float(products))
