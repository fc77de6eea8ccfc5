"""Self-blending: a forged image with an exact mask, made from one genuine image alone.

A copy of the image is moved and warped a little and differs in colour and in frequency content; a
soft random region of the face is blended with it. What a detector can find is what face swaps
leave behind: a seam, and an inside that does not belong to the outside. (The idea: Shiohara and
Yamasaki, "Detecting Deepfakes with Self-Blended Images", 2022.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from xmodel.errors import UsageError

Image = NDArray[np.uint8]  # HWC, RGB, 0…255
Mask = NDArray[np.uint8]  # HW, 1 = manipulated
Plane = NDArray[np.float32]  # HW

DEFAULT_FACE = 0.62  # the face's share of the side of a crop, where no box is given
SMALLEST_SHARE = 0.01  # of the image's pixels: below it a region is drawn again


@dataclass(frozen=True, slots=True)
class FaceBox:
    """A square around a face in pixels: its centre (x to the right, y down) and its side."""

    x: float
    y: float
    side: float


def self_blend(
    image: Image, rng: np.random.Generator, difficulty: float, face: FaceBox | None = None
) -> tuple[Image, Mask]:
    """A forgery of `image` and its mask.

    `image` is HWC uint8 RGB of at least 32 pixels a side; `difficulty` in [0, 1]: 0 = large colour
    shift and blur, 1 = subtle. `face` says where the face is; without it, it is taken to be
    centred. Returns the forged image, HWC uint8, and the mask, HW uint8 of {0, 1}: 1 where the
    blend weight is at least one half of its peak, the contour along which the seam runs. The same
    generator state gives the same bytes. Raises `UsageError` for another kind of image.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or min(image.shape[:2]) < 32:
        raise UsageError(
            f"Cannot self-blend an array of shape {image.shape} and type {image.dtype}.",
            hint="Give an RGB image as HWC uint8, at least 32 pixels a side.",
        )
    subtle = float(np.clip(difficulty, 0.0, 1.0))
    box = face or _default_face(image.shape[0], image.shape[1], rng)
    region = random_region(image.shape[0], image.shape[1], box, rng)
    weight = _soften(region, box, rng, subtle)
    mask = (weight >= 0.5).astype(np.uint8)
    opacity = 1.0 - subtle * rng.uniform(0.0, 0.25)
    source = _warp(image, box, rng, subtle)
    altered = _mismatch(source, rng, subtle)
    # Sometimes the surroundings carry the alteration, so that "blurred" or "odd" never means "forged" by itself;
    # the easiest ones do without that.
    inside, outside = (altered, image) if rng.random() < 1 - 0.4 * subtle else (source, _mismatch(image, rng, subtle))
    alpha = (weight * opacity)[..., None]
    forged = outside + alpha * (inside.astype(np.float32) - outside)
    return np.clip(np.rint(forged), 0, 255).astype(np.uint8), mask


def _default_face(height: int, width: int, rng: np.random.Generator) -> FaceBox:
    side = min(height, width)
    x, y = (side * rng.uniform(-0.04, 0.04) for _ in range(2))
    return FaceBox(width / 2 + x, height / 2 + y, side * DEFAULT_FACE * rng.uniform(0.85, 1.2))


# --- where: soft random regions of a face -----------------------------------------------------


def random_region(height: int, width: int, box: FaceBox, rng: np.random.Generator) -> Mask:
    """A random region of {0, 1}, HW: the whole face, half of it, a band (eyes, mouth), or a spot anywhere on it."""
    draw = (_hull, _hull, _half, _band, _spot, _spot, _polygon)
    for _ in range(20):
        region = draw[int(rng.integers(len(draw)))](height, width, box, rng)
        if region.mean() >= SMALLEST_SHARE:
            return region
    # The face lies outside the image, or is tiny: take the middle instead.
    return _fill(height, width, _ring(width / 2, height / 2, width / 4, height / 4, rng))


def _outline(box: FaceBox, rng: np.random.Generator, wobble: float) -> NDArray[np.float32]:
    """The face's outline as 48 points (x, y): an ellipse with smooth random dents."""
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    radius = np.ones_like(angle)
    for order in range(1, 5):
        radius += wobble / order * rng.uniform(-1, 1) * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    tilt = rng.uniform(-0.3, 0.3)
    across, down = box.side * rng.uniform(0.32, 0.56), box.side * rng.uniform(0.36, 0.66)
    x, y = radius * across * np.cos(angle), radius * down * np.sin(angle)
    cx, cy = box.x + box.side * rng.uniform(-0.08, 0.08), box.y + box.side * rng.uniform(-0.08, 0.08)
    points = [cx + x * np.cos(tilt) - y * np.sin(tilt), cy + x * np.sin(tilt) + y * np.cos(tilt)]
    return np.stack(points, axis=1).astype(np.float32)


def _fill(height: int, width: int, points: NDArray[np.float32]) -> Mask:
    region = np.zeros((height, width), np.uint8)
    cv2.fillPoly(region, [np.rint(points).astype(np.int32)], 1)
    return region


def _hull(height: int, width: int, box: FaceBox, rng: np.random.Generator) -> Mask:
    return _fill(height, width, _outline(box, rng, wobble=0.12))


def _half(height: int, width: int, box: FaceBox, rng: np.random.Generator) -> Mask:
    angle, offset = rng.uniform(0, 2 * np.pi), box.side * rng.uniform(-0.12, 0.12)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    side = (x - box.x) * np.cos(angle) + (y - box.y) * np.sin(angle) > offset
    return np.asarray(_hull(height, width, box, rng) * side, np.uint8)


def _band(height: int, width: int, box: FaceBox, rng: np.random.Generator) -> Mask:
    eyes = rng.random() < 0.5
    middle = box.y + box.side * (rng.uniform(-0.25, -0.08) if eyes else rng.uniform(0.15, 0.38))
    across = box.side * rng.uniform(0.22, 0.5)
    down = box.side * rng.uniform(0.08, 0.2)
    return _fill(height, width, _ring(box.x + box.side * rng.uniform(-0.1, 0.1), middle, across, down, rng))


def _spot(height: int, width: int, box: FaceBox, rng: np.random.Generator) -> Mask:
    x, y = (centre + box.side * rng.uniform(-0.5, 0.5) for centre in (box.x, box.y))
    across, down = (box.side * rng.uniform(0.1, 0.34) for _ in range(2))
    return _fill(height, width, _ring(x, y, across, down, rng))


def _ring(x: float, y: float, across: float, down: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """A rounded box or an ellipse with half axes `across` and `down`, a little tilted, as 48 points."""
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    power = rng.uniform(0.45, 1.0)  # 1 = ellipse, towards 0 = rectangle
    cos, sin = np.cos(angle), np.sin(angle)
    px, py = across * np.sign(cos) * np.abs(cos) ** power, down * np.sign(sin) * np.abs(sin) ** power
    tilt = rng.uniform(-0.35, 0.35)
    points = [x + px * np.cos(tilt) - py * np.sin(tilt), y + px * np.sin(tilt) + py * np.cos(tilt)]
    return np.stack(points, axis=1).astype(np.float32)


def _polygon(height: int, width: int, box: FaceBox, rng: np.random.Generator) -> Mask:
    x, y = (centre + box.side * rng.uniform(-0.35, 0.35) for centre in (box.x, box.y))
    corners = int(rng.integers(4, 9))
    angle = np.sort(rng.uniform(0, 2 * np.pi, corners))
    radius = box.side * rng.uniform(0.15, 0.5, corners)
    return _fill(
        height, width, np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], 1).astype(np.float32)
    )


def _soften(region: Mask, box: FaceBox, rng: np.random.Generator, subtle: float) -> Plane:
    """The region's blend weight in [0, 1], peaking at 1: its border blurred over a random share of its size."""
    extent = float(np.sqrt(region.sum()))
    sigma = max(0.4, extent * rng.uniform(0.005, 0.012 + 0.04 * subtle))
    weight = np.asarray(cv2.GaussianBlur(region.astype(np.float32), (0, 0), sigma), np.float32)
    return weight / np.float32(max(weight.max(), 1e-6))


# --- what: a copy that does not quite belong --------------------------------------------------


def _warp(image: Image, box: FaceBox, rng: np.random.Generator, subtle: float) -> Image:
    """The image moved, turned, scaled and bent by a few per cent of the face's side."""
    height, width = image.shape[:2]
    reach = box.side * (0.06 - 0.035 * subtle)
    turn, zoom = rng.uniform(-1, 1) * (8 - 5 * subtle), 1 + rng.uniform(-1, 1) * (0.10 - 0.06 * subtle)
    matrix = np.asarray(cv2.getRotationMatrix2D((box.x, box.y), turn, zoom), np.float64)
    matrix[:, 2] += rng.uniform(-reach, reach, 2)
    inverse = cv2.invertAffineTransform(matrix)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    field = rng.uniform(-1, 1, (2, 5, 5)).astype(np.float32) * np.float32(reach * 0.6)
    bend = [cv2.resize(plane, (width, height), interpolation=cv2.INTER_CUBIC) for plane in field]
    map_x = (inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2] + bend[0]).astype(np.float32)
    map_y = (inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2] + bend[1]).astype(np.float32)
    return _u8(cv2.remap(image, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT))


def _mismatch(image: Image, rng: np.random.Generator, subtle: float) -> Image:
    """`image` with other colours, and mostly other frequencies too."""
    image = _COLOUR[int(rng.integers(len(_COLOUR)))](image, rng, subtle)
    if rng.random() < 0.75:
        image = _FREQUENCY[int(rng.integers(len(_FREQUENCY)))](image, rng, subtle)
    return image


def _between(easy: float, hard: float, subtle: float) -> float:
    """A strength, falling geometrically from `easy` to `hard`."""
    return float(easy * (hard / easy) ** subtle)


def _signed(rng: np.random.Generator, size: int, peak: float) -> NDArray[np.float64]:
    """Random offsets whose magnitude is between a third of `peak` and `peak`: never next to nothing."""
    return np.asarray(rng.choice((-1.0, 1.0), size) * rng.uniform(peak / 3, peak, size))


def _shift_rgb(image: Image, rng: np.random.Generator, subtle: float) -> Image:
    return _clip(image + _signed(rng, 3, _between(60, 20, subtle)))


def _shift_hsv(image: Image, rng: np.random.Generator, subtle: float) -> Image:
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(np.float32)
    hue, saturation, value = _signed(rng, 3, 1.0)
    hsv[..., 0] = (hsv[..., 0] + hue * _between(24, 9, subtle)) % 180
    hsv[..., 1] *= 1 + saturation * _between(0.7, 0.3, subtle)
    hsv[..., 2] *= 1 + value * _between(0.4, 0.14, subtle)
    return _u8(cv2.cvtColor(_clip(hsv), cv2.COLOR_HSV2RGB))


def _shift_tone(image: Image, rng: np.random.Generator, subtle: float) -> Image:
    contrast, brightness = _signed(rng, 2, 1.0)
    mean = image.mean(axis=(0, 1), keepdims=True)
    out = (image - mean) * (1 + contrast * _between(0.5, 0.2, subtle)) + mean + brightness * _between(50, 18, subtle)
    return _clip(out)


def _blur(image: Image, rng: np.random.Generator, subtle: float) -> Image:
    sigma = _between(3.0, 1.3, subtle) * rng.uniform(0.6, 1.0) * _scale(image)
    return _u8(cv2.GaussianBlur(image, (0, 0), max(sigma, 0.4)))


def _coarsen(image: Image, rng: np.random.Generator, subtle: float) -> Image:
    height, width = image.shape[:2]
    factor = 1 + _between(3.0, 1.2, subtle) * rng.uniform(0.6, 1.0)
    small = cv2.resize(image, (max(8, int(width / factor)), max(8, int(height / factor))), interpolation=cv2.INTER_AREA)
    return _u8(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))


def _sharpen(image: Image, rng: np.random.Generator, subtle: float) -> Image:
    soft = cv2.GaussianBlur(image, (0, 0), 1.2 * _scale(image)).astype(np.float32)
    return _clip(image + (image - soft) * _between(3.0, 1.5, subtle) * rng.uniform(0.6, 1.0))


def _compress(image: Image, rng: np.random.Generator, subtle: float) -> Image:
    return jpeg(image, int(_between(12, 30, subtle) * rng.uniform(0.8, 1.2)))


def _grain(image: Image, rng: np.random.Generator, subtle: float) -> Image:
    return _clip(image + rng.standard_normal(image.shape, np.float32) * np.float32(_between(16, 7, subtle)))


_Change = Callable[[Image, np.random.Generator, float], Image]
_COLOUR: tuple[_Change, ...] = (_shift_rgb, _shift_hsv, _shift_tone)
_FREQUENCY: tuple[_Change, ...] = (_blur, _blur, _coarsen, _sharpen, _compress, _grain)


def jpeg(image: Image, quality: int) -> Image:
    """`image` after JPEG compression at `quality` (1…100); HWC uint8 RGB in and out."""
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(np.clip(quality, 1, 100))])
    return np.ascontiguousarray(_u8(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1])


def _scale(image: Image) -> float:
    """Filter sizes are those of a 224-pixel crop; larger images need proportionally larger ones."""
    return max(float(min(image.shape[:2])) / 224, 0.6)


def _clip(values: NDArray[Any]) -> Image:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def _u8(array: Any) -> Image:
    return np.asarray(array, np.uint8)
