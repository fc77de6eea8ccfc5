"""`vitis_ai_library` for applications that run under `unmask exec`."""

from __future__ import annotations

from runtime.dropin import session
from runtime.dropin.runner import GraphRunner

__all__ = ["GraphRunner"]

session.current().runs = True
