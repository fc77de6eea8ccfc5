"""Thresholds moved into the weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.faces import FAKE, REAL
from model.heldout import Answers, answer, crops
from model.threshold import MOST_FIRED, mask_threshold, set_thresholds, verdict_threshold
from model.uynet import UNet
from tests.model.pictures import photos


def test_verdict_lies_between_the_classes() -> None:
    assert verdict_threshold(np.full(5, 3.0), [np.full(3, 1.0)]) == pytest.approx(2.0)
    # Two groups of forgeries weigh alike, whatever their numbers.
    few, many = verdict_threshold(np.full(5, 3.0), [np.full(9, 1.0), np.full(3, -1.0)]), 1.0
    assert few == pytest.approx(verdict_threshold(np.full(5, 3.0), [np.full(3, 1.0), np.full(9, -1.0)]))
    assert many < few < 2.0


def test_mask_threshold_fires_more_where_that_is_free_and_never_too_often() -> None:
    masks = np.zeros((2, 20, 20), np.uint8)
    masks[:, 5:15, 5:15] = 1
    timid = Answers(np.zeros(2), np.where(masks == 1, 0.3, 0.1).astype(np.float32))
    quiet = Answers(np.ones(2), np.full((2, 20, 20), 0.05, np.float32))
    level = mask_threshold(quiet, timid, masks)
    assert np.log(0.1 / 0.9) < level < np.log(0.3 / 0.7)
    noise = np.random.default_rng(0).uniform(0, 0.6, (2, 100, 100)).astype(np.float32)
    level = mask_threshold(Answers(np.ones(2), noise), timid, masks)
    assert (np.log(noise / (1 - noise)) > level).mean() <= MOST_FIRED + 1e-3


def test_shifts_end_up_in_the_weights() -> None:
    torch.manual_seed(0)
    net = UNet(2, 64).eval()
    real, fake = photos(6, REAL), photos(6, FAKE)
    parts = crops(real, 64), crops(real, 64, forge=True), crops(fake, 64)
    before = answer(net, parts[0].images)
    shifts = set_thresholds(net, *parts)
    after = answer(net, parts[0].images)
    assert shifts["real_shift"] == pytest.approx(
        float(np.log(after.real / (1 - after.real)).mean() - np.log(before.real / (1 - before.real)).mean()), abs=1e-3
    )
    assert after.fired.mean() <= MOST_FIRED + 1e-3
