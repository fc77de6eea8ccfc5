"""Reports: self-contained pages in which nothing from outside is markup."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any
from xml.dom import minidom

import cv2
import numpy as np
import pytest
from PIL import Image

from deploy import plots
from deploy.pictures import data_uri, overlay, pick, png, read_mask
from deploy.predictions import Prediction
from deploy.report import number, percent, provenance, render, seconds

EVIL = '<script>alert("x")</script>&\'"><img src=x onerror=1>'
RECORD = {"inputs": {EVIL: "00"}, "arguments": {"model": EVIL, "seed": None}, "versions": {"unmask": EVIL}}


def _infer_page(**changes: Any) -> str:
    report: dict[str, Any] = {
        "model": {"name": EVIL, "input": "224x224", "target": EVIL},
        "counts": {"inputs": 2, "read": 1, "real": 1, "fake": 0},
        "accuracy": None,
        "masks": None,
        "speed": {
            "crops": 2,
            "fps": 1.0,
            "seconds": 1.0,
            "stages": {EVIL: 1.0},
            "threads": 1,
            "batch": 8,
            "device": "emulator",
            "kernels": EVIL,
            "bottleneck": "host",
            "workers": 2,
            "device_busy": 0.43,
            "threads_to_try": 3,
            "host_ms": 1.5,
            "queue_ms": 2.5,
            "device_ms": 3.5,
            "sink_ms": 4.5,
        },
        "compat": {"name": EVIL, "flaws": [EVIL]},
        "unreadable": [{"file": EVIL, "reason": EVIL}],
        "missing_labels": [EVIL],
        "bad_masks": [],
    }
    figure = {
        "file": EVIL, "verdict": "REAL", "label": None, "p_real": 0.9, "share": 0.1,
        "plain": "data:,", "overlay": "data:,"
    }  # fmt: skip
    shown: dict[str, Any] = {"wrong": [], "certain": [figure], "unsure": []}
    drawn = {"roc": "", "scores": plots.histogram([("real", [0.9])], "P(real)"), "groups": [("real", EVIL)]}
    values = {"r": report, "plots": drawn, "figures": shown, "provenance": provenance(RECORD), "record": RECORD}
    return render("infer.html.j2", **{**values, **changes})


def test_nothing_from_outside_is_markup() -> None:
    page = _infer_page()
    assert "<script" not in page and "<img src=x" not in page
    assert page.count("&lt;script&gt;") >= 10


def test_the_page_loads_nothing() -> None:
    page = _infer_page()
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)
    assert "<link" not in page and "@import" not in page and "url(" not in page


def test_the_page_separates_host_queue_and_device() -> None:
    page = _infer_page()
    assert "1.50 ms a crop" in page and "2.50 ms a crop" in page and "3.50 ms a crop" in page
    assert (
        "busy 43 % of the time" in page
        and "try <code>--threads 3</code>" in page
        and "<b>decoding and preparing</b>" in page
    )


@pytest.mark.parametrize(
    "svg",
    [
        plots.roc([0, 0.5, 1], [0, 1, 1], 0.75),
        plots.roc([math.nan, math.nan], [0, 1], math.nan),
        plots.histogram([("fake", [0.0, 1.0, 0.5]), ("real", [])], "P(real)"),
        plots.histogram([], "P(real)"),
        plots.scatter([0.1, 0.2], [0.1, 0.3], "float", "compiled"),
        plots.scatter([], [], "a", "b"),
    ],
)
def test_plots_are_well_formed_and_hold_no_nan(svg: str) -> None:
    root = minidom.parseString(svg).documentElement
    assert root is not None and root.tagName == "svg"
    assert "nan" not in svg


def test_a_scatter_plot_is_thinned() -> None:
    values = np.linspace(0, 1, 10_001).tolist()
    assert 1000 < plots.scatter(values, values, "a", "b", limit=2000).count("<circle") <= 2000


def test_the_overlay_tints_only_marked_pixels() -> None:
    image = np.full((6, 6, 3), 100, np.uint8)
    mask = np.zeros((6, 6), bool)
    mask[1:5, 1:5] = True
    tinted = overlay(image, mask)
    np.testing.assert_array_equal(tinted[~mask], image[~mask])
    assert tinted[1, 1].tolist() == [255, 96, 0]  # the edge
    assert tinted[2, 2].tolist() == [154, 99, 65]  # 65 % image, 35 % tint
    half = np.zeros((3, 3), bool)
    half[0, 0] = True
    assert (overlay(image, half) != image).any(axis=2)[:2, :2].all()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 5), (224, 224)])
def test_a_mask_is_a_picture_that_others_read(tmp_path: Path, height: int, width: int) -> None:
    mask = np.random.default_rng(0).random((height, width)) < 0.5
    (tmp_path / "m.png").write_bytes(png(mask))
    with Image.open(tmp_path / "m.png") as image:
        assert image.mode == "L" and np.array_equal(np.asarray(image), mask * np.uint8(255))
    assert np.array_equal(np.asarray(cv2.imread(str(tmp_path / "m.png"), cv2.IMREAD_UNCHANGED)), mask * np.uint8(255))
    assert np.array_equal(read_mask(tmp_path / "m.png"), mask)


def test_pictures_travel_inside_the_page() -> None:
    assert data_uri(np.zeros((300, 200, 3), np.uint8)).startswith("data:image/jpeg;base64,")


def test_the_crops_shown_are_the_telling_ones() -> None:
    def crop(name: str, p_real: float, label: int | None = None) -> Prediction:
        return Prediction(name, name, name, p_real, 0.0, label)

    crops = [crop("a", 0.99, 1), crop("b", 0.01, 0), crop("c", 0.9, 0), crop("d", 0.51), crop("e", 0.6)]
    found = pick([*crops, Prediction("f", "f", "f", error="broken")], count=2)
    names = {kind: [p.file for p in chosen] for kind, chosen in found.items()}
    assert names == {"wrong": ["c"], "certain": ["b", "a"], "unsure": ["d", "e"]}


def test_numbers_for_reading() -> None:
    assert (percent(0.98437), percent(None), percent(math.nan)) == ("98.4 %", "–", "–")
    assert (number(1234.5, 1), number(math.inf)) == ("1,234.5", "–")
    assert (seconds(0.042), seconds(4.2), seconds(75.2), seconds(None)) == ("42 ms", "4.2 s", "1 min 15 s", "–")
