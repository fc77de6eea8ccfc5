"""`vart` for applications that run under `unmask exec`."""

from __future__ import annotations

from runtime.dropin import session
from runtime.dropin.runner import Runner, RunnerExt
from runtime.dropin.tensor_buffer import TensorBuffer

__all__ = ["Runner", "RunnerExt", "TensorBuffer"]

session.current().runs = True
