"""Photographs: where they are read from, how they are split, where the face is, how crops are cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skimage.data import astronaut

from model.augment import augment
from model.faces import FAKE, REAL, Photo, cut, find_face, fixed_box, load_photos, random_box, select, source_of
from model.selfblend import FaceBox
from tests.model.pictures import folder, photos, picture
from xmodel.errors import ArtifactError, UsageError


def test_folders(tmp_path: Path) -> None:
    data = folder(tmp_path / "data", real=3, fake=2)
    (data / "real" / "notes.txt").write_text("not a picture")
    found = load_photos(data)
    assert [(photo.name, photo.label) for photo in found] == [
        ("fake_0.png", FAKE),
        ("fake_1.png", FAKE),
        ("real_0.png", REAL),
        ("real_1.png", REAL),
        ("real_2.png", REAL),
    ]
    assert np.array_equal(found[2].image, picture(1000))  # RGB, as it was written


def test_csv(tmp_path: Path) -> None:
    data = folder(tmp_path / "data", real=2, fake=1)
    table = data / "labels.csv"
    table.write_text("file,label\nreal/real_1.png,real\nfake/fake_0.png,FAKE\n")
    assert [(photo.name, photo.label) for photo in load_photos(table)] == [("fake_0.png", 0), ("real_1.png", 1)]
    table.write_text("file,label\nreal/real_1.png,perhaps\n")
    with pytest.raises(UsageError, match=r"Line 2 of .* real or fake"):
        load_photos(table)


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no genuine photographs"):
        load_photos(tmp_path)


def test_no_image(tmp_path: Path) -> None:
    data = folder(tmp_path / "data", real=1, fake=0)
    for content in (b"", b"text"):
        (data / "real" / "broken.png").write_bytes(content)
        with pytest.raises(ArtifactError, match=r"broken\.png: This is not an image"):
            load_photos(data)


def test_boxes_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, cache = folder(tmp_path / "data", real=2, fake=0), tmp_path / "cache" / "boxes.json"
    first = load_photos(data, cache)

    def never(image: object) -> FaceBox:
        raise AssertionError("the box was in the cache")

    monkeypatch.setattr("model.faces.find_face", never)
    assert [photo.face for photo in load_photos(data, cache)] == [photo.face for photo in first]
    monkeypatch.undo()
    cache.write_text("{damaged")
    assert [photo.face for photo in load_photos(data, cache)] == [photo.face for photo in first]


def test_split_is_by_source_and_about_80_8_12() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    many = [Photo(f"train_real_{i}.jpg", REAL, image, FaceBox(32, 32, 32)) for i in range(3000)]
    shares = [len(select(many, split, REAL)) / 3000 for split in ("train", "val", "test")]
    np.testing.assert_allclose(shares, [0.80, 0.08, 0.12], atol=0.02)
    assert source_of("abcdef_30_0.png") == source_of("abcdef_60_1.png") == "abcdef"
    assert source_of("train_real_10115.jpg") == "train_real_10115"
    frames = [Photo(f"abcdef_{30 * i}_0.png", REAL, image, FaceBox(32, 32, 32)) for i in range(20)]
    assert len({photo.split for photo in frames}) == 1


def test_finds_the_face_of_the_portrait() -> None:
    crop = np.ascontiguousarray(astronaut()[20:276, 90:346])  # type: ignore[no-untyped-call]
    box = find_face(crop)
    assert abs(box.x - (224 - 90)) < 25
    assert abs(box.y - (125 - 20)) < 30
    assert 80 < box.side < 170


def test_default_box_where_there_is_no_face() -> None:
    assert find_face(np.full((200, 100, 3), 90, np.uint8)) == FaceBox(50, 100, 52)


def test_cut_at_the_same_scale_is_a_slice() -> None:
    photo = Photo("a.png", REAL, picture(1, 96), FaceBox(40, 50, 30))
    crop, face = cut(photo, FaceBox(44, 52, 32), 32)
    assert np.array_equal(crop, photo.image[36:68, 28:60])
    assert face == FaceBox(12, 14, 30)
    flipped, mirrored = cut(photo, FaceBox(44, 52, 32), 32, flip=True)
    assert np.array_equal(flipped, crop[:, ::-1])
    assert mirrored == FaceBox(20, 14, 30)


@pytest.mark.parametrize("size", [24, 48, 160])
def test_cut_keeps_the_place_at_any_scale(size: int) -> None:
    image = np.zeros((96, 96, 3), np.uint8)
    image[40:56, 24:40] = 255  # centre (32, 48)
    photo = Photo("a.png", REAL, image, FaceBox(32, 48, 16))
    crop, face = cut(photo, FaceBox(48, 48, 80), size)
    rows, columns = np.indices((size, size)) + 0.5
    weight = crop[..., 0] / crop[..., 0].sum()
    assert (weight * columns).sum() == pytest.approx(face.x, abs=0.6)
    assert (weight * rows).sum() == pytest.approx(face.y, abs=0.6)
    assert face.side == pytest.approx(16 * size / 80)


def test_boxes_stay_within_the_photograph_s_size() -> None:
    photo = photos(1, REAL)[0]
    assert fixed_box(photo, 1.4).side == pytest.approx(48 * 1.4)
    assert fixed_box(photo, 9).side == 96
    rng = np.random.default_rng(0)
    sides = [random_box(photo, rng).side for _ in range(300)]
    assert 48 <= min(sides) < 55
    assert 90 < max(sides) <= 96


def test_augmentation_is_reproducible_and_keeps_the_kind() -> None:
    image = picture(2)
    for seed in range(30):
        out = augment(image, np.random.default_rng(seed))
        assert out.shape == image.shape
        assert out.dtype == np.uint8
        assert np.array_equal(out, augment(image, np.random.default_rng(seed)))
