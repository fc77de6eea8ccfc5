"""Verdicts, their file and their scores."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from deploy.predictions import COLUMNS, Prediction, score, score_masks, write_csv

ROWS = [
    Prediction("a_0.png", "a_0.png", "a.mp4", 0.9, 0.0, label=1, iou=1.0, dice=1.0, marked=0.0),
    Prediction("b_0.png", "b_0.png", "b.mp4", 0.5, 0.25, label=0, iou=0.5, dice=2 / 3, marked=0.2),
    Prediction("c_0.png", "c_0.png", "c.mp4", 0.1, 0.5, label=0, iou=0.7, dice=0.8, marked=0.4),
    Prediction("d_0.png", "d_0.png", "d.mp4", 0.2, 0.1),
    Prediction("e_0.png", "e_0.png", "e.mp4", label=1, error="image file is truncated"),
]


def test_from_one_half_on_a_crop_is_real() -> None:
    assert [p.verdict for p in ROWS[:4]] == [1, 1, 0, 0]
    assert [p.correct for p in ROWS] == [True, False, True, None, None]
    assert ROWS[1].certainty == 0 and ROWS[0].certainty == pytest.approx(0.8)


def test_the_file_has_a_line_a_crop_in_order(tmp_path: Path) -> None:
    write_csv(tmp_path / "p.csv", ROWS)
    lines = (tmp_path / "p.csv").read_text().splitlines()
    assert lines == [
        ",".join(COLUMNS),
        "a_0.png,0.900000,REAL,0.000000,REAL,1,1.000000,1.000000,",
        "b_0.png,0.500000,REAL,0.250000,FAKE,0,0.500000,0.666667,",
        "c_0.png,0.100000,FAKE,0.500000,FAKE,1,0.700000,0.800000,",
        "d_0.png,0.200000,FAKE,0.100000,,,,,",
        "e_0.png,,,,REAL,,,,image file is truncated",
    ]


def test_scores_count_labelled_crops_with_a_result() -> None:
    found = score(ROWS)
    assert found is not None
    assert (found["labelled"], found["correct"], found["wrong"]) == (3, 2, 1)
    assert found["confusion"] == [[1, 1], [0, 1]]
    assert found["auc"] == 1.0
    assert found["f1_fake"] == pytest.approx(2 / 3)
    assert found["precision_fake"] == 1.0 and found["recall_fake"] == 0.5
    assert found["roc"]["fpr"][0] == 0 and found["roc"]["tpr"][-1] == 1
    assert score(ROWS[3:]) is None


def test_masks_are_scored_on_forged_and_on_genuine_crops_apart() -> None:
    found = score_masks(ROWS)
    assert found is not None
    assert (found["known"], found["forged"], found["genuine"]) == (3, 2, 1)
    assert found["iou"] == pytest.approx(0.6) and found["fired_on_genuine"] == 0.0
    only_forged = score_masks(ROWS[1:3])
    assert only_forged is not None and math.isnan(only_forged["fired_on_genuine"])
    assert score_masks(ROWS[3:]) is None
