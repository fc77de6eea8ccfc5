"""Images of every kind and of no kind; quantization half up with saturation."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtime.preprocess import decode, table, to_float, to_int8
from xmodel.errors import ArtifactError
from xmodel.preprocess import Preprocessing

SPEC = Preprocessing(width=4, height=2)
PIXELS = np.arange(24, dtype=np.uint8).reshape(2, 4, 3) * 10


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def test_plain_image_is_unchanged(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(PIXELS))
    np.testing.assert_array_equal(decode(path, SPEC), PIXELS)


def test_bgr_reverses_the_channels(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(PIXELS))
    np.testing.assert_array_equal(decode(path, Preprocessing(4, 2, color_order="BGR")), PIXELS[..., ::-1])


def test_another_size_is_resized_with_half_pixel_centres(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(np.array([[[0] * 3, [100] * 3]], np.uint8)))
    got = decode(path, Preprocessing(4, 1))
    assert got[0, :, 0].tolist() == [0, 25, 75, 100]


def test_transparency_is_dropped(tmp_path: Path) -> None:
    alpha = np.concatenate([PIXELS, np.full((2, 4, 1), 7, np.uint8)], axis=2)
    path = save(tmp_path / "a.png", Image.fromarray(alpha))
    np.testing.assert_array_equal(decode(path, SPEC), PIXELS)


def test_grey_becomes_colour(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(PIXELS[..., 0]))
    np.testing.assert_array_equal(decode(path, SPEC), np.repeat(PIXELS[..., :1], 3, axis=2))


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    deep = np.array([[0, 257, 128 * 257, 65535]] * 2, np.uint16)
    path = save(tmp_path / "a.png", Image.fromarray(deep))
    assert decode(path, SPEC)[0, :, 1].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("mode", ["P", "1", "CMYK", "L", "LA"])
def test_other_modes_decode_to_colour(tmp_path: Path, mode: str) -> None:
    suffix = ".tif" if mode == "CMYK" else ".png"
    path = save(tmp_path / f"a{suffix}", Image.new("RGB", (4, 2), (255, 255, 255)).convert(mode))
    np.testing.assert_array_equal(decode(path, SPEC), np.full((2, 4, 3), 255))


def test_palette_with_transparency(tmp_path: Path) -> None:
    image = Image.fromarray(np.zeros((2, 4), np.uint8), "P")
    image.putpalette([10, 20, 30] + [0] * 765)
    path = save(tmp_path / "a.png", image, transparency=0)
    assert decode(path, SPEC)[0, 0].tolist() == [10, 20, 30]


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise
    path = save(tmp_path / "a.png", Image.fromarray(PIXELS.transpose(1, 0, 2)[::-1].copy()), exif=exif)
    np.testing.assert_array_equal(decode(path, SPEC), PIXELS)


def truncated(tmp_path: Path, suffix: str) -> Path:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    path = save(tmp_path / f"a{suffix}", Image.fromarray(noise))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp", ".tif", ".gif"])
def test_truncated_image(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(ArtifactError, match=r"cannot be decoded|not an image"):
        decode(truncated(tmp_path, suffix), SPEC)


def test_text_named_png(tmp_path: Path) -> None:
    path = tmp_path / "notes.png"
    path.write_text("This is not a picture.\n")
    with pytest.raises(ArtifactError, match="is not an image") as caught:
        decode(path, SPEC)
    assert caught.value.where == str(path) and caught.value.exit_code == 4


def test_empty_missing_and_folder(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    with pytest.raises(ArtifactError, match="is not an image"):
        decode(tmp_path / "empty.png", SPEC)
    with pytest.raises(ArtifactError, match="No such file"):
        decode(tmp_path / "missing.png", SPEC)
    with pytest.raises(ArtifactError, match="directory"):
        decode(tmp_path, SPEC)


def test_decompression_bomb_is_refused_before_decoding(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 12_000, 12_000, 8, 2, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    with pytest.warns(Image.DecompressionBombWarning), pytest.raises(ArtifactError, match="12000x12000; at most"):
        decode(path, SPEC)


def test_white_at_fix_position_7_saturates_to_127() -> None:
    image = np.array([[[255, 128, 1]]], np.uint8)
    assert to_int8(image, SPEC, 7).tolist() == [[[127, 64, 1]]]


def test_half_goes_up() -> None:
    spec = Preprocessing(1, 1, mean=(0.5, 0.5, 0.5), scale=(255.0, 255.0, 255.0))  # pixel - 127.5
    image = np.array([[[127, 128, 0]]], np.uint8)
    assert to_int8(image, spec, 0).tolist() == [[[0, 1, -127]]]


def test_channels_have_their_own_mean_and_scale() -> None:
    spec = Preprocessing(1, 1, mean=(0.0, 0.5, 1.0), scale=(1.0, 2.0, -1.0))
    image = np.full((1, 2, 1, 3), 255, np.uint8)
    np.testing.assert_array_equal(to_float(image, spec)[0, 0, 0], np.array([1, 1, 0], np.float32))
    assert to_int8(image, spec, 6).tolist() == [[[[64, 64, 0]], [[64, 64, 0]]]]


def test_table_is_the_quantized_float_value() -> None:
    spec = Preprocessing(1, 1, mean=(0.485, 0.456, 0.406), scale=(4.4, 4.5, 4.4))
    every = np.arange(256, dtype=np.uint8).reshape(256, 1, 1).repeat(3, axis=2)
    wanted = np.clip(np.floor(to_float(every, spec).astype(np.float64) * 32 + 0.5), -128, 127)
    np.testing.assert_array_equal(table(spec, 5), wanted[:, 0])


def test_any_fix_position_saturates() -> None:
    assert table(SPEC, 2**31 - 1)[:2, 0].tolist() == [0, 127] and not table(SPEC, -(2**31)).any()


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ArtifactError, match="pipe or device"):
        decode(tmp_path / "pipe.png", Preprocessing(4, 4))
