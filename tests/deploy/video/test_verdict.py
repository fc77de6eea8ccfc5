"""Aggregates over frames: against numpy and scipy, and what a few odd frames can do."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from deploy.video.verdict import Scores, Smoothed


def scores(values: np.ndarray) -> Scores:
    found = Scores()
    for value in values:
        found.add(float(value), 0.25)
    return found


@pytest.mark.parametrize("count", [1, 2, 3, 9, 10, 11, 100, 1001])
def test_mean_median_and_trimmed_mean(count: int) -> None:
    values = np.random.default_rng(count).integers(0, 60, count) / 60
    found = scores(values)
    assert found.frames == count
    assert found.mean() == pytest.approx(values.mean(), abs=1e-6)
    assert found.median() == pytest.approx(np.median(values), abs=1e-6)
    assert found.trimmed() == pytest.approx(stats.trim_mean(values, 0.1), abs=1e-6)


def test_a_few_odd_frames_turn_the_mean_but_not_the_verdict() -> None:
    summary = scores(np.array([0.52] * 92 + [0.0] * 8)).summary()
    assert summary["verdict"] == "REAL" and summary["mean"] < 0.5
    assert summary["trimmed_mean"] == summary["p_real"] == summary["median"] == 0.52
    assert (summary["frames_fake"], summary["frames_real"]) == (8, 92)
    assert (summary["lowest"], summary["highest"], summary["manipulated"]) == (0.0, 0.52, 0.25)
    assert scores(np.array([0.499999])).summary()["verdict"] == "FAKE"
    assert scores(np.array([0.5])).summary()["verdict"] == "REAL"


def test_the_smoothed_curve_forgets_by_time_and_not_by_frames() -> None:
    smoothed = Smoothed()
    assert smoothed.add(0.0, 0.0) == 0.0
    assert smoothed.add(1.0, 1.0) == pytest.approx(1 - math.exp(-1))
    fine = Smoothed()
    fine.add(0.0, 0.0)
    for step in range(1, 101):
        fine.add(1.0, step / 100)
    assert fine.value == pytest.approx(1 - math.exp(-1))
