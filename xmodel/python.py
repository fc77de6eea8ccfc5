"""The vendor's Python: where it is looked for, and how a worker file on it is asked what it has."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from xmodel.conda import ROOTS, entered, prefixes
from xmodel.errors import UnavailableError, UnmaskError, UsageError
from xmodel.process import stream

MARK = "@unmask "  # begins a worker's own line, among what the vendor's modules print
PROBE_SECONDS = 120.0  # a first import from a container's cold disk takes a minute

T = TypeVar("T")


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


def ask(python: Path, worker: Path, seconds: float) -> dict[str, Any]:
    """What `worker` answers to "probe" on one Python. Raises `UnavailableError` where it gives no answer."""
    told: list[dict[str, Any]] = []
    said: list[str] = []

    def heard(line: str) -> None:
        found = event(line)
        if found is not None:
            told.append(found)
        elif line.strip():
            said[:] = [line.strip()]

    code = stream([str(python), "-u", str(worker), "probe"], Path.cwd(), environment(python), heard, seconds)
    if code or not told:
        last = f": {said[0]}" if said else ""
        raise UnavailableError(f"It ended with exit code {code}{last}", where=str(python))
    return told[-1]


def search(given: Path | None, probe: Callable[[Path, float], T], seconds: float, wanted: str, instead: str) -> T:
    """What `probe` makes of the Python `given`, or of the first of `candidates` that it accepts.

    `wanted` names what is looked for, `instead` a way to do without it. Raises `UsageError` for a path that is no
    program, `UnavailableError` that names what was searched.
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
        f"{wanted} was not found. Asked: {searched}. Looked for conda environments "
        f"vitis-ai-* under {', '.join(ROOTS)}.",
        hint=f"Name its Python with --vitis-python, run inside the vendor's container, or use {instead}.",
    )
