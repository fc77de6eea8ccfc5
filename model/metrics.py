"""Metrics of a detector: labels, scores and masks in, plain numbers out.

Labels are 1 for the positive class and 0 for the other (here: 1 = real, 0 = fake); scores grow with
the positive class; masks are arrays of any shape whose non-zero pixels are marked (manipulated). A
metric that has nothing to measure (no positives, one class only) is NaN, never a guess.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Numbers = npt.ArrayLike


@dataclass(frozen=True, slots=True)
class Roc:
    """A ROC curve: rates in [0, 1] at falling thresholds, from (0, 0) at +inf to (1, 1)."""

    fpr: Array
    tpr: Array
    thresholds: Array


@dataclass(frozen=True, slots=True)
class Interval:
    """A measured value and its bootstrap confidence interval."""

    value: float
    low: float
    high: float
    confidence: float


def accuracy(truth: Numbers, predicted: Numbers) -> float:
    """Share of equal labels; NaN for none. Raises `ValueError` when the lengths differ."""
    a, b = _pair(truth, predicted)
    return float(np.mean(a == b)) if a.size else float("nan")


def confusion(truth: Numbers, predicted: Numbers, classes: int = 2) -> Array:
    """int64 matrix (classes, classes) of counts, indexed [truth, predicted]."""
    a, b = _pair(truth, predicted)
    for labels in (a, b):
        if labels.size and not (labels.min() >= 0 and labels.max() < classes):
            raise ValueError(f"labels must lie in 0..{classes - 1}, not {labels.min()}..{labels.max()}")
    cells = a.astype(np.int64) * classes + b.astype(np.int64)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def precision(truth: Numbers, predicted: Numbers, positive: int = 1) -> float:
    """Share of those predicted `positive` that are; NaN when none was predicted so."""
    hits, false_alarms, _ = _counts(truth, predicted, positive)
    return _ratio(hits, hits + false_alarms)


def recall(truth: Numbers, predicted: Numbers, positive: int = 1) -> float:
    """Share of those that are `positive` which were predicted so; NaN when there are none."""
    hits, _, misses = _counts(truth, predicted, positive)
    return _ratio(hits, hits + misses)


def f1(truth: Numbers, predicted: Numbers, positive: int = 1) -> float:
    """Harmonic mean of precision and recall, 2TP / (2TP + FP + FN); NaN without any of them."""
    hits, false_alarms, misses = _counts(truth, predicted, positive)
    return _ratio(2 * hits, 2 * hits + false_alarms + misses)


def roc(truth: Numbers, scores: Numbers) -> Roc:
    """The ROC curve of `scores`, one point for each distinct score; equal scores move together.

    Rates of a class that does not occur are NaN. Raises `ValueError` for scores that are NaN.
    """
    labels, values = _scored(truth, scores)
    order = np.argsort(-values, kind="stable")
    values, labels = values[order], labels[order]
    last = np.flatnonzero(np.append(np.diff(values) != 0, True)) if values.size else np.zeros(0, np.int64)
    hits = np.cumsum(labels)[last]
    false_alarms = last + 1 - hits
    with np.errstate(invalid="ignore"):
        tpr = np.append(0, hits) / np.float64(labels.sum())
        fpr = np.append(0, false_alarms) / np.float64((~labels).sum())
    return Roc(fpr, tpr, np.append(np.inf, values[last]))


def auc(truth: Numbers, scores: Numbers) -> float:
    """Area under the ROC curve: P(positive scores higher) + ½ P(equal); NaN when a class is missing.

    It is the Mann-Whitney statistic over mid-ranks, hence exact under ties.
    """
    labels, values = _scored(truth, scores)
    positives = int(labels.sum())
    negatives = labels.size - positives
    if not positives or not negatives:
        return float("nan")
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    midranks = np.cumsum(counts) - (counts - 1) / 2
    rank_sum = float(midranks[place.reshape(-1)][labels].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def iou(truth: Numbers, predicted: Numbers) -> float:
    """Intersection over union of two masks; two empty masks agree: 1.0."""
    both, either, _ = _overlap(truth, predicted)
    return both / either if either else 1.0


def dice(truth: Numbers, predicted: Numbers) -> float:
    """2|A∩B| / (|A| + |B|) of two masks; two empty masks agree: 1.0."""
    both, _, total = _overlap(truth, predicted)
    return 2 * both / total if total else 1.0


def best_constant_mask(masks: Numbers, levels: int = 64) -> tuple[Array, float]:
    """The one mask that fits all of `masks` (N, H, W) best, and its mean IoU with them.

    It is what a segmenter reaches without looking at the image. Candidates are the empty mask and, for
    at most `levels` shares s, the pixels marked in at least a share s of the masks. Returns
    (bool (H, W), mean IoU). Raises `ValueError` for no masks.
    """
    marked = np.asarray(masks) != 0
    if marked.ndim != 3 or not len(marked):
        raise ValueError(f"masks must have shape (N, H, W) with N > 0, not {list(marked.shape)}")
    flat = marked.reshape(len(marked), -1)
    counts = flat.sum(axis=0)
    shares = np.append(np.unique(counts[counts > 0]), len(marked) + 1)
    if len(shares) > levels + 1:
        shares = shares[np.linspace(0, len(shares) - 1, levels + 1).round().astype(np.int64)]
    candidates = counts[None] >= shares[:, None]
    as_numbers = candidates.astype(np.float32)
    both = np.stack([as_numbers @ row.astype(np.float32) for row in flat])  # exact: counts below 2^24
    either = candidates.sum(axis=1)[None] + flat.sum(axis=1)[:, None] - both
    scores = np.where(either > 0, both / np.maximum(either, 1), 1.0).mean(axis=0)
    best = int(np.argmax(scores))
    return candidates[best].reshape(marked.shape[1:]), float(scores[best])


def bootstrap(
    statistic: Callable[..., float],
    *arrays: Numbers,
    groups: Numbers | None = None,
    confidence: float = 0.95,
    rounds: int = 1000,
    seed: int = 0,
) -> Interval:
    """`statistic(*arrays)` with its percentile bootstrap interval; the same seed gives the same interval.

    The arrays' first axes run over the same items, which are drawn with replacement. `groups` names
    the group of each item (a video, a person): then whole groups are drawn, since their items are not
    independent. Draws in which the statistic is NaN are left out; with none left the bounds are NaN.
    """
    columns = [np.asarray(array) for array in arrays]
    size = len(columns[0])
    if any(len(column) != size for column in columns):
        raise ValueError(f"arrays must have the same length, not {[len(column) for column in columns]}")
    value = float(statistic(*columns))
    members = _members(np.arange(size) if groups is None else np.asarray(groups), size)
    random = np.random.default_rng(seed)
    drawn: list[float] = []
    for _ in range(rounds if members else 0):
        picks = random.integers(0, len(members), len(members))
        items = np.concatenate([members[pick] for pick in picks])
        drawn.append(float(statistic(*(column[items] for column in columns))))
    kept = np.asarray(drawn)[~np.isnan(drawn)]
    if not kept.size:
        return Interval(value, float("nan"), float("nan"), confidence)
    low, high = np.quantile(kept, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, float(low), float(high), confidence)


def _members(groups: Array, size: int) -> list[Array]:
    if len(groups) != size:
        raise ValueError(f"groups must have one entry for each of the {size} items, not {len(groups)}")
    _, place = np.unique(groups, return_inverse=True)
    order = np.argsort(place, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(place[order])) + 1) if size else []


def _pair(truth: Numbers, predicted: Numbers) -> tuple[Array, Array]:
    a, b = np.asarray(truth).reshape(-1), np.asarray(predicted).reshape(-1)
    if a.size != b.size:
        raise ValueError(f"truth and prediction must have the same length, not {a.size} and {b.size}")
    return a, b


def _scored(truth: Numbers, scores: Numbers) -> tuple[Array, Array]:
    labels, values = _pair(truth, scores)
    values = values.astype(np.float64)
    if np.isnan(values).any():
        raise ValueError("scores must not be NaN")
    return labels != 0, values


def _counts(truth: Numbers, predicted: Numbers, positive: int) -> tuple[int, int, int]:
    a, b = _pair(truth, predicted)
    is_it, said = a == positive, b == positive
    return int((is_it & said).sum()), int((~is_it & said).sum()), int((is_it & ~said).sum())


def _overlap(truth: Numbers, predicted: Numbers) -> tuple[int, int, int]:
    a, b = np.asarray(truth) != 0, np.asarray(predicted) != 0
    if a.shape != b.shape:
        raise ValueError(f"masks must have the same shape, not {list(a.shape)} and {list(b.shape)}")
    return int((a & b).sum()), int((a | b).sum()), int(a.sum()) + int(b.sum())


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
