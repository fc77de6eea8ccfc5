"""The shortened search against the definition: every candidate's float32 sum over the whole tensor."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quantize import race, rounding
from quantize.pieces import Span, flat

SHAPES = ["normal", "relu", "heavy", "uniform", "grid", "two grids", "sparse", "constant", "tiny beside large"]


def _tensor(kind: str, size: int, scale: float, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(size, generator=generator)
    uniform = torch.rand(size, generator=generator)
    made = {
        "normal": normal,
        "relu": normal.clamp(min=0),
        "heavy": normal / (uniform + 0.01),
        "uniform": uniform,
        "grid": (normal * 40).round().clamp(-128, 127) / 64,
        "two grids": torch.cat([(normal[::2] * 40).round() / 16, (normal[1::2] * 300).round() / 512]),
        "sparse": torch.where(uniform < 0.02, normal, torch.zeros(size)),
        "constant": torch.full((size,), float(uniform[0])),
        "tiny beside large": torch.where(uniform < 0.5, normal * 1e-20, normal),
    }
    return made[kind] * scale


def _candidates(x: torch.Tensor) -> range:
    start = rounding.first_position(Span.of(x))
    return range(start, start + 5)


@given(
    kind=st.sampled_from(SHAPES),
    size=st.integers(1, 3000),
    exponent=st.floats(-8, 30),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=300, deadline=None)
def test_the_search_is_the_definition(kind: str, size: int, exponent: float, seed: int) -> None:
    x = _tensor(kind, size, 2.0**exponent, seed)
    expected = min(rounding.least_error(x, _candidates(x)), rounding.MAX_FIX_POINT)
    with patch.object(race, "PIECE", 64):  # many pieces, so that runners are dropped on the way
        assert rounding.search(x) == expected


@given(kind=st.sampled_from(SHAPES), size=st.integers(1, 3000), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_the_least_is_always_among_the_contenders(kind: str, size: int, seed: int) -> None:
    x = _tensor(kind, size, 1.0, seed)
    elements = flat(x)
    assert elements is not None
    with patch.object(race, "PIECE", 64):
        left = race.contenders(elements, _candidates(x), Span.of(x))
    assert rounding.least_error(x, _candidates(x)) in left


@pytest.mark.parametrize(("bulk", "winner"), [(2498, 7), (2499, 7), (2500, 8)])
def test_near_ties_are_left_to_the_definition(bulk: int, winner: int) -> None:
    # in steps of 1/256: at position 8 only the largest value errs, by 50; at 7 every value errs, by 1
    x = torch.cat([torch.full((bulk,), 101 / 256), torch.tensor([177 / 256])])
    elements = flat(x)
    assert elements is not None
    assert list(race.contenders(elements, _candidates(x), Span.of(x))) == [7, 8]
    assert rounding.search(x) == winner  # the first of equals at 2499


def test_one_thread_and_two_agree_on_several_pieces() -> None:
    x = _tensor("heavy", 300_000, 3.0, 5)
    threads = torch.get_num_threads()
    try:
        found = []
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(rounding.search(x))
    finally:
        torch.set_num_threads(threads)
    assert found[0] == found[1] == rounding.least_error(x, _candidates(x))


@pytest.mark.parametrize("pieces", [1, 2, 3, 4, 10, 97])
def test_pieces_are_visited_once_each(pieces: int) -> None:
    assert sorted(race._spread(pieces)) == list(range(pieces))


def test_an_exact_fit_ends_the_search() -> None:
    x = torch.arange(-128, 128, dtype=torch.float32).repeat(20) / 32
    elements = flat(x)
    assert elements is not None
    assert list(race.contenders(elements, range(5, 10), Span.of(x))) == [5]
    np.testing.assert_array_equal(rounding.to_grid(x, 5).numpy(), x.numpy())
