from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model import samples
from model.samples import make_samples
from xmodel.errors import UnavailableError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("samples") / "set"
    assert make_samples(out) is True
    return out


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "VIDEOS", {"calib": 2, "unseen": 2})


def _labels(made: Path) -> dict[str, dict[str, str | None]]:
    labels: dict[str, dict[str, str | None]] = json.loads((made / "metadata.json").read_text())
    return labels


def _key(crop: Path) -> str:
    return crop.name.split("_")[0] + ".mp4"


def test_counts_names_and_sizes(made: Path) -> None:
    for folder, count in (("calib", 128), ("unseen", 96)):
        crops = sorted((made / folder).iterdir())
        assert len(crops) == count
        for crop in crops:
            assert re.fullmatch(r"[a-z]{10}_(0|30|60|90)_0\.png", crop.name)
            with Image.open(crop) as image:
                assert (image.format, image.size, image.mode) == ("PNG", (224, 224), "RGB")


def test_half_is_forged_and_every_crop_has_a_label(made: Path) -> None:
    labels = _labels(made)
    for folder, split, each in (("calib", "train", 64), ("unseen", "test", 48)):
        crops = list((made / folder).iterdir())
        assert Counter(labels[_key(crop)]["label"] for crop in crops) == {"REAL": each, "FAKE": each}
        assert {labels[_key(crop)]["split"] for crop in crops} == {split}


def test_originals_are_genuine_videos_of_the_same_folder(made: Path) -> None:
    labels = _labels(made)
    assert len(labels) == 56
    for entry in labels.values():
        if entry["label"] == "REAL":
            assert entry["original"] is None
        else:
            original = labels[str(entry["original"])]
            assert (original["label"], original["split"]) == ("REAL", entry["split"])


def test_folders_share_no_video_and_no_picture(made: Path) -> None:
    calib, unseen = ({_key(crop) for crop in (made / folder).iterdir()} for folder in ("calib", "unseen"))
    assert not calib & unseen
    digests = {hashlib.sha256(crop.read_bytes()).digest() for f in ("calib", "unseen") for crop in (made / f).iterdir()}
    assert len(digests) == 224


def test_masks_are_true_to_their_labels(made: Path) -> None:
    labels = _labels(made)
    masks = sorted((made / "masks").iterdir())
    assert [mask.name for mask in masks] == sorted(c.name for f in ("calib", "unseen") for c in (made / f).iterdir())
    for mask in masks:
        pixels = np.asarray(Image.open(mask))
        assert pixels.shape == (224, 224)
        assert set(np.unique(pixels)) <= {0, 255}
        share = float((pixels > 0).mean())
        assert (0.01 < share < 0.9) if labels[_key(mask)]["label"] == "FAKE" else share == 0


def test_a_forgery_differs_from_its_frame_where_the_mask_is(monkeypatch: pytest.MonkeyPatch) -> None:
    forged = next(video for video in samples.plan(0) if video.forged)
    portrait, _ = samples._portrait()
    crop, mask = samples.render(forged, portrait, np.random.default_rng(5))
    monkeypatch.setattr(samples, "self_blend", lambda image, _random, _difficulty: (image, mask))
    genuine, _ = samples.render(forged, portrait, np.random.default_rng(5))
    change = np.abs(crop.astype(int) - genuine).mean(axis=2)
    assert change[mask > 0].mean() > 2 * change[mask == 0].mean()


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, few: None) -> None:
    def made(name: str, seed: int) -> dict[str, bytes]:
        make_samples(tmp_path / name, seed)
        files = (path for path in (tmp_path / name).rglob("*") if path.is_file())
        return {path.relative_to(tmp_path / name).as_posix(): path.read_bytes() for path in files}

    first, second, other = made("a", 0), made("b", 0), made("c", 1)
    assert len(first) == 2 * 16 + 3
    records = [json.loads(files.pop("run.json")) for files in (first, second)]
    assert first == second
    # the one thing that differs between two runs: how long they took
    assert all(record.pop("seconds") > 0 for record in records) and records[0] == records[1]
    assert first.keys() != other.keys()


def test_another_seed_gives_other_videos() -> None:
    assert {video.name for video in samples.plan(0)}.isdisjoint(video.name for video in samples.plan(1))


def test_a_second_run_finds_it_up_to_date_and_mends_what_is_missing(tmp_path: Path, few: None) -> None:
    assert make_samples(tmp_path) is True
    assert make_samples(tmp_path) is False
    next((tmp_path / "unseen").iterdir()).unlink()
    assert make_samples(tmp_path) is True
    assert len(list((tmp_path / "unseen").iterdir())) == 8


def test_it_says_what_it_is(made: Path) -> None:
    assert "demonstration set of one person" in (made / "README.txt").read_text()
    assert "demonstration set of one person" in str(make_samples.__doc__)


def test_a_missing_portrait_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.samples.resources.files", lambda _package: tmp_path)
    with pytest.raises(UnavailableError, match="carries no portrait"):
        make_samples(tmp_path / "out")


def test_an_unwritable_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="Cannot write to this output folder"):
        make_samples(tmp_path / "file")
