"""Why the vendor's compiler failed: its fatal code in words, the op it is likely about, the log folder it leaves."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from arch.targets import Target
from compile.inspect import inspect
from compile.vitis.log import MEANINGS, Log
from xmodel.errors import ArtifactError, UnavailableError, UnmaskError
from xmodel.graph import Graph

_OWN = "--backend unmask compiles without the vendor's tool, for the emulator."
_KEPT = 1 << 16  # bytes of each file in the compiler's own log folder
_ABORTS = (-6, 134)  # SIGABRT, as seen directly and through a shell

_HARMLESS = ("sigmoid", "softmax")  # the compiler leaves them to the CPU without a word


@dataclass(frozen=True, slots=True)
class Case:
    """What was to be compiled: `source` for `target` as `name`, with everything said kept in the file `log`."""

    target: Target
    name: str
    source: Graph
    log: Path


def own_log(found: Log, start: float, temporary: Path, keep: Callable[[str], object]) -> str:
    """What is to be said of the log folder that the compiler left since `start`; what its files hold goes to `keep`.

    `temporary` is what the compiler knows as /tmp.
    """
    told = Path(found.folder) if found.folder else None
    inside = told is not None and told.is_relative_to("/tmp")
    folder = temporary / told.relative_to("/tmp") if told is not None and inside else told
    folder = folder or _newest(start, temporary)
    if folder is None or not folder.is_dir():
        return "The compiler left no log folder."
    texts = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)[:50]
    for path in texts:
        with suppress(OSError), path.open("rb") as stream_:
            stream_.seek(max(0, path.stat().st_size - _KEPT))
            text = stream_.read(_KEPT).decode(errors="replace")
            keep(f"== {path}\n{text}\n")
            found.tail += text.splitlines()
    return f"Its own log folder {folder} {'is copied below ours' if texts else 'is empty'}."


def _newest(start: float, temporary: Path) -> Path | None:
    """The youngest folder <temporary>/<user>/log/xcompiler-<time>-<pid> that was made since `start`."""
    found: list[tuple[float, Path]] = []
    for path in temporary.glob("*/log/xcompiler-*"):
        with suppress(OSError):
            changed = path.stat().st_mtime
            if changed >= start - 1:
                found.append((changed, path))
    return max(found)[1] if found else None


def failure(case: Case, found: Log, code: int, kept: str) -> UnmaskError:
    """The error for a run that failed: what was said, what it means, the op it is likely about, and where to look."""
    where = str(case.log)
    fatal = found.fatal
    if fatal is not None and "UNREGISTERED_TARGET" in fatal.code:
        releases = ", ".join(case.target.releases) or "no release in the table"
        return UnavailableError(
            f"The vendor's compiler does not know {case.target.name}: {fatal}",
            where=where,
            hint=f"That target belongs to Vitis AI {releases}: use that release's compiler, or another target.",
        )
    suspect = _suspect(found, case.source, case.target)
    if fatal is not None:
        meaning = MEANINGS.get(fatal.code, "The code is in no list of known ones.")
        return ArtifactError(
            f"The vendor's compiler refused the network: {fatal} {meaning} {suspect}", where=where,
            hint=f"{kept} `unmask inspect` tells for every op what the target takes. {_OWN}",
        )  # fmt: skip
    if code in _ABORTS or found.aborted:
        told = "aborted without naming a reason"
    elif code < 0:
        told = f"was ended by signal {-code}"
    elif code:
        told = f"ended with exit code {code}"
    else:
        told = f"ended with exit code 0 and wrote no {case.name}.xmodel"
    last = next((line for line in reversed(found.tail) if line), "nothing")
    return UnavailableError(
        f"The vendor's compiler {told}. It last said: {last[:300]} {suspect}", where=where, hint=f"{kept} {_OWN}"
    )


def _suspect(found: Log, source: Graph, target: Target) -> str:
    """The op that the failure is likely about: one that the log names, else one that the target does not take."""
    text = "\n".join(found.tail)
    named = [(at, op) for op in source.ops if not op.is_const and (at := _last(op.name, text)) >= 0]
    if named:
        op = max(named, key=lambda found: (found[0], len(found[1].name)))[1]
        return f"The log names op {op.name!r} ({op.type})."
    with suppress(UnmaskError):
        problem = next((op for op in inspect(source, target).problems if op.type not in _HARMLESS), None)
        if problem is not None:
            return f"It names no op; likely {problem.name!r} ({problem.type}): {problem.rule}."
    return "It names no op, and the target should take them all."


def _last(name: str, text: str) -> int:
    """Where `text` has `name` as a whole word for the last time, or -1; names of one letter are too likely chance."""
    found = re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", text) if len(name) > 1 else iter(())
    return max((match.start() for match in found), default=-1)
