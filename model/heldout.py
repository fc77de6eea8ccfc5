"""Held-out crops, always the same ones, and what a network says about them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from model.faces import Photo, cut, fixed_box
from model.metrics import auc, iou
from model.selfblend import FaceBox, Image, Mask, self_blend
from model.uynet import UNet

TIGHT, LOOSE = 1.4, 2.2  # sides of a crop in sides of the face


@dataclass(frozen=True, slots=True)
class Crops:
    """Crops of one kind: images (N, S, S, 3) uint8 RGB, masks (N, S, S) of {0, 1}, all zero where genuine, and
    the face in each."""

    images: Image
    masks: Mask
    faces: tuple[FaceBox, ...]


@dataclass(frozen=True, slots=True)
class Answers:
    """What a network says about N crops: P(real) (N,) and P(manipulated) of each pixel (N, S, S)."""

    real: NDArray[np.float64]
    mask: NDArray[np.float32]

    @property
    def fired(self) -> Mask:
        """Pixels called manipulated, (N, S, S) of {0, 1}."""
        return np.asarray(self.mask > 0.5, np.uint8)


def crops(
    photos: Sequence[Photo],
    size: int,
    scale: float = TIGHT,
    forge: bool = False,
    difficulty: float | None = None,
    variant: int = 0,
) -> Crops:
    """The face crops of `photos`, `scale` sides of the face wide, the same ones at every call.

    With `forge` they are self-blended, at `difficulty` or, without it, at difficulties spread
    evenly over [0, 1]; another `variant` is another draw.
    """
    images, masks, faces = [], [], []
    for index, photo in enumerate(photos):
        seed = int.from_bytes(hashlib.sha256(photo.name.encode()).digest()[:4], "big")
        image, face = cut(photo, fixed_box(photo, scale), size)
        mask = np.zeros((size, size), np.uint8)
        if forge:
            level = (index + 0.5) / len(photos) if difficulty is None else difficulty
            image, mask = self_blend(image, np.random.default_rng([seed, variant]), level, face)
        images.append(image)
        masks.append(mask)
        faces.append(face)
    shape = (len(photos), size, size)
    pixels = np.array(images, np.uint8).reshape(*shape, 3)
    return Crops(pixels, np.array(masks, np.uint8).reshape(shape), tuple(faces))


def answer(net: UNet, images: Image, batch: int = 8) -> Answers:
    """What `net`, in its present mode and on its device, says about images (N, S, S, 3) uint8 RGB."""
    size = images.shape[1]
    device = next(net.parameters()).device
    real, mask = [np.zeros(0)], [np.zeros((0, size, size), np.float32)]
    with torch.inference_mode():
        for start in range(0, len(images), batch):
            x = torch.from_numpy(images[start : start + batch]).to(device).permute(0, 3, 1, 2).float() / 255
            logits, p = net(x)
            real.append(p[:, 0].double().cpu().numpy())
            mask.append(logits.float().softmax(dim=1)[:, 1].cpu().numpy())
    return Answers(np.concatenate(real), np.concatenate(mask))


def real_auc(genuine: Answers, forged: Answers) -> float:
    """AUC of P(real) between genuine and forged crops."""
    return auc(
        np.concatenate([np.ones(len(genuine.real)), np.zeros(len(forged.real))]),
        np.concatenate([genuine.real, forged.real]),
    )


def mask_iou(truth: Mask, answers: Answers) -> float:
    """Mean IoU over the crops; NaN for none."""
    return float(np.mean([iou(t, f) for t, f in zip(truth, answers.fired, strict=True)])) if len(truth) else math.nan
