"""The Python that has the vendor's runtime, xir and vart."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xmodel.errors import UnavailableError
from xmodel.python import PROBE_SECONDS, ask, search

WORKER = Path(__file__).parent / "worker.py"
_VERSION = re.compile(r"(?:(?:vart|xir)-|lib(?:vart-runner|xir)\.so\.)(\d{1,4}(?:\.\d{1,4}){1,3})(?:-.*)?")


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python with xir and vart; `release` is the version that their packages' or libraries' names give ("2.5.0")."""

    path: Path
    python: str
    numpy: str
    release: str | None

    def __str__(self) -> str:
        return f"VART {self.release or 'of unknown version'}, Python {self.python} ({self.path})"


def probe(python: Path, seconds: float = PROBE_SECONDS) -> Interpreter:
    """Ask one Python. Raises `UnavailableError` that says why it will not do."""
    answer = ask(python, WORKER, seconds)
    lacks = answer.get("lacks")
    if not isinstance(lacks, list) or lacks:
        missing = " and ".join(map(str, lacks)) if isinstance(lacks, list) else "xir"
        raise UnavailableError(f"It has no {missing}.", where=str(python))
    if answer.get("error"):
        raise UnavailableError(f"Its xir and vart do not import: {answer['error']}", where=str(python))
    libraries = answer.get("libraries")
    names = [str(name) for name in libraries] if isinstance(libraries, list) else []
    return Interpreter(python, str(answer.get("python")), str(answer.get("numpy")), release(names))


def release(libraries: Sequence[str]) -> str | None:
    """The version in the names of the vendor's packages, or else of its libraries.

    >>> release(["librt-engine.so", "libxir.so.2.5.0"]), release(["vart-3.0.0-h1_0.json"])
    ('2.5.0', '3.0.0')
    """
    found = (_VERSION.fullmatch(name) for name in sorted(libraries, reverse=True))
    return next((match[1] for match in found if match), None)


def find(given: Path | None = None, seconds: float = PROBE_SECONDS) -> Interpreter:
    """The Python `given`, or the first of `xmodel.python.candidates` that has the vendor's runtime.

    Raises `UsageError` for a path that is no program, `UnavailableError` that names what was searched.
    """
    return search(given, probe, seconds, "A Python with the vendor's xir and vart", "--device emulator")
