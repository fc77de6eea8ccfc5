"""The same crops through the float, quantized and compiled network: how good each is and where they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy.batches import Reader
from deploy.console import Output
from deploy.crops import NAMES, Crop
from deploy.detectors import Detector
from deploy.judge import Judge, nothing_readable
from deploy.predictions import Prediction, score, score_masks

BATCH = 8  # crops a step: the card's own batch, small enough for the full-size network's activations


@dataclass(slots=True)
class Pair:
    """What two forms of the network say about the same crops, summed up crop by crop."""

    labels_equal: int = 0
    crops: int = 0
    pixels_equal: float = 0.0
    marked_by_both: int = 0
    marked_by_either: int = 0
    differences: list[float] = field(default_factory=list)

    def add(self, a: Prediction, b: Prediction, mask_a: NDArray[Any], mask_b: NDArray[Any]) -> None:
        """Count one crop."""
        self.crops += 1
        self.labels_equal += a.verdict == b.verdict
        self.pixels_equal += float(np.mean(mask_a == mask_b))
        self.marked_by_both += int((mask_a & mask_b).sum())
        self.marked_by_either += int((mask_a | mask_b).sum())
        self.differences.append(abs(a.p_real - b.p_real))

    def data(self) -> dict[str, float]:
        """Label agreement, pixel agreement and the IoU of all masks together in [0, 1]; |difference| of P(real)."""
        n = self.crops
        return {
            "label_agreement": self.labels_equal / n,
            "labels_equal": self.labels_equal,
            "crops": n,
            "mask_iou": self.marked_by_both / self.marked_by_either if self.marked_by_either else 1.0,
            "pixel_agreement": self.pixels_equal / n,
            "p_real_mean_difference": float(np.mean(self.differences)),
            "p_real_max_difference": float(np.max(self.differences)),
        }


@dataclass(slots=True)
class Comparison:
    """Predictions of every form, by its name, and how each two of them agree."""

    detectors: Sequence[Detector]
    predictions: dict[str, list[Prediction]]
    pairs: dict[tuple[str, str], Pair]
    failures: Mapping[Crop, str]

    def data(self) -> dict[str, Any]:
        """What goes into `compare.json`."""
        last = self.detectors[-1].name
        return {
            "forms": {
                d.name: {
                    "title": d.title,
                    "accuracy": score(self.predictions[d.name]),
                    "masks": score_masks(self.predictions[d.name]),
                }
                for d in self.detectors
            },
            "agreement": {f"{a} / {b}": pair.data() for (a, b), pair in self.pairs.items()},
            "gate": self.pairs[(self.detectors[0].name, last)].data()["label_agreement"],
            "disagreements": self._disagreements(),
            "unreadable": [{"file": crop.name, "reason": reason} for crop, reason in self.failures.items()],
        }

    def _disagreements(self) -> list[dict[str, Any]]:
        rows = zip(*(self.predictions[d.name] for d in self.detectors), strict=True)
        return [
            {
                "file": row[0].file,
                "label": None if row[0].label is None else NAMES[row[0].label],
                "verdicts": {d.name: NAMES[p.verdict] for d, p in zip(self.detectors, row, strict=True)},
                "p_real": {d.name: p.p_real for d, p in zip(self.detectors, row, strict=True)},
            }
            for row in rows
            if len({p.verdict for p in row}) > 1
        ]


def compare(detectors: Sequence[Detector], crops: Sequence[Crop], judge: Judge, out: Output) -> Comparison:
    """Run every crop through every detector, batch by batch; memory holds one batch and the scores.

    Raises `GateError` when no crop can be read.
    """
    reader = Reader(crops, detectors[0].spec)
    predictions: dict[str, list[Prediction]] = {d.name: [] for d in detectors}
    pairs = {(a.name, b.name): Pair() for a, b in combinations(detectors, 2)}
    with out.progress("comparing", len(crops)) as advance:
        for taken, images in reader.batches(BATCH):
            judged = {d.name: _judge(d, taken, images, judge) for d in detectors}
            for name, results in judged.items():
                predictions[name].extend(p for p, _ in results)
            for (a, b), pair in pairs.items():
                for (p, mask_p), (q, mask_q) in zip(judged[a], judged[b], strict=True):
                    pair.add(p, q, mask_p, mask_q)
            advance(len(taken))
    if not predictions[detectors[0].name]:
        raise nothing_readable(reader.failures)
    return Comparison(detectors, predictions, pairs, reader.failures)


def _judge(
    detector: Detector, crops: Sequence[Crop], images: NDArray[np.uint8], judge: Judge
) -> list[tuple[Prediction, NDArray[np.bool_]]]:
    logits, p_real = detector.run(images)
    return [judge.judge(c, m, float(p)) for c, m, p in zip(crops, logits, p_real, strict=True)]
