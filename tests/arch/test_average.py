"""The DPU's averaging constants."""

from __future__ import annotations

from arch.average import average_factor


def test_average_factors_of_the_hardware() -> None:
    sizes = [(1, 1), (2, 2), (3, 3), (5, 5), (6, 6), (7, 7), (14, 14), (10, 10), (3, 5), (8, 8)]
    assert [average_factor(*size) for size in sizes] == [
        (1, 0), (1, 2), (7, 6), (10, 8), (7, 8), (21, 10), (21, 12), (41, 12), (17, 8), (1, 6),
    ]  # fmt: skip
