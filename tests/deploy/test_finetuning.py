"""`unmask quantize --fast-finetune` and `--learn-rounding`, as a user gives them."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deploy.calibration import ArrayFile
from deploy.finetuning import choose, first_images
from quantize import refine
from quantize.learned_rounding import learn_rounding
from quantize.pipeline import float_graph
from tests.deploy.tiny import exit_code
from tests.quantize.networks import images, small
from xmodel.errors import UsageError


@pytest.fixture
def arguments(tmp_path: Path) -> list[object]:
    """`Small` as a program and 12 images in batches of 4."""
    torch.export.save(torch.export.export(small(), (torch.from_numpy(images(1)),)), tmp_path / "small.pt2")
    np.save(tmp_path / "x.npy", images(12))
    return ["quantize", "--program", tmp_path / "small.pt2", "--calib", tmp_path / "x.npy", "--batch-size", 4,
            "--evaluate", 2, "--out", tmp_path / "out"]  # fmt: skip


def _report(folder: Path) -> Any:
    return json.loads((folder / "out/quant_report.json").read_text())


def test_learned_rounding(arguments: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refine, "learn_rounding", partial(learn_rounding, steps=40))
    assert exit_code(*arguments, "-q") == 0
    before = (tmp_path / "out/Small_int.xmodel").read_bytes()
    assert _report(tmp_path)["tuning"] is None
    assert exit_code(*arguments, "--learn-rounding", "--finetune-images", 6, "-q") == 0
    report = _report(tmp_path)
    assert (tmp_path / "out/Small_int.xmodel").read_bytes() != before
    assert sum(layer["changed"] for layer in report["tuning"]["layers"]) > 0
    assert report["notes"][-1].startswith("Finetuning changed ")
    assert report["settings"]["finetune"] == "learned" and report["images"] == 12
    run = json.loads((tmp_path / "out/run.json").read_text())
    assert run["arguments"]["finetune_images"] == 6
    assert json.loads((tmp_path / "out/quant_info.json").read_text())["fast_finetuned"] is True


def test_fast_finetune(arguments: list[object], tmp_path: Path) -> None:
    assert exit_code(*arguments, "--fast-finetune", "-q") == 0
    report = _report(tmp_path)
    assert report["settings"]["finetune"] == "adaquant" and report["images"] == 12
    assert [layer["changed"] for layer in report["tuning"]["layers"]] == [0] * 5  # three batches are too few


def test_options_that_exclude_each_other(arguments: list[object], capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(*arguments, "--fast-finetune", "--learn-rounding") == 2
    assert "--fast-finetune and --learn-rounding exclude each other" in capsys.readouterr().err
    assert exit_code(*arguments, "--finetune-images", 5) == 2
    assert "--finetune-images 5 has no effect without finetuning" in capsys.readouterr().err


def test_the_vendors_tool_takes_all_images() -> None:
    assert choose(True, False, None, "vitis") == ("adaquant", 128)
    assert choose(False, True, 32, "unmask") == ("learned", 32)
    with pytest.raises(UsageError, match="finetunes on all calibration images"):
        choose(True, False, 5, "vitis")


def test_the_first_images_in_the_calibrations_batches() -> None:
    data = images(10)
    source = ArrayFile(Path("x.npy"), data, 4)
    graph = float_graph(small(), "Small", data[:1])
    for count, sizes in ((6, [4, 2]), (4, [4]), (1, [1]), (99, [4, 4, 2])):
        found = list(first_images(source, graph, count))
        assert [len(batch) for batch in found] == sizes
        np.testing.assert_array_equal(np.concatenate(found), data[: sum(sizes)])
