"""The Python that has the vendor's quantizer: where it is looked for, and how it is asked."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xmodel.conda import ROOTS, entered, prefixes
from xmodel.errors import UnavailableError, UnmaskError, UsageError
from xmodel.process import stream

WORKER = Path(__file__).parent / "worker.py"
MARK = "@unmask "
PROBE_SECONDS = 120.0  # a first import of torch from a container's cold disk takes a minute


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python with pytorch_nndct: its path and versions, and whether its torch sees a GPU."""

    path: Path
    python: str
    torch: str
    nndct: str
    cuda: bool

    def __str__(self) -> str:
        return f"pytorch_nndct {self.nndct}, torch {self.torch}, Python {self.python} ({self.path})"


def event(line: str) -> dict[str, Any] | None:
    """The worker's own message in a line of output, or None."""
    if not line.startswith(MARK):
        return None
    try:
        value = json.loads(line[len(MARK) :])
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def candidates() -> Iterator[Path]:
    """Pythons to ask, in order: this one; the active conda environment; environments `vitis-ai-*` of the
    usual conda roots, those for torch first; python3 and python on the PATH (a container's own)."""
    yield Path(sys.executable)
    yield from (prefix / "bin" / "python" for prefix in prefixes())
    for name in ("python3", "python"):
        path = shutil.which(name)
        if path:
            yield Path(path)


def environment(python: Path) -> Mapping[str, str]:
    """This process's environment, as far as it suits another Python; a conda environment's is entered."""
    return {**entered(python), "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", "PYTHONDONTWRITEBYTECODE": "1"}


def probe(python: Path, seconds: float = PROBE_SECONDS) -> Interpreter:
    """Ask one Python. Raises `UnavailableError` that says why it will not do."""
    told: list[dict[str, Any]] = []
    said: list[str] = []

    def heard(line: str) -> None:
        found = event(line)
        if found is not None:
            told.append(found)
        elif line.strip():
            said[:] = [line.strip()]

    code = stream([str(python), "-u", str(WORKER), "probe"], Path.cwd(), environment(python), heard, seconds)
    if code or not told:
        last = f": {said[0]}" if said else ""
        raise UnavailableError(f"It ended with exit code {code}{last}", where=str(python))
    answer = told[-1]
    if answer.get("error"):
        raise UnavailableError(f"Its pytorch_nndct does not import: {answer['error']}", where=str(python))
    if not answer.get("nndct"):
        raise UnavailableError("It has no pytorch_nndct.", where=str(python))
    version, torch, nndct = (str(answer.get(name)) for name in ("python", "torch", "nndct"))
    return Interpreter(python, version, torch, nndct, bool(answer.get("cuda")))


def find(given: Path | None = None, seconds: float = PROBE_SECONDS) -> Interpreter:
    """The Python `given`, or the first of `candidates` that has the vendor's quantizer.

    Raises `UsageError` for a path that is no program, `UnavailableError` that names what was searched.
    """
    if given is not None:
        program = shutil.which(str(given))
        if program is None:
            raise UsageError(f"There is no program {str(given)!r}.", hint="Give the vendor's Python to --vitis-python.")
        return probe(Path(program).absolute(), seconds)
    reasons: dict[str, str] = {}
    for path in candidates():
        if str(path) in reasons or not path.is_file():
            continue
        try:
            return probe(path, seconds)
        except UnmaskError as error:
            reasons[str(path)] = error.what
    searched = "; ".join(f"{path} ({reason.rstrip('.')})" for path, reason in reasons.items())
    raise UnavailableError(
        f"The vendor's quantizer (pytorch_nndct) was not found. Asked: {searched}. Looked for conda environments "
        f"vitis-ai-* under {', '.join(ROOTS)}.",
        hint="Name its Python with --vitis-python, run inside the vendor's container, or use --backend unmask, "
        "which needs nothing.",
    )
