"""`pynq_dpu` for applications that run under `unmask exec`: an overlay that is already there."""

from __future__ import annotations

from os import PathLike
from typing import Any

from runtime.dropin import session
from runtime.dropin.graph import Graph
from runtime.dropin.runner import Runner
from xmodel.errors import UsageError

__all__ = ["DpuOverlay"]

session.current().runs = True


class DpuOverlay:
    """Takes the name of a bit file, which it does not need; `runner` is that of the model loaded last."""

    def __init__(self, *_args: Any, **_options: Any) -> None:
        self.graph: Graph | None = None
        self.runner: Runner | None = None

    def load_model(self, model: str | PathLike[str]) -> None:
        """Make a runner of a file's first DPU subgraph. Raises `UsageError` for one without."""
        self.graph = Graph.deserialize(model)
        parts = self.graph.get_root_subgraph().toposort_child_subgraph()
        chosen = [part for part in parts if part.has_attr("device") and part.get_attr("device") == "DPU"]
        if not chosen:
            raise UsageError("This graph has no DPU subgraph.", where=str(model), hint="Compile it: `unmask compile`.")
        self.runner = Runner.create_runner(chosen[0], "run")
