"""`xir.tensor`, as releases before 1.3 have it."""

from __future__ import annotations

from runtime.dropin.tensor import Tensor

__all__ = ["Tensor"]
