"""One core for each test process: the suite may run many of them."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True, scope="session")
def single_threaded() -> None:
    """torch's own pool would fight the test processes for the cores."""
    import torch

    torch.set_num_threads(1)
