"""How good a float network is on held-out people, beside what a classifier reaches that never looks at the face."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from model.faces import FAKE, REAL, Photo, Split, select
from model.heldout import LOOSE, TIGHT, Answers, Crops, answer, crops
from model.metrics import Interval, accuracy, auc, best_constant_mask, bootstrap, iou
from model.uynet import UNet
from xmodel.errors import UsageError

DIFFICULTIES = (0.0, 0.5, 1.0)
_VARIANTS = 3  # self-blends of each photograph, at other difficulties: fewer people than draws
_THUMBNAIL = 64
Numbers = NDArray[np.float64]


def evaluate(net: UNet, photos: Sequence[Photo], split: Split = "test", baselines: bool = True) -> dict[str, Any]:
    """What `net` reaches on the photographs of `split`, on tight and on loose face crops.

    Every number is a dict {value, low, high} with its 95 % bootstrap interval over people. With
    `baselines`, HOG + SVM classifiers are trained on crops of the training part, once with the face
    and once with the face blanked out; what they reach is what framing and background give away.
    Raises `UsageError` when the split holds no genuine photograph.
    """
    real, fake = select(photos, split, REAL), select(photos, split, FAKE)
    if not real:
        raise UsageError(f"The {split} part holds no genuine photograph.", hint="Give more photographs.")
    report: dict[str, Any] = {"split": split, "genuine": len(real), "labelled_fakes": len(fake), "confidence": 0.95}
    for name, scale in (("tight", TIGHT), ("loose", LOOSE)):
        report[name] = {"face_share": 1 / scale, **_network(net, real, fake, scale)}
        if baselines and fake:
            report[name]["baselines"] = _baselines(photos, real, fake, scale, net.input_size)
    return report


def _network(net: UNet, real: Sequence[Photo], fake: Sequence[Photo], scale: float) -> dict[str, Any]:
    size = net.input_size
    net.eval()
    genuine = answer(net, crops(real, size, scale).images)
    blends = [crops(_rotated(real, v), size, scale, forge=True, variant=v) for v in range(_VARIANTS)]
    people = np.concatenate([_rotated(np.arange(len(real)), v) for v in range(_VARIANTS)])
    blended = [answer(net, part.images) for part in blends]
    forged_real = np.concatenate([part.real for part in blended])
    overlaps = [
        iou(truth, fired)
        for part, found in zip(blends, blended, strict=True)
        for truth, fired in zip(part.masks, found.fired, strict=True)
    ]
    _, constant = best_constant_mask(np.concatenate([part.masks[:, ::4, ::4] for part in blends]))
    result = {
        "self_blend_auc": _auc(genuine.real, forged_real, np.arange(len(real)), people),
        "self_blend_accuracy": _accuracy(genuine.real, forged_real, people),
        "mask_iou": _mean(np.array(overlaps), people),
        "constant_mask_iou": constant,
        "fired_on_genuine": _mean(genuine.fired.mean(axis=(1, 2)), np.arange(len(real))),
        "genuine_called_real": _mean(genuine.real > 0.5, np.arange(len(real))),
    }
    for level in DIFFICULTIES:
        part = answer(net, crops(real, size, scale, forge=True, difficulty=level).images)
        result[f"self_blend_auc_at_{level:g}"] = _auc(
            genuine.real, part.real, np.arange(len(real)), np.arange(len(real))
        )
    if fake:
        result["fake_auc"] = _fake_auc(genuine, answer(net, crops(fake, size, scale).images))
    return result


def _rotated(items: Any, by: int) -> Any:
    """`items` begun elsewhere, so that each person meets another difficulty in each variant."""
    start = by * len(items) // _VARIANTS
    return np.roll(items, -start) if isinstance(items, np.ndarray) else [*items[start:], *items[:start]]


# --- numbers with their intervals ---------------------------------------------------------------


def _auc(genuine: Numbers, forged: Numbers, genuine_people: Any, forged_people: Any) -> dict[str, float]:
    truth = np.concatenate([np.ones(len(genuine)), np.zeros(len(forged))])
    people = np.concatenate([genuine_people, forged_people])
    return _told(bootstrap(auc, truth, np.concatenate([genuine, forged]), groups=people))


def _fake_auc(genuine: Answers, fakes: Answers) -> dict[str, float]:
    return _auc(genuine.real, fakes.real, np.arange(len(genuine.real)), -1 - np.arange(len(fakes.real)))


def _accuracy(genuine: Numbers, forged: Numbers, people: Any) -> dict[str, float]:
    """Balanced accuracy at the threshold one half: each genuine crop counts once for each of its forgeries."""
    truth = np.concatenate([np.ones(len(people)), np.zeros(len(people))])
    called = np.concatenate([genuine[people] > 0.5, forged > 0.5])
    return _told(bootstrap(accuracy, truth, called, groups=np.concatenate([people, people])))


def _mean(values: Any, people: Any) -> dict[str, float]:
    return _told(bootstrap(lambda v: float(np.mean(v)), np.asarray(values, np.float64), groups=people))


def _told(interval: Interval) -> dict[str, float]:
    return {"value": interval.value, "low": interval.low, "high": interval.high}


# --- baselines ----------------------------------------------------------------------------------


def _baselines(
    photos: Sequence[Photo], real: Sequence[Photo], fake: Sequence[Photo], scale: float, size: int
) -> dict[str, Any]:
    """AUC on labelled fakes of HOG + SVM with and without the face, trained and judged on the same kind of crops."""
    try:
        from sklearn.svm import SVC
    except ImportError:
        return {"skipped": "scikit-learn is not installed; pip install 'unmask[test]' brings it"}
    training = [crops(select(photos, "train", label), size, scale) for label in (FAKE, REAL)]
    judged = [crops(part, size, scale) for part in (fake, real)]
    result: dict[str, Any] = {}
    for name, blank in (("hog_svm_auc", False), ("hog_svm_face_blanked_auc", True)):
        features = [_hog(part, blank) for part in training]
        labels = np.repeat([FAKE, REAL], [len(part) for part in features])
        if not all(len(part) for part in features):
            return {"skipped": "the training part lacks one of the classes"}
        machine = SVC(kernel="rbf", C=3.0, gamma="scale").fit(np.concatenate(features), labels)
        scores = [machine.decision_function(_hog(part, blank)) for part in judged]
        result[name] = _auc(scores[1], scores[0], np.arange(len(real)), -1 - np.arange(len(fake)))
    return result


def _hog(part: Crops, blank: bool) -> Numbers:
    """Histograms of oriented gradients of 64×64 grey thumbnails, (N, features); `blank` greys the face out."""
    from skimage.feature import hog

    rows = []
    for image, face in zip(part.images, part.faces, strict=True):
        grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
        if blank:
            left, right = (max(0, round(face.x + side * face.side / 2)) for side in (-1, 1))
            top, bottom = (max(0, round(face.y + side * face.side / 2)) for side in (-1, 1))
            grey[top:bottom, left:right] = 128
        small = cv2.resize(grey, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA)
        rows.append(hog(small, orientations=9, pixels_per_cell=(8, 8), cells_per_block=(2, 2)))
    return np.array(rows, np.float64).reshape(len(part.images), -1)
