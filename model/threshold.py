"""After training: the two thresholds of one half moved, inside the weights, to where held-out people put them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from model.heldout import Answers, Crops, answer
from model.metrics import iou
from model.uynet import UNet

MOST_FIRED = 0.04  # share of pixels of genuine crops that may be called manipulated


def set_thresholds(net: UNet, genuine: Crops, forged: Crops, fakes: Crops) -> dict[str, float]:
    """Shift the biases of `net`'s two outputs so that one half is the right threshold for both.

    The mask's: where the mean IoU on `forged` is highest while at most `MOST_FIRED` of the pixels of
    `genuine` fire. P(real)'s: where genuine crops on the one hand, forged ones and labelled fakes on
    the other, are as far from their labels on average. Returns the two shifts, in logits.
    """
    net.eval()
    said = [answer(net, part.images) for part in (genuine, forged, fakes)]
    mask = mask_threshold(said[0], said[1], forged.masks)
    groups = [_logit(part.real) for part in said[1:] if len(part.real)]
    real = verdict_threshold(_logit(said[0].real), groups)
    with torch.no_grad():
        state = net.state_dict()
        state["outc.conv.bias"][1] -= mask
        state["linear_2.bias"] -= real
    return {"mask_shift": -mask, "real_shift": -real}


def mask_threshold(genuine: Answers, forged: Answers, masks: NDArray[np.uint8]) -> float:
    """The logit of P(manipulated) that makes the best threshold for `masks` (N, S, S)."""
    quiet = float(np.quantile(_logit(genuine.mask), 1 - MOST_FIRED))
    found = _logit(forged.mask)
    candidates = [quiet, *np.linspace(quiet, max(quiet, 0.0), 9)[1:]]
    scores = [np.mean([iou(t, f) for t, f in zip(masks, found > level, strict=True)]) for level in candidates]
    return float(candidates[int(np.argmax(scores))])


def verdict_threshold(genuine: NDArray[np.float64], forged: list[NDArray[np.float64]]) -> float:
    """The logit at which mean P(fake) of genuine crops equals mean P(real) of forged ones, whose groups weigh alike."""
    low, high = -30.0, 30.0
    for _ in range(60):
        middle = (low + high) / 2
        missed = float(np.mean(_sigmoid(middle - genuine)))
        passed = float(np.mean([np.mean(_sigmoid(group - middle)) for group in forged]))
        low, high = (low, middle) if missed > passed else (middle, high)
    return (low + high) / 2


def _logit(p: NDArray[np.floating]) -> NDArray[np.float64]:
    clipped = np.clip(p.astype(np.float64), 1e-7, 1 - 1e-7)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-x)))
