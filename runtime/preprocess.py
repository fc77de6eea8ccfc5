"""From an image file to the network's input: decoded strictly, resized, quantized half up through a table."""

from __future__ import annotations

import struct
import zlib
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from runtime import plain_image
from xmodel.errors import ArtifactError
from xmodel.preprocess import Preprocessing

Pixels = NDArray[np.uint8]

# What Pillow's decoders raise on damaged files.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, OverflowError, struct.error, zlib.error,
           MemoryError, Image.DecompressionBombError)  # fmt: skip

MAX_PIXELS = 1 << 26  # 64 megapixels: larger than any camera's crop, small enough to decode safely
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM", "GIF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".gif")


def decode(path: Path, spec: Preprocessing) -> Pixels:
    """The image as uint8 [spec.height, spec.width, 3] in the spec's colour order.

    The orientation of an EXIF tag is applied, transparency dropped, 16 bits brought to 8, CMYK, palette and grey
    turned into colour; of several frames the first is taken. Raises `ArtifactError` for a file that is missing,
    damaged, truncated, too large or no image.
    """
    if path.exists() and not path.is_file():  # opening a pipe would wait for a writer
        raise ArtifactError("This is a directory, pipe or device, not an image.", where=str(path))
    plain = plain_image.decode(plain_image.read(path), MAX_PIXELS)
    return fit(np.asarray(_open(path)) if plain is None else plain, spec)


def fit(pixels: Pixels, spec: Preprocessing) -> Pixels:
    """An RGB image of any size, uint8 [H, W, 3], as uint8 [spec.height, spec.width, 3] in the spec's colour order."""
    if pixels.shape[:2] != (spec.height, spec.width):
        pixels = np.asarray(cv2.resize(pixels, (spec.width, spec.height), interpolation=cv2.INTER_LINEAR), np.uint8)
    ordered = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if spec.color_order == "BGR" else pixels
    return np.ascontiguousarray(ordered, np.uint8)


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ArtifactError(
                    f"This image is {image.width}x{image.height}; at most {MAX_PIXELS} pixels are decoded.",
                    where=str(path),
                )
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image), path)
    except UnidentifiedImageError as error:
        raise ArtifactError(
            "This file is not an image.", where=str(path), hint=f"Known formats are {', '.join(FORMATS)}."
        ) from error
    except _DAMAGE as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ArtifactError(f"This image cannot be decoded: {reason}.", where=str(path)) from error


def _to_rgb(image: Image.Image, path: Path) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode == "F":
        raise ArtifactError("This image holds floating-point values, whose range is unknown.", where=str(path))
    if image.mode.startswith("I"):  # 16 bits a pixel: 65535 is white
        grey = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return Image.fromarray(((grey + 128) // 257).astype(np.uint8)).convert("RGB")
    return image.convert("RGBA" if "transparency" in image.info else "RGB").convert("RGB")


def to_float(image: Pixels, spec: Preprocessing) -> NDArray[np.float32]:
    """float32 [..., 3] of uint8 [..., 3]: (pixel / 255 - mean) * scale per channel, in float32 arithmetic."""
    mean, scale = np.array(spec.mean, np.float32), np.array(spec.scale, np.float32)
    return (image.astype(np.float32) / np.float32(255) - mean) * scale


@lru_cache(maxsize=32)
def table(spec: Preprocessing, fix_point: int) -> NDArray[np.int8]:
    """int8 [256, 3]: what each pixel value of each channel becomes at `fix_point`, half up and saturated."""
    every = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    with np.errstate(over="ignore"):  # a file may hold any fix position; infinity saturates
        scaled = np.ldexp(to_float(every, spec).astype(np.float64), fix_point)
    return np.clip(np.floor(scaled + 0.5), -128, 127).astype(np.int8)


@lru_cache(maxsize=32)
def _lookup(spec: Preprocessing, fix_point: int) -> NDArray[np.uint8]:
    """The same as OpenCV takes it: the bytes of one table for all channels where they agree, else one each."""
    values = table(spec, fix_point)
    same = bool((values == values[:, :1]).all())
    return np.ascontiguousarray(values[:, 0] if same else values.reshape(1, 256, 3)).view(np.uint8)


def to_int8(image: Pixels, spec: Preprocessing, fix_point: int) -> NDArray[np.int8]:
    """int8 [..., 3] of uint8 [..., 3] at `fix_point`: half up and saturating, so 255 at fix position 7 is 127."""
    flat = np.ascontiguousarray(image).reshape(-1, image.shape[-2], 3)
    quantized = np.asarray(cv2.LUT(flat, _lookup(spec, fix_point)))
    return quantized.view(np.int8).reshape(image.shape)
