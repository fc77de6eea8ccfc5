"""`xir.op`, as releases before 1.3 have it."""

from __future__ import annotations

from runtime.dropin.op import Op

__all__ = ["Op"]
