"""The Python that has the vendor's quantizer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xmodel.errors import UnavailableError
from xmodel.python import PROBE_SECONDS, ask, search

WORKER = Path(__file__).parent / "worker.py"


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


def probe(python: Path, seconds: float = PROBE_SECONDS) -> Interpreter:
    """Ask one Python. Raises `UnavailableError` that says why it will not do."""
    answer = ask(python, WORKER, seconds)
    if answer.get("error"):
        raise UnavailableError(f"Its pytorch_nndct does not import: {answer['error']}", where=str(python))
    if not answer.get("nndct"):
        raise UnavailableError("It has no pytorch_nndct.", where=str(python))
    version, torch, nndct = (str(answer.get(name)) for name in ("python", "torch", "nndct"))
    return Interpreter(python, version, torch, nndct, bool(answer.get("cuda")))


def find(given: Path | None = None, seconds: float = PROBE_SECONDS) -> Interpreter:
    """The Python `given`, or the first of `xmodel.python.candidates` that has the vendor's quantizer.

    Raises `UsageError` for a path that is no program, `UnavailableError` that names what was searched.
    """
    wanted, instead = "The vendor's quantizer (pytorch_nndct)", "--backend unmask, which needs nothing"
    return search(given, probe, seconds, wanted, instead)
