"""From a network's two outputs to a verdict and a mask, compared with what is known of the crop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy.console import Output
from deploy.crops import Crop, Labels, true_mask, video_of
from deploy.predictions import Prediction
from model import metrics
from xmodel.errors import ArtifactError, GateError


@dataclass(slots=True)
class Judge:
    """Judges crops one by one. `labels` and the folder `masks` of true masks are what is known, if anything.

    A true mask that cannot be read is listed in `bad_masks` and its crop stays unscored there.
    """

    labels: Labels | None = None
    masks: Path | None = None
    bad_masks: dict[str, str] = field(default_factory=dict)

    def judge(self, crop: Crop, logits: NDArray[Any], p_real: float) -> tuple[Prediction, NDArray[np.bool_]]:
        """`logits` (H, W, 2) with class 1 = manipulated, `p_real` in [0, 1] → the prediction and its mask (H, W)."""
        mask = manipulated(logits)
        share = np.count_nonzero(mask) / mask.size
        prediction = Prediction(**self._known(crop), p_real=p_real, share=share)
        truth = self._true_mask(crop, *mask.shape)
        if truth is None:
            return prediction, mask
        iou, dice, marked = metrics.iou(truth, mask), metrics.dice(truth, mask), float(truth.mean())
        return replace(prediction, iou=iou, dice=dice, marked=marked), mask

    def failed(self, crop: Crop, reason: str) -> Prediction:
        """The entry of a crop without a result."""
        return Prediction(**self._known(crop), error=reason)

    def _known(self, crop: Crop) -> dict[str, Any]:
        label = self.labels.of(crop) if self.labels else None
        return {"file": crop.name, "mask": crop.mask, "video": video_of(crop.path.name), "label": label}

    def _true_mask(self, crop: Crop, height: int, width: int) -> NDArray[np.bool_] | None:
        if self.masks is None:
            return None
        try:
            return true_mask(self.masks, crop, height, width)
        except ArtifactError as error:
            self.bad_masks[crop.name] = error.what
            return None


def manipulated(logits: NDArray[Any]) -> NDArray[np.bool_]:
    """Mask logits (H, W, 2), int8 or real, → where class 1 is the larger, (H, W)."""
    import cv2

    if logits.dtype == np.int8:  # bytes that lie together are compared many times faster, and cv2 is fast to part them
        genuine, marked = cv2.split(logits)
    else:
        genuine, marked = logits[..., 0], logits[..., 1]
    mask: NDArray[np.bool_] = marked > genuine
    return mask


def in_order(
    crops: Sequence[Crop], predictions: Sequence[Prediction], failures: Mapping[Crop, str], judge: Judge
) -> list[Prediction]:
    """One entry a crop, in the crops' order: `predictions` are those of the crops that are not in `failures`."""
    results = iter(predictions)
    return [judge.failed(crop, failures[crop]) if crop in failures else next(results) for crop in crops]


def nothing_readable(failures: Mapping[Crop, str]) -> GateError:
    """The error for a folder without one readable crop."""
    crop, reason = next(iter(failures.items()))
    return GateError(
        f"None of the {len(failures)} crops could be read; the first: {reason}",
        where=str(crop.path),
        hint="Give a folder of PNG or JPEG images.",
    )


def demand(report: Mapping[str, Any], labels: Path | None, out: Output) -> None:
    """Warn of crops without a label; raise `GateError` for inputs without a result or when no crop is labelled.

    `report` has `unreadable`, `missing_labels` and `accuracy`, as the stages write them.
    """
    missing = report["missing_labels"] if labels else []
    if missing and report["accuracy"]:
        some = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
        out.warn(f"{len(missing)} crops have no label in {labels} and are not counted in the accuracy: {some}")
    for bad in report.get("bad_masks", []):
        out.warn(f"The true mask of {bad['file']} is not used: {bad['reason']}")
    unreadable = report["unreadable"]
    if unreadable:
        listed = "; ".join(f"{bad['file']}: {bad['reason']}" for bad in unreadable[:5])
        raise GateError(
            f"{len(unreadable)} input{'s' * (len(unreadable) != 1)} could not be read; "
            "the results of the others are kept.",
            where=listed + ("; …" if len(unreadable) > 5 else ""),
            hint="Repair or remove these files and run again.",
        )
    if missing and not report["accuracy"]:
        raise GateError(
            f"None of the {len(missing)} crops has a label, so that the accuracy is not known; all else is done.",
            where=str(labels),
            hint=f"The crop {missing[0]} needs the key {video_of(missing[0])!r}: what comes before the first `_`, "
            "plus `.mp4`.",
        )
