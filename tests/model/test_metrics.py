from __future__ import annotations

import math

import numpy as np
import pytest

from model import metrics

TRUTH = [1, 1, 1, 0, 0, 0, 0, 1]
SAID = [1, 0, 1, 0, 1, 0, 0, 1]  # 3 hits, 1 miss, 1 false alarm, 3 correct rejections


def test_accuracy_is_the_share_of_equal_labels() -> None:
    assert metrics.accuracy(TRUTH, SAID) == 6 / 8
    assert math.isnan(metrics.accuracy([], []))


def test_confusion_is_indexed_truth_then_prediction() -> None:
    assert metrics.confusion(TRUTH, SAID).tolist() == [[3, 1], [1, 3]]
    assert metrics.confusion([0, 0, 1], [1, 1, 0]).tolist() == [[0, 2], [1, 0]]
    assert metrics.confusion([], []).tolist() == [[0, 0], [0, 0]]


def test_precision_recall_f1_for_either_class() -> None:
    truth, said = [1, 1, 1, 0, 0], [1, 0, 0, 1, 0]
    assert metrics.precision(truth, said) == 1 / 2
    assert metrics.recall(truth, said) == 1 / 3
    assert metrics.f1(truth, said) == 2 / 5
    assert metrics.precision(truth, said, positive=0) == 1 / 3
    assert metrics.recall(truth, said, positive=0) == 1 / 2
    assert metrics.f1(truth, said, positive=0) == 2 / 5


def test_ratios_without_a_base_are_nan() -> None:
    assert math.isnan(metrics.precision([1, 0], [0, 0]))
    assert math.isnan(metrics.recall([0, 0], [1, 0]))
    assert math.isnan(metrics.f1([0, 0], [0, 0]))
    assert math.isnan(metrics.auc([1, 1], [0.2, 0.3]))


def test_roc_moves_equal_scores_together() -> None:
    curve = metrics.roc([1, 0, 1, 0], [0.9, 0.5, 0.5, 0.1])
    assert curve.fpr.tolist() == [0, 0, 0.5, 1]
    assert curve.tpr.tolist() == [0, 0.5, 1, 1]
    assert curve.thresholds.tolist() == [math.inf, 0.9, 0.5, 0.1]


def test_auc_by_hand() -> None:
    assert metrics.auc([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4]) == 1.0
    assert metrics.auc([0, 0, 1, 1], [0.4, 0.3, 0.2, 0.1]) == 0.0
    assert metrics.auc([0, 0, 1, 1], [0.5, 0.5, 0.5, 0.5]) == 0.5
    # pairs (positive, negative): 0.9>0.5, 0.9>0.1, 0.5=0.5, 0.5>0.1 -> 3.5 of 4
    assert metrics.auc([1, 0, 1, 0], [0.9, 0.5, 0.5, 0.1]) == 3.5 / 4


def test_auc_is_the_area_under_roc() -> None:
    random = np.random.default_rng(3)
    truth = random.integers(0, 2, 200)
    scores = np.round(random.normal(truth, 1.0), 1)
    curve = metrics.roc(truth, scores)
    assert metrics.auc(truth, scores) == pytest.approx(float(np.trapezoid(curve.tpr, curve.fpr)), abs=1e-12)


def test_equal_to_scikit_learn() -> None:
    reference = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(5)
    truth = random.integers(0, 2, 300)
    scores = np.round(random.normal(truth, 1.5), 1)
    said = (scores > 0.5).astype(int)
    assert metrics.auc(truth, scores) == pytest.approx(reference.roc_auc_score(truth, scores), abs=1e-12)
    fpr, tpr, thresholds = reference.roc_curve(truth, scores, drop_intermediate=False)
    curve = metrics.roc(truth, scores)
    np.testing.assert_allclose(curve.fpr, fpr, atol=1e-12)
    np.testing.assert_allclose(curve.tpr, tpr, atol=1e-12)
    np.testing.assert_allclose(curve.thresholds, thresholds)
    assert metrics.confusion(truth, said).tolist() == reference.confusion_matrix(truth, said).tolist()
    assert metrics.f1(truth, said) == pytest.approx(reference.f1_score(truth, said))
    assert metrics.precision(truth, said) == pytest.approx(reference.precision_score(truth, said))
    assert metrics.recall(truth, said) == pytest.approx(reference.recall_score(truth, said))
    assert metrics.iou(truth, said) == pytest.approx(reference.jaccard_score(truth, said))


def test_iou_and_dice() -> None:
    a = np.array([[1, 1, 0], [1, 0, 0]])
    b = np.array([[0, 255, 255], [255, 0, 0]], dtype=np.uint8)
    assert metrics.iou(a, b) == 2 / 4
    assert metrics.dice(a, b) == 4 / 6
    empty = np.zeros((2, 3))
    assert metrics.iou(empty, empty) == metrics.dice(empty, empty) == 1.0
    assert metrics.iou(a, empty) == metrics.dice(a, empty) == 0.0


def test_best_constant_mask_by_hand() -> None:
    masks = np.array([[[1, 1, 0]], [[1, 0, 0]], [[1, 1, 0]]])
    mask, score = metrics.best_constant_mask(masks)
    assert mask.tolist() == [[True, True, False]]
    assert score == pytest.approx((1 + 1 / 2 + 1) / 3)


def test_best_constant_mask_may_be_empty() -> None:
    masks = np.zeros((4, 2, 2))
    masks[0] = 1
    mask, score = metrics.best_constant_mask(masks)
    assert not mask.any()
    assert score == 3 / 4


def test_best_constant_mask_is_best_among_all_masks() -> None:
    masks = np.random.default_rng(1).random((5, 1, 6)) < np.linspace(0.1, 0.9, 6)
    best = max(
        float(np.mean([metrics.iou(one, candidate) for one in masks[:, 0]]))
        for candidate in ([code >> bit & 1 for bit in range(6)] for code in range(64))
    )
    assert metrics.best_constant_mask(masks)[1] == pytest.approx(best)


def test_bootstrap_is_seeded_and_brackets_the_value() -> None:
    truth = np.arange(100) % 2
    said = np.where(np.arange(100) < 80, truth, 1 - truth)
    first = metrics.bootstrap(metrics.accuracy, truth, said, seed=7)
    assert first == metrics.bootstrap(metrics.accuracy, truth, said, seed=7)
    assert first.value == 0.8
    # normal approximation: 0.8 +- 1.96 * sqrt(0.8 * 0.2 / 100) = 0.72 .. 0.88
    assert first.low == pytest.approx(0.72, abs=0.02)
    assert first.high == pytest.approx(0.88, abs=0.02)


def test_bootstrap_of_another_seed_differs() -> None:
    scores = np.random.default_rng(0).random(40)
    bounds = {metrics.bootstrap(metrics.auc, np.arange(40) % 2, scores, rounds=50, seed=s).low for s in range(3)}
    assert len(bounds) == 3


def test_bootstrap_of_groups_is_wider_than_of_items() -> None:
    videos = np.repeat(np.arange(10), 10)
    truth = np.ones(100, dtype=int)
    said = (videos < 8).astype(int)
    items = metrics.bootstrap(metrics.accuracy, truth, said, rounds=300)
    groups = metrics.bootstrap(metrics.accuracy, truth, said, groups=videos, rounds=300)
    assert groups.high - groups.low > 2 * (items.high - items.low)


def test_bootstrap_without_a_defined_draw_has_no_bounds() -> None:
    found = metrics.bootstrap(metrics.auc, [1, 1], [0.1, 0.2], rounds=10)
    assert math.isnan(found.value)
    assert math.isnan(found.low)
    assert math.isnan(metrics.bootstrap(metrics.accuracy, [], [], rounds=10).high)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="same length, not 2 and 3"):
        metrics.accuracy([1, 0], [1, 0, 1])
    with pytest.raises(ValueError, match="same shape"):
        metrics.iou(np.zeros((2, 2)), np.zeros((4,)))
    with pytest.raises(ValueError, match="must not be NaN"):
        metrics.auc([0, 1], [math.nan, 1.0])
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.1"):
        metrics.confusion([0, 2], [0, 1])
    with pytest.raises(ValueError, match=r"shape \(N, H, W\)"):
        metrics.best_constant_mask(np.zeros((0, 4, 4)))
    with pytest.raises(ValueError, match="one entry for each of the 3 items"):
        metrics.bootstrap(metrics.accuracy, [1, 0, 1], [1, 0, 1], groups=[0])
