"""Average-pool constants of the DPU."""

from __future__ import annotations

import pytest

from quantize.approximate import average_scale


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [((2, 2), 1.0), ((3, 3), 0.984375), ((5, 5), 250 / 256), ((6, 6), 252 / 256), ((7, 7), 1029 / 1024),
     ((14, 14), 4116 / 4096), ((4, 4), 1.0), ((10, 10), 4100 / 4096), ((3, 5), 255 / 256)],
)  # fmt: skip
def test_average_scale(kernel: tuple[int, int], expected: float) -> None:
    assert average_scale(*kernel) == expected
