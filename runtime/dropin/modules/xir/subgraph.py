"""`xir.subgraph`, as releases before 1.3 have it."""

from __future__ import annotations

from runtime.dropin.subgraph import Subgraph

__all__ = ["Subgraph"]
