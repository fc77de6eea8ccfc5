from __future__ import annotations

import numpy as np
import pytest

from deploy.explain import Cause, explain
from runtime.emulator.rounding import dpu_round
from xmodel.graph import Array

SUMS = np.random.default_rng(4).integers(-20_000, 20_000, 4096)
GOOD = dpu_round(SUMS, 8)


def _int8(values: Array) -> Array:
    return values.astype(np.int64).astype(np.int8)  # wraps around


CASES = {
    "floor": (np.clip(SUMS >> 8, -128, 127), Cause.ROUNDING, "no value is off by more than one step, downwards"),
    "away from zero": (
        np.clip(np.sign(SUMS) * ((np.abs(SUMS) + 256) >> 8), -128, 127), Cause.ROUNDING, "both ways"
    ),
    "a shift less": (dpu_round(SUMS, 7), Cause.SHIFT, "shifted left by 1"),
    "three shifts more": (dpu_round(SUMS, 11), Cause.SHIFT, "shifted right by 3"),
    "another network": (dpu_round(SUMS[::-1], 8), Cause.NONE, "neither rounding nor saturation nor a shift"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_explains_a_difference(case: str) -> None:
    replayed, cause, words = CASES[case]
    told = explain(GOOD, _int8(replayed))
    assert told.cause is cause and words in told.sentence


def test_values_that_wrap_around() -> None:
    wide = SUMS * 2
    told = explain(dpu_round(wide, 8), _int8((wide + 128) >> 8))
    assert told.cause is Cause.SATURATION
    assert told.sentence.startswith("saturation explains it: the recorded tensor stops at -128 and 127")
    told = explain(_int8((wide + 128) >> 8), dpu_round(wide, 8))
    assert told.cause is Cause.SATURATION and "the replayed tensor stops" in told.sentence


def test_a_limit_inside_the_range() -> None:
    told = explain(np.minimum(GOOD, 32), GOOD)
    assert told.cause is Cause.SATURATION and "the recorded tensor stops at 32" in told.sentence


def test_one_wrong_value_is_explained_by_nothing() -> None:
    wrong = GOOD.copy()
    wrong[7] ^= 64
    assert explain(GOOD, wrong).cause is Cause.NONE
