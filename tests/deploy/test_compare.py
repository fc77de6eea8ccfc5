"""Forms of a network compared, on made-up detectors whose answers are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from deploy.compare import BATCH, compare
from deploy.compare_stage import demand_agreement
from deploy.console import Output
from deploy.crops import Labels, list_crops
from deploy.detectors import Detector
from deploy.judge import Judge
from tests.deploy.pictures import make_crops
from xmodel.errors import GateError
from xmodel.preprocess import Preprocessing

SPEC = Preprocessing(4, 4)


def _detector(name: str, scores: list[float], marked: int) -> Detector:
    """Says `scores`, crop by crop, and marks the first `marked` pixels of each."""
    left = iter(scores)

    def run(images: NDArray[np.uint8]) -> tuple[NDArray[Any], NDArray[Any]]:
        assert images.shape[1:] == (4, 4, 3) and len(images) <= BATCH
        logits = np.zeros((len(images), 16, 2), np.float32)
        logits[:, :marked, 1] = 1
        return logits.reshape(-1, 4, 4, 2), np.array([next(left) for _ in images], np.float32)

    return Detector(name, name, SPEC, run)


def test_agreement_counts_labels_and_pixels(tmp_path: Path) -> None:
    make_crops(tmp_path, 10)
    a, b = [0.9] * 8 + [0.1, 0.25], [0.9] * 7 + [0.4, 0.1, 0.5]
    detectors = [_detector("float", a, 4), _detector("compiled", b, 2)]
    labels = Labels({f"v{i}.mp4": int(i < 8) for i in range(10)})
    found = compare(detectors, list_crops(tmp_path), Judge(labels), Output(quiet=True)).data()
    pair = found["agreement"]["float / compiled"]
    assert (pair["crops"], pair["labels_equal"], pair["label_agreement"], found["gate"]) == (10, 8, 0.8, 0.8)
    assert pair["mask_iou"] == 0.5 and pair["pixel_agreement"] == pytest.approx(14 / 16)
    assert pair["p_real_max_difference"] == pytest.approx(0.5)
    assert pair["p_real_mean_difference"] == pytest.approx(0.075)
    assert [form["accuracy"]["correct"] for form in found["forms"].values()] == [10, 8]
    assert [(d["file"], d["label"], d["verdicts"]) for d in found["disagreements"]] == [
        ("v7_0_0.png", "REAL", {"float": "REAL", "compiled": "FAKE"}),
        ("v9_0_0.png", "FAKE", {"float": "FAKE", "compiled": "REAL"}),
    ]


def test_two_empty_masks_agree(tmp_path: Path) -> None:
    make_crops(tmp_path, 1)
    detectors = [_detector("float", [0.9], 0), _detector("compiled", [0.9], 0)]
    found = compare(detectors, list_crops(tmp_path), Judge(), Output(quiet=True)).data()
    assert found["agreement"]["float / compiled"]["mask_iou"] == 1.0
    assert found["forms"]["float"] == {"title": "float", "accuracy": None, "masks": None}


def test_the_gate() -> None:
    report = {"passed": False, "gate": 0.975, "min_agreement": 0.98, "last": "compiled"}
    with pytest.raises(GateError, match=r"Float and compiled agree on 97\.50% of the labels; 98\.00% are demanded"):
        demand_agreement(report)
    demand_agreement({**report, "passed": True})
