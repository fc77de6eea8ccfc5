"""What a detector said about each crop, and how good that was."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deploy.crops import FAKE, NAMES, REAL
from model import metrics
from xmodel.artifact import atomic

THRESHOLD = 0.5  # P(real) from here on says REAL
COLUMNS = ("file", "p_real", "verdict", "manipulated", "label", "correct", "iou", "dice", "error")


@dataclass(frozen=True, slots=True)
class Prediction:
    """One crop's result. `share`: part of the pixels called manipulated, in [0, 1].

    `label` is 1 = real, 0 = fake, None = unknown; `iou` and `dice` compare with the true mask where
    there is one; `marked` is that mask's share of pixels. `error` says why there is no result.
    """

    file: str
    mask: str
    video: str
    p_real: float = math.nan
    share: float = math.nan
    label: int | None = None
    iou: float | None = None
    dice: float | None = None
    marked: float | None = None
    error: str = ""

    @property
    def verdict(self) -> int:
        """1 = real, 0 = fake."""
        return REAL if self.p_real >= THRESHOLD else FAKE

    @property
    def correct(self) -> bool | None:
        """Whether the verdict is the label; None without a label or a result."""
        return None if self.label is None or self.error else self.verdict == self.label

    @property
    def certainty(self) -> float:
        """Distance of P(real) from the threshold, 0 (undecided) to 1 (certain)."""
        return abs(self.p_real - THRESHOLD) * 2


def write_csv(path: Path, predictions: Iterable[Prediction]) -> None:
    """Write one line a crop, in order, with the columns `COLUMNS`; what is unknown stays empty."""
    with atomic(path, "w") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(_row(p) for p in predictions)


def _row(p: Prediction) -> tuple[str, ...]:
    label = "" if p.label is None else NAMES[p.label]
    if p.error:
        return (p.file, "", "", "", label, "", "", "", p.error)
    correct = "" if p.correct is None else str(int(p.correct))
    scores = [f"{v:.6f}" if v is not None else "" for v in (p.iou, p.dice)]
    return (p.file, f"{p.p_real:.6f}", NAMES[p.verdict], f"{p.share:.6f}", label, correct, *scores, "")


def score(predictions: Sequence[Prediction]) -> dict[str, Any] | None:
    """Accuracy with its 95 % interval over videos, confusion, ROC (fake = found), F1; None without labels."""
    known = [p for p in predictions if p.correct is not None]
    if not known:
        return None
    truth = np.array([p.label for p in known])
    said = np.array([p.verdict for p in known])
    p_fake = 1 - np.array([p.p_real for p in known])
    groups = np.array([p.video for p in known])
    rounds = 1000 if len(known) <= 5000 else 100
    interval = metrics.bootstrap(metrics.accuracy, truth, said, groups=groups, rounds=rounds)
    area = metrics.bootstrap(metrics.auc, truth == FAKE, p_fake, groups=groups, rounds=rounds)
    curve = metrics.roc(truth == FAKE, p_fake)
    return {
        "labelled": len(known),
        "correct": int((truth == said).sum()),
        "wrong": int((truth != said).sum()),
        "accuracy": interval.value,
        "accuracy_interval": [interval.low, interval.high],
        "auc": area.value,
        "auc_interval": [area.low, area.high],
        "f1_fake": metrics.f1(truth, said, positive=FAKE),
        "f1_real": metrics.f1(truth, said, positive=REAL),
        "precision_fake": metrics.precision(truth, said, positive=FAKE),
        "recall_fake": metrics.recall(truth, said, positive=FAKE),
        "confusion": metrics.confusion(truth, said).tolist(),
        "roc": _thinned({"fpr": curve.fpr, "tpr": curve.tpr}),
    }


def _thinned(curve: Mapping[str, Any], points: int = 400) -> dict[str, list[float]]:
    size = len(curve["fpr"])
    keep = np.unique(np.linspace(0, size - 1, min(size, points)).round().astype(int))
    return {name: [round(float(v), 6) for v in values[keep]] for name, values in curve.items()}


def score_masks(predictions: Sequence[Prediction]) -> dict[str, Any] | None:
    """Mean IoU and Dice over crops whose true mask marks something, and the share of pixels fired on
    crops whose true mask is empty; None when no true mask is known."""
    known = [p for p in predictions if p.iou is not None and p.marked is not None and not p.error]
    if not known:
        return None
    forged = [p for p in known if p.marked]
    genuine = [p for p in known if not p.marked]
    return {
        "known": len(known),
        "forged": len(forged),
        "iou": _mean([p.iou or 0.0 for p in forged]),
        "dice": _mean([p.dice or 0.0 for p in forged]),
        "genuine": len(genuine),
        "fired_on_genuine": _mean([p.share for p in genuine]),
    }


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan
