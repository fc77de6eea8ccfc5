"""`xir` for applications that run under `unmask exec`."""

from __future__ import annotations

from runtime.dropin.graph import Graph
from runtime.dropin.op import Op
from runtime.dropin.subgraph import Subgraph
from runtime.dropin.tensor import DataType, Tensor

__all__ = ["DataType", "Graph", "Op", "Subgraph", "Tensor"]
