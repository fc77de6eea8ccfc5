"""Where the reference data lies, for tests that compare with the vendor's tools."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"

needs_shared = pytest.mark.skipif(
    not (SHARED / "goldens").is_dir(), reason="the reference data is not beside this checkout (../shared)"
)
