"""What the overlay shows of a judged frame: the mask blended over its square, the square, the scores."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from deploy import pictures
from deploy.predictions import THRESHOLD
from deploy.video.spool import Judged
from deploy.video.square import Square

Pixels = NDArray[np.uint8]
Blend = Literal["published", "tint"]

FRAME_WEIGHT, MASK_WEIGHT = 0.4, 0.6  # the published project's blend …
MASK_GREY = 127  # … of the frame with a mask that is 127 where manipulated and 0 elsewhere
FAKE_COLOR, REAL_COLOR, INK, PAPER = (255, 96, 0), (90, 170, 255), (255, 255, 255), (16, 20, 26)


def draw(frame: Pixels, judged: Judged | None, smoothed: float, blend: Blend) -> Pixels:
    """`frame` (H, W, 3) RGB with the mask of `judged` over its square, its outline and its scores.

    "published": 0.4 of the frame plus 0.6 of the grey mask; "tint": manipulated pixels orange, the others as they
    are. A frame without a result is unchanged but for the reason.
    """
    drawn = frame.copy()
    if judged is None:
        return drawn
    if judged.mask is None or judged.square is None:
        _label(drawn, "not judged", 2, 2)
        return drawn
    height, width = frame.shape[:2]
    top, left, bottom, right = judged.square.inside(width, height)
    part = drawn[top:bottom, left:right]
    part[:] = blended(part, marked(judged.mask, judged.square, (top, left, bottom, right)), blend)
    color = REAL_COLOR if smoothed >= THRESHOLD else FAKE_COLOR
    if (top, left, bottom, right) != (0, 0, height, width):
        cv2.rectangle(drawn, (left, top), (right - 1, bottom - 1), color, max(1, min(height, width) // 240))
    _label(drawn, f"P(real) {judged.p_real:.2f}  smoothed {smoothed:.2f}", left, top, color)
    return drawn


def blended(part: Pixels, mask: NDArray[np.bool_], blend: Blend) -> Pixels:
    """`part` (H, W, 3) RGB with `mask` (H, W) over it."""
    if blend == "tint":
        return pictures.overlay(part, mask)
    grey = np.repeat((mask * np.uint8(MASK_GREY))[..., None], 3, axis=2)
    return np.asarray(cv2.addWeighted(np.ascontiguousarray(part), FRAME_WEIGHT, grey, MASK_WEIGHT, 0), np.uint8)


def marked(mask: NDArray[np.bool_], square: Square, inside: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    """The network's `mask` stretched over `square` to the nearest pixel, of which the part `inside` the frame (top,
    left, bottom, right)."""
    top, left, bottom, right = inside
    rows = (np.arange(top, bottom) - square.top) * mask.shape[0] // square.height
    columns = (np.arange(left, right) - square.left) * mask.shape[1] // square.width
    stretched: NDArray[np.bool_] = mask[rows[:, None], columns]
    return stretched


def _label(frame: Pixels, text: str, left: int, top: int, color: tuple[int, int, int] = INK) -> None:
    """Text on a dark ground above the point, or below it at the frame's upper edge; left out of tiny frames."""
    height, width = frame.shape[:2]
    scale = max(0.35, min(height, width) / 900)
    (wide, high), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    if wide + 8 > width or high + base + 6 > height // 4:
        return
    x = max(0, min(left, width - wide - 8))
    y = top - high - base - 6 if top >= high + base + 6 else top
    cv2.rectangle(frame, (x, y), (x + wide + 8, y + high + base + 6), PAPER, -1)
    cv2.putText(frame, text, (x + 4, y + high + 3), cv2.FONT_HERSHEY_SIMPLEX, scale, color, 1, cv2.LINE_AA)
