"""What the drop-in modules of this process run with: kernels, and what the command above gives them to use."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from runtime.emulator.program import KernelChoice
from xmodel.errors import UnmaskError
from xmodel.graph import Graph

Change = Callable[[Graph], Graph]


def _same(graph: Graph) -> Graph:
    return graph


def _ignore(_text: str) -> None:
    """Take a note that nobody reads."""


@dataclass(slots=True)
class Session:
    """`prepare` puts parameters back into a graph that the vendor compiled; `compile` makes a deployable graph of a
    quantizer's; `note` tells the user a line. `runs` says that the application imported what runs networks."""

    kernels: KernelChoice = "auto"
    prepare: Change = _same
    compile: Change | None = None
    note: Callable[[str], None] = _ignore
    runs: bool = False
    told: set[Path] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def opened(self, graph: Graph, path: Path) -> Graph:
        """`graph` as read from `path`, compiled when it has to be to be run."""
        if not (self.runs and self.compile is not None and _quantized(graph)):
            return graph
        with self.lock:
            first = path not in self.told
            self.told.add(path)
        try:
            compiled = self.compile(graph)
        except UnmaskError as error:
            if first:
                self.note(f"{path} is not compiled, and cannot be: {error}")
            return graph
        if first:
            self.note(f"{path} is not compiled; it is compiled here, for this run. `unmask compile` does it once.")
        return compiled


def _quantized(graph: Graph) -> bool:
    """Whether it is what a quantizer writes: float ops with `fix` among them, not divided."""
    types = {op.type for op in graph.ops}
    divided = graph.root is not None and bool(graph.root.children)
    return "fix" in types and not divided and not any(kind.endswith("-fix") for kind in types)


_current: list[Session] = []


def current() -> Session:
    """The session of this process; one that an application started by itself has one like its parent's."""
    if not _current:
        from runtime.dropin.child import inherited

        _current[:] = [inherited() or Session()]
    return _current[0]


def use(session: Session) -> None:
    """Make `session` that of this process, for what is opened and created from here on."""
    _current[:] = [session]
