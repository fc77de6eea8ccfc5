"""`xir.graph`, as releases before 1.3 have it."""

from __future__ import annotations

from runtime.dropin.graph import Graph

__all__ = ["Graph"]
