"""Rounding and the position search, by hand-computed values."""

from __future__ import annotations

import pytest
import torch

from quantize import pieces, rounding


def test_half_up_and_half_away() -> None:
    x = torch.tensor([2.5, -2.5, 0.49999997, -0.5, 1.4999999, 3.5])
    assert rounding.half_up(x).tolist() == [3, -2, 0, 0, 1, 4]
    assert rounding.half_away(x).tolist() == [3, -3, 0, -1, 1, 4]


def test_grid_saturates() -> None:
    x = torch.tensor([1.0, -1.0, 0.3, 200.0])
    assert rounding.to_grid(x, 7).tolist() == [127 / 128, -1.0, 38 / 128, 127 / 128]
    assert rounding.to_int8(x, -1).tolist() == [1, 0, 0, 100]  # -0.5 rounds up to 0


@pytest.mark.parametrize(("high", "expected"), [(1.0, 6), (0.99, 7), (127.5, 0), (0.0, 18), (1000.0, -3)])
def test_first_position(high: float, expected: int) -> None:
    assert rounding.first_position(torch.tensor([0.0, high])) == expected


def test_search_trades_saturation_against_resolution() -> None:
    generator = torch.Generator().manual_seed(0)
    bulk = torch.rand(10_000, generator=generator) * 0.4
    assert rounding.search(torch.cat([bulk, torch.tensor([1.2])])) == 7  # saturating one value pays
    assert rounding.input_position(torch.cat([bulk, torch.tensor([1.2])])) == 6  # inputs never saturate


def test_search_is_clamped_and_skips_what_is_not_finite() -> None:
    assert rounding.search(torch.zeros(4)) == 12
    assert rounding.search(torch.tensor([1.0, float("nan")])) is None
    assert rounding.input_position(torch.tensor([float("inf")])) is None


@pytest.mark.parametrize("fix_point", [-3, 0, 4, 7])
@pytest.mark.parametrize("kind", ["positive", "signed", "weights"])
def test_pieces_are_the_same_values(fix_point: int, kind: str) -> None:
    generator = torch.Generator().manual_seed(fix_point)
    step = 2.0**-fix_point
    x = torch.randn(70_000, generator=generator) * 60 * step
    below_half = torch.nextafter(torch.tensor(0.5), torch.tensor(0.0))
    edges = torch.tensor([0.5, -0.5, 1.5, -1.5, 126.5, 127.4, 127.5, -128.5, -200.0, 0.0, below_half, -below_half])
    x[: len(edges)] = edges * step
    x[100:200] = torch.arange(-50, 50) * step + step / 2  # ties
    x = x.abs() if kind == "positive" else x
    rounded = rounding.half_away if kind == "weights" else rounding.half_up
    expected = rounded(x * 2.0**fix_point).clamp(-128, 127) * step
    assert torch.equal(pieces.to_grid(x, fix_point, kind == "weights"), expected)
    assert torch.equal(pieces.squared_errors(x, fix_point, kind == "weights"), (x - expected) ** 2)
    assert not torch.signbit(pieces.to_grid(x, fix_point, kind == "weights")[x.abs() < step / 4]).any()
