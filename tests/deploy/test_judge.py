"""From outputs to verdicts, and what a report must demand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deploy.console import Output
from deploy.crops import Labels, list_crops
from deploy.judge import Judge, demand, in_order, manipulated, nothing_readable
from tests.deploy.pictures import make_crops
from xmodel.errors import GateError


def _logits(marked: Any) -> np.ndarray[Any, Any]:
    """Mask logits (H, W, 2) of a 0/1 mask."""
    return np.stack([1 - np.asarray(marked), np.asarray(marked)], axis=-1).astype(np.float32)


def test_a_pixel_is_manipulated_when_class_1_wins(tmp_path: Path) -> None:
    make_crops(tmp_path, 1)
    (crop,) = list_crops(tmp_path)
    equal = np.zeros((2, 2, 2), np.float32)
    equal[0, 0] = (1, 2)
    prediction, mask = Judge(Labels({"v0.mp4": 0})).judge(crop, equal, 0.25)
    assert mask.tolist() == [[True, False], [False, False]]
    assert (prediction.share, prediction.verdict, prediction.correct) == (0.25, 0, True)
    assert prediction.iou is None


def test_logits_of_int8_give_the_same_mask() -> None:
    logits = np.random.default_rng(0).integers(-128, 128, (5, 7, 2)).astype(np.int8)
    logits[0, :3] = [[-128, 127], [127, -128], [-128, -128]]
    mask = manipulated(logits)
    assert mask.dtype == bool and mask[0, :3].tolist() == [True, False, False]
    assert np.array_equal(mask, manipulated(logits.astype(np.float32)))


def test_a_true_mask_is_compared(tmp_path: Path) -> None:
    make_crops(tmp_path / "unseen", 2)
    (tmp_path / "masks").mkdir()
    first, second = list_crops(tmp_path / "unseen")
    Image.fromarray(np.array([[255, 255], [0, 0]], np.uint8)).save(tmp_path / "masks" / first.mask)
    (tmp_path / "masks" / second.mask).write_text("no image")
    judge = Judge(masks=tmp_path / "masks")
    prediction, _ = judge.judge(first, _logits([[1, 0], [0, 0]]), 0.1)
    assert (prediction.iou, prediction.marked) == (0.5, 0.5) and prediction.dice == pytest.approx(2 / 3)
    prediction, _ = judge.judge(second, _logits([[1, 0], [0, 0]]), 0.1)
    assert prediction.iou is None and list(judge.bad_masks) == [second.name]


def test_every_crop_keeps_its_place(tmp_path: Path) -> None:
    make_crops(tmp_path, 3)
    crops = list_crops(tmp_path)
    judge = Judge()
    good = [judge.judge(crop, _logits([[0]]), 0.9)[0] for crop in (crops[0], crops[2])]
    found = in_order(crops, good, {crops[1]: "broken"}, judge)
    assert [(p.file, p.error) for p in found] == [("v0_0_0.png", ""), ("v1_0_0.png", "broken"), ("v2_0_0.png", "")]


REPORT: dict[str, Any] = {"unreadable": [], "missing_labels": [], "accuracy": {"accuracy": 1.0}}


def test_a_good_report_demands_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    demand(REPORT, Path("m.json"), Output())
    assert capsys.readouterr().err == ""


def test_some_missing_labels_are_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    demand({**REPORT, "missing_labels": ["a_0.png"]}, Path("m.json"), Output())
    assert "1 crops have no label in m.json and are not counted in the accuracy: a_0.png" in capsys.readouterr().err


def test_no_label_at_all_fails_and_names_the_key() -> None:
    with pytest.raises(GateError, match="None of the 1 crops has a label") as caught:
        demand({**REPORT, "missing_labels": ["a_0.png"], "accuracy": None}, Path("m.json"), Output())
    assert "needs the key 'a.mp4'" in caught.value.hint


def test_without_a_label_file_nothing_is_missing() -> None:
    demand({**REPORT, "missing_labels": ["a_0.png"], "accuracy": None}, None, Output())


def test_unreadable_inputs_fail_after_the_good_ones() -> None:
    with pytest.raises(GateError, match="1 input could not be read; the results of the others are kept") as caught:
        demand({**REPORT, "unreadable": [{"file": "a.png", "reason": "truncated"}]}, None, Output())
    assert caught.value.where == "a.png: truncated"


def test_a_folder_without_a_readable_crop(tmp_path: Path) -> None:
    make_crops(tmp_path, 1)
    (crop,) = list_crops(tmp_path)
    assert "None of the 1 crops could be read; the first: truncated" in str(nothing_readable({crop: "truncated"}))
