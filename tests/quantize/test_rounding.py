"""Rounding and the position search, by hand-computed values."""

from __future__ import annotations

import pytest
import torch

from quantize import rounding
from quantize.pieces import Span


def test_half_up_and_half_away() -> None:
    x = torch.tensor([2.5, -2.5, 0.49999997, -0.5, 1.4999999, 3.5])
    assert rounding.half_up(x).tolist() == [3, -2, 0, 0, 1, 4]
    assert rounding.half_away(x).tolist() == [3, -3, 0, -1, 1, 4]


def test_grid_saturates() -> None:
    x = torch.tensor([1.0, -1.0, 0.3, 200.0])
    assert rounding.to_grid(x, 7).tolist() == [127 / 128, -1.0, 38 / 128, 127 / 128]
    assert rounding.to_grid(x, -1).tolist() == [2, 0, 0, 200]  # -0.5 rounds up to 0


@pytest.mark.parametrize(("high", "expected"), [(1.0, 6), (0.99, 7), (127.5, 0), (0.0, 18), (1000.0, -3)])
def test_first_position(high: float, expected: int) -> None:
    assert rounding.first_position(Span(0.0, high)) == expected


def test_search_trades_saturation_against_resolution() -> None:
    generator = torch.Generator().manual_seed(0)
    bulk = torch.rand(10_000, generator=generator) * 0.4
    assert rounding.search(torch.cat([bulk, torch.tensor([1.2])])) == 7  # saturating one value pays
    assert rounding.input_position(torch.cat([bulk, torch.tensor([1.2])])) == 6  # inputs never saturate


def test_search_is_clamped_and_skips_what_is_not_finite() -> None:
    assert rounding.search(torch.zeros(4)) == 12
    assert rounding.search(torch.tensor([1.0, float("nan")])) is None
    assert rounding.input_position(torch.tensor([float("inf")])) is None
