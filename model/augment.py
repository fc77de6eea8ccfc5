"""Random changes of a whole crop, drawn alike for both classes, so that no global trait tells them apart."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from model.selfblend import jpeg

Image = NDArray[np.uint8]


def augment(image: Image, rng: np.random.Generator, share: float = 1.0) -> Image:
    """`image` (HWC uint8 RGB) with random light, colour, sharpness, noise and compression, in `share` of the calls."""
    if rng.random() >= share:
        return image
    if rng.random() < 0.7:
        image = _light(image, rng)
    choice = rng.random()
    if choice < 0.2:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.3)), np.uint8)
    elif choice < 0.4:
        image = _resample(image, rng)
    if rng.random() < 0.2:
        noise = rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(1, 6))
        image = np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        image = jpeg(image, int(rng.integers(50, 100)))
    return image


def _light(image: Image, rng: np.random.Generator) -> Image:
    """Gamma, contrast, brightness and white balance through one table a channel, then saturation."""
    level = np.arange(256) / 255
    gamma, contrast = np.exp(rng.uniform(-0.35, 0.35)), rng.uniform(0.75, 1.25)
    tables = []
    for gain in rng.uniform(0.92, 1.08, 3):
        curve = ((level**gamma - 0.5) * contrast + 0.5) * gain + rng.uniform(-0.02, 0.02)
        tables.append(np.clip(np.rint(curve * 255), 0, 255))
    image = np.asarray(cv2.LUT(image, np.stack(tables, axis=1).astype(np.uint8)[None]), np.uint8)
    if rng.random() < 0.4:
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        keep = rng.uniform(0.4, 1.3)
        image = np.asarray(cv2.addWeighted(image, keep, grey, 1 - keep, 0), np.uint8)
    return image


def _resample(image: Image, rng: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    share = rng.uniform(0.4, 0.9)
    small = cv2.resize(image, (int(width * share), int(height * share)), interpolation=cv2.INTER_AREA)
    how = cv2.INTER_LINEAR if rng.random() < 0.5 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(small, (width, height), interpolation=how), np.uint8)
