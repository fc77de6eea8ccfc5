"""What `unmask exec` gives an application to run with: kernels, the vendor's parameters, a compiler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from arch.targets import DEFAULT, find
from compile.decode.parameters import with_parameters
from compile.pipeline import compile_graph
from deploy.kernels import KernelChoice
from runtime.dropin.launch import launch
from runtime.dropin.session import Session, use
from xmodel.graph import Graph


def session(kernels: KernelChoice, note: Callable[[str], None]) -> Session:
    """A session that runs files of the vendor's compiler and of its quantizer as well."""

    def compiled(graph: Graph) -> Graph:
        return compile_graph(graph, find(DEFAULT))

    return Session(kernels, prepare=with_parameters, compile=compiled, note=note)


def run(app: Path, arguments: Sequence[str], kernels: KernelChoice, note: Callable[[str], None]) -> int:
    """Run `app` as this process; its exit code. See `launch`."""
    use(session(kernels, note))
    return launch(app, arguments)
