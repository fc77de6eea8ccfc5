"""The published script's arithmetic, for comparing with its numbers, and what is wrong with it.

The script of the published detector computes `image * (1 / 255) * 2**fix_point` and then `astype(int8)`, whatever the
model's mean and scale, and applies a sigmoid to whatever the DPU gives as the score.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.preprocess import Pixels, table
from xmodel.preprocess import Preprocessing


@lru_cache(maxsize=32)
def pixel_values(fix_point: int) -> NDArray[np.int8]:
    """int8 [256]: what the script makes of each pixel value: cut off towards zero, then the low 8 bits, as a cast of
    a C double to int8 leaves them on x86. 255 at fix position 7 is -128, the darkest value."""
    exact: NDArray[np.float64] = np.ldexp(
        np.arange(256) * (1 / 255), min(fix_point, 40)
    )  # beyond that nothing but zeros is left
    return np.trunc(exact).astype(np.int64).astype(np.uint8).view(np.int8)


def to_int8(image: Pixels, fix_point: int) -> NDArray[np.int8]:
    """int8 [..., 3] of uint8 [..., 3] at `fix_point`, as the script makes it."""
    flat = np.ascontiguousarray(image).reshape(-1, image.shape[-2], 3)
    return np.asarray(cv2.LUT(flat, pixel_values(fix_point).view(np.uint8))).view(np.int8).reshape(image.shape)


def flaws(spec: Preprocessing, fix_point: int, sigmoid_twice: bool) -> list[str]:
    """A sentence for each thing that the script does wrong with this model, and for what is not imitated."""
    mine, right = pixel_values(fix_point), table(spec, fix_point)
    others = int((mine[:, None] != right).any(axis=1).sum())
    wrapped = [value for value in range(256) if value * 2.0 ** min(fix_point, 40) / 255 >= 128]
    found = [
        f"It cuts pixels off instead of rounding them: at the input's fix position {fix_point}, {others} of the 256 "
        "pixel values become another integer than they should."
    ]
    if wrapped:
        found.append(
            f"It wraps around where it should saturate: {len(wrapped)} of the 256 pixel values; {wrapped[0]} becomes "
            f"{mine[wrapped[0]]}."
        )
    if (spec.mean, spec.scale) != ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)):
        found.append(f"It ignores the mean {spec.mean} and the scale {spec.scale} that the model was made with.")
    if sigmoid_twice:
        found.append(
            "It applies a sigmoid to a score that the DPU has applied one to already, so that P(real) lies between "
            "0.5 and 0.73 and every crop is called real."
        )
    return [
        *found,
        "Its last batch, which leaves stale lanes, and its order of outputs by threads are not imitated: they change "
        "which results are kept, not how one is computed.",
    ]
