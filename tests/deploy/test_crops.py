"""Folders of crops, their labels and their true masks."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deploy.console import Output
from deploy.crops import FAKE, REAL, digest, find_masks, list_crops, read_labels, true_mask, video_of
from tests.deploy.pictures import make_crops, make_labels
from xmodel.errors import ArtifactError, UsageError


def test_crops_come_in_file_name_order_and_only_images(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", "a.png", ".hidden.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    crops = list_crops(tmp_path)
    assert [c.path.name for c in crops] == ["a.jpg", "a.png", "b.PNG"]
    assert [c.mask for c in crops] == ["a.jpg.png", "a.png.png", "b.png"]
    assert len(list_crops(tmp_path, limit=2)) == 2


def test_no_folder_and_no_image_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file or directory"):
        list_crops(tmp_path / "none")
    with pytest.raises(UsageError, match="There is no image in this folder"):
        list_crops(tmp_path)


def test_a_name_that_is_no_text_is_shown_escaped(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff\x1b[31m.png")).write_bytes(b"x")
    (crop,) = list_crops(tmp_path)
    assert crop.name == "\\udcff\\x1b[31m.png"
    assert len(digest([crop])) == 64


def test_the_digest_sees_names_contents_and_order(tmp_path: Path) -> None:
    make_crops(tmp_path, 2)
    one, two = list_crops(tmp_path)
    before = digest([one, two])
    assert digest([two, one]) != before
    two.path.write_bytes(b"other")
    assert digest([one, two]) != before
    two.path.unlink()
    assert digest([one, two]) not in (before, digest([one]))


@pytest.mark.parametrize(
    ("name", "video"),
    [("abc_12_0.png", "abc.mp4"), ("abc.png", "abc.mp4"), ("_1.png", ".mp4"), ("a.b_1.png", "a.b.mp4")],
)
def test_the_video_is_what_comes_before_the_first_underscore(name: str, video: str) -> None:
    assert video_of(name) == video


def test_labels_are_read_and_unusable_ones_left_out(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(
        '{"v0.mp4": {"label": "REAL"}, "v1.mp4": {"label": "fake"}, "v2.mp4": {"label": 3}, "v3.mp4": 1}'
    )
    labels = read_labels(tmp_path / "m.json")
    make_crops(tmp_path, 4)
    assert [labels.of(crop) for crop in list_crops(tmp_path)] == [REAL, FAKE, None, None]


@pytest.mark.parametrize("text", ["[]", "{", '{"a": {"label": "MAYBE"}}', "[" * 100_000])
def test_a_file_that_holds_no_labels_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(ArtifactError):
        read_labels(tmp_path / "m.json")


def test_labels_of_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Cannot read"):
        read_labels(tmp_path / "none.json")


def test_a_true_mask_is_resized_and_a_damaged_one_refused(tmp_path: Path) -> None:
    make_crops(tmp_path / "unseen", 2)
    masks = tmp_path / "masks"
    masks.mkdir()
    crop, other = list_crops(tmp_path / "unseen")
    assert find_masks(None, tmp_path / "unseen", Output(quiet=True)) == masks.resolve()
    Image.fromarray(np.array([[255, 0], [0, 0]], np.uint8)).save(masks / crop.mask)
    found = true_mask(masks, crop, 4, 4)
    assert found is not None and found.sum() == 4 and found[:2, :2].all()
    assert true_mask(masks, other, 4, 4) is None
    (masks / other.mask).write_text("no image")
    with pytest.raises(ArtifactError, match="cannot be decoded"):
        true_mask(masks, other, 4, 4)


def test_make_labels_is_what_read_labels_reads(tmp_path: Path) -> None:
    assert dict(read_labels(make_labels(tmp_path / "m.json", {"a": "REAL"})).by_video) == {"a.mp4": REAL}
