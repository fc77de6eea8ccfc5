"""Piecewise arithmetic against torch on the whole tensor."""

from __future__ import annotations

import math

import pytest
import torch

from quantize import pieces, rounding
from quantize.pieces import PIECE, Difference, Span


def _edges(fix_point: int, kind: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(fix_point)
    step = 2.0**-fix_point
    x = torch.randn(70_000, generator=generator) * 60 * step
    below_half = torch.nextafter(torch.tensor(0.5), torch.tensor(0.0))
    edges = torch.tensor([0.5, -0.5, 1.5, -1.5, 126.5, 127.4, 127.5, -128.5, -200.0, 0.0, below_half, -below_half])
    x[: len(edges)] = edges * step
    x[100:200] = torch.arange(-50, 50) * step + step / 2  # ties
    return x.abs() if kind == "positive" else x


@pytest.mark.parametrize("fix_point", [-3, 0, 4, 7])
@pytest.mark.parametrize("kind", ["positive", "signed", "weights"])
def test_rounding_is_the_definition(fix_point: int, kind: str) -> None:
    x, step, weights = _edges(fix_point, kind), 2.0**-fix_point, kind == "weights"
    rounded = rounding.half_away if weights else rounding.half_up
    expected = rounded(x * 2.0**fix_point).clamp(-128, 127) * step
    found = rounding.to_grid(x, fix_point, weights=weights)
    assert torch.equal(found, expected)
    assert not torch.signbit(found[x.abs() < step / 4]).any()
    assert torch.equal(rounding.to_grid(x, fix_point, weights=weights, out=x), expected) and torch.equal(x, expected)


@pytest.mark.parametrize("fix_point", [-3, 0, 4, 7])
@pytest.mark.parametrize("kind", ["positive", "signed"])
def test_squared_error(fix_point: int, kind: str) -> None:
    x = _edges(fix_point, kind)[:PIECE]
    expected = float(((x - rounding.to_grid(x, fix_point)).double() ** 2).sum()) * 4.0**fix_point
    assert pieces.squared_error(x.numpy(), fix_point, Span.of(x)) == pytest.approx(expected, rel=1e-6)


def test_values_that_are_not_finite_saturate_or_stay_nan() -> None:
    x = torch.tensor([float("inf"), -float("inf"), float("nan"), 1.0])
    assert rounding.to_grid(x, 4)[:2].tolist() == [127 / 16, -8.0]
    assert math.isnan(rounding.to_grid(x, 4)[2]) and not Span.of(x).finite


def test_flat_is_memory_order_or_nothing() -> None:
    x = torch.arange(24, dtype=torch.float32).reshape(1, 2, 3, 4)
    last = x.contiguous(memory_format=torch.channels_last)
    assert pieces.flat(x) is not None and pieces.flat(x)[1] == 1  # type: ignore[index]
    assert pieces.flat(last)[1] == 12  # type: ignore[index]
    assert pieces.flat(x[:, :, :, ::2]) is None and pieces.flat(x.double()) is None and pieces.flat(x[:0]) is None


@pytest.mark.parametrize("shape", [(3, 5, 41, 37), (2, 64, 33, 31), (1, 1, 1, 1), (7, 300), (2, 3, 1, 1)])
@pytest.mark.parametrize("memory", ["channels first", "channels last"])
def test_difference_is_sums_over_the_tensor(shape: tuple[int, ...], memory: str) -> None:
    generator = torch.Generator().manual_seed(1)
    result, reference = torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)
    if memory == "channels last" and len(shape) == 4:
        result, reference = (t.contiguous(memory_format=torch.channels_last) for t in (result, reference))
    found = Difference.total(
        Difference.of(y, r) for y, r in zip(torch.split(result, 2), torch.split(reference, 2), strict=True)
    )
    error = (result - reference).double()
    assert found.noise == pytest.approx(float((error**2).sum()), rel=1e-6)
    assert found.signal == pytest.approx(float((reference.double() ** 2).sum()), rel=1e-6)
    torch.testing.assert_close(found.error, error.sum([d for d in range(error.ndim) if d != 1]), atol=1e-4, rtol=1e-5)
    assert found.count == error.numel()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_shares_come_back_in_order(threads: int) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        assert pieces.share(range(10, 17), lambda task: task * task) == [task * task for task in range(10, 17)]
    finally:
        torch.set_num_threads(before)
