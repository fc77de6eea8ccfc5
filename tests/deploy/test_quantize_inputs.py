"""`unmask quantize` on programs, modules and arrays, as a user gives them, and stopped in the middle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from quantize.calibrate import Calibrator
from tests.deploy.pictures import make_crops
from tests.deploy.tiny import NETWORK, exit_code, files, register
from tests.quantize.networks import images, small
from tests.shared import SHARED, needs_shared

GOLDEN = SHARED / "goldens/quantizer/a_tinycnn"
STATE = "calibration_state.json"
NET = """\
from torch import nn

class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4 * 14 * 14, 3)

    def forward(self, x):
        return self.fc(self.conv(x).relu().flatten(1))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with net.py, a program, arrays and crops; the current one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    np.save("x.npy", images(12))
    np.save("labels.npy", np.arange(12) % 3)
    make_crops(tmp_path / "crops", 4)
    return tmp_path


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`Small` as a program."""
    path = tmp_path_factory.mktemp("program") / "small.pt2"
    torch.export.save(torch.export.export(small(), (torch.zeros(1, 3, 16, 16),)), path)
    return path


@pytest.fixture
def _tiny() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        register(monkeypatch)
        yield


def _json(path: str) -> Any:
    return json.loads(Path(path).read_text())


def _quantize(*arguments: object) -> int:
    return exit_code("quantize", *arguments, "--out", "out", "-q")


OUTPUTS = {"quant_info.json", "bias_corr.npz", "run.json", "quant_report.json", "quant_report.html"}


@needs_shared
@pytest.mark.parametrize(
    ("variant", "switches"),
    [
        ("", []),
        ("nobc", ["--no-bias-correction"]),
        ("nocle", ["--no-equalize"]),
        ("plain", ["--no-equalize", "--no-bias-correction"]),
        ("nobc", ["config"]),
        ("nocle", ["config"]),
        ("plain", ["config"]),
    ],
)
def test_the_vendors_results(variant: str, switches: list[str], folder: Path) -> None:
    place = GOLDEN / "variants" / variant if variant else GOLDEN
    options = ["--config", place / "config.json"] if switches == ["config"] else switches
    network = ["--program", GOLDEN / "float_model.pt2", "--name", "TinyCNN"]
    calib = ["--calib", GOLDEN / "calib_inputs.npy", "--batch-size", 8, "--evaluate", 0]
    assert _quantize(*network, *calib, *options) == 0
    assert files(folder / "out") == OUTPUTS | {"TinyCNN_int.xmodel", "TinyCNN_float.xmodel"}
    found, wanted = _json("out/quant_info.json"), json.loads((place / "expected/quant_info.json").read_text())
    for key in ("param", "output", "input", "fast_finetuned", "bias_corrected"):
        assert found[key] == wanted[key], key
    recorded = place / "expected/bias_corr.npz"
    corrections = np.load("out/bias_corr.npz")
    if recorded.is_file():
        expected = np.load(recorded)
        for name in expected.files:
            np.testing.assert_allclose(corrections[name], expected[name], rtol=0, atol=1e-6)
    else:
        assert not corrections.files


def test_a_program_is_named_after_its_class_and_its_outputs_are_compared(folder: Path, program: Path) -> None:
    assert _quantize("--program", program, "--calib", "x.npy", "--batch-sizes", "5,7") == 0
    report = _json("out/quant_report.json")
    assert (report["model"], report["network"], report["images"], report["batches"]) == ("Small", "small.pt2", 12, 2)
    assert report["comparison"] is None and report["fidelity"]["top1"] is None
    assert report["fidelity"]["images"] == 12 and len(report["fidelity"]["outputs"]) == 2
    assert report["fidelity"]["outputs"][0]["sqnr"] > 20
    assert _json("out/quant_info.json")["bias_corrected"] is True
    assert "signal to noise of output 1" in Path("out/quant_report.html").read_text()


def test_a_module_with_labels(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--module", "net.py:Classifier", "--calib", "x.npy", "--labels", "labels.npy", "--seed", 1]
    assert exit_code("quantize", *arguments, "--out", "out") == 0
    top1 = _json("out/quant_report.json")["fidelity"]["top1"]
    assert top1["images"] == 12 and top1["same"] >= 0.75 and 0 <= top1["float"] <= 1
    assert "Top-1 accuracy" in capsys.readouterr().out
    assert files(folder / "out") == OUTPUTS | {"Classifier_int.xmodel", "Classifier_float.xmodel"}


def test_a_module_with_weights_and_a_folder_of_images(folder: Path) -> None:
    from xmodel import file
    from xmodel.preprocess import Preprocessing

    torch.manual_seed(5)
    state = {"conv.weight": torch.randn(4, 3, 3, 3), "conv.bias": torch.randn(4), "fc.weight": torch.randn(3, 784),
             "fc.bias": torch.zeros(3)}  # fmt: skip
    torch.save(state, "w.pth")
    options = ["--input-size", 16, 16, "--mean", 0.5, 0.25, 0.125, "--std", 0.5, 0.25, 1, "--color-order", "BGR"]
    arguments = ["--module", "net.py:Classifier", "--weights", "w.pth", "--calib", "crops", "--name", "Mine", *options]
    assert _quantize(*arguments) == 0
    graph = file.read(folder / "out/Mine_int.xmodel")
    assert Preprocessing.load(graph) == Preprocessing(
        16, 16, color_order="BGR", mean=(0.5, 0.25, 0.125), scale=(2.0, 4.0, 1.0)
    )
    weights = file.read(folder / "out/Mine_float.xmodel").op("Mine__conv_weight").array()
    np.testing.assert_array_equal(weights, state["conv.weight"].permute(0, 2, 3, 1).numpy())


def test_what_is_up_to_date_is_not_done_again(folder: Path) -> None:
    arguments = ["--module", "net.py:Classifier", "--calib", "x.npy"]
    assert _quantize(*arguments) == 0
    first = (folder / "out/run.json").stat().st_mtime_ns
    assert _quantize(*arguments) == 0
    assert (folder / "out/run.json").stat().st_mtime_ns == first
    (folder / "net.py").write_text(NET.replace("relu()", "sigmoid()"))
    assert _quantize(*arguments) == 0
    assert (folder / "out/run.json").stat().st_mtime_ns != first


def test_a_registered_network_on_an_array(_tiny: None, folder: Path) -> None:
    np.save("faces.npy", (images(9, size=32) * 255).round().astype(np.uint8))
    assert _quantize(*NETWORK, "--calib", "faces.npy", "--batch-size", 4) == 0
    report = _json("out/quant_report.json")
    assert (report["model"], report["batches"], report["comparison"]) == ("UNet", 3, None)
    assert len(report["fidelity"]["outputs"]) == 2


def test_a_note_about_maxmin(folder: Path) -> None:
    Path("config.json").write_text(json.dumps({"overall_quantize_config": {"method": "maxmin"}}))
    assert _quantize("--module", "net.py:Classifier", "--calib", "x.npy", "--config", "config.json") == 0
    assert any("maxmin has no effect" in note for note in _json("out/quant_report.json")["notes"])


def _stop_after(monkeypatch: pytest.MonkeyPatch, batches: int) -> None:
    real, seen = Calibrator.observe, 0

    def observe(self: Calibrator, batch: torch.Tensor) -> dict[str, torch.Tensor]:
        nonlocal seen
        seen += 1
        if seen > batches:
            raise KeyboardInterrupt
        return real(self, batch)

    monkeypatch.setattr(Calibrator, "observe", observe)


@pytest.mark.parametrize("batches", [1, 3])
def test_a_stopped_calibration_goes_on(
    batches: int, folder: Path, program: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["quantize", "--program", program, "--calib", "x.npy", "--batch-size", 3, "--evaluate", 2, "--out"]
    with monkeypatch.context() as patch:
        _stop_after(patch, batches)
        assert exit_code(*arguments, "out") == 130
    told = capsys.readouterr().err
    assert f"Calibration stopped after {3 * batches} of 12 images" in told and "run the same command again" in told
    assert files(folder / "out") == {STATE}
    assert exit_code(*arguments, "out") == 0
    assert f"Going on after {3 * batches} images" in capsys.readouterr().err
    assert exit_code(*arguments, "whole") == 0
    assert files(folder / "out") == files(folder / "whole") == OUTPUTS | {"Small_int.xmodel", "Small_float.xmodel"}
    for name in ("Small_int.xmodel", "Small_float.xmodel", "quant_info.json", "bias_corr.npz"):
        assert (folder / "out" / name).read_bytes() == (folder / "whole" / name).read_bytes()


@pytest.mark.parametrize("content", [None, "{", '{"key": 1}'])
def test_a_state_that_does_not_fit_is_not_used(
    content: str | None,
    folder: Path,
    program: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["quantize", "--program", program, "--calib", "x.npy", "--evaluate", 0, "--out", "out"]
    with monkeypatch.context() as patch:
        _stop_after(patch, 1)
        assert exit_code(*arguments, "--batch-size", 3) == 130
    if content is not None:
        (folder / "out" / STATE).write_text(content)
    capsys.readouterr()
    assert exit_code(*arguments, "--batch-size", 4) == 0
    assert f"{Path('out') / STATE} is not used" in capsys.readouterr().err
    assert _json("out/quant_report.json")["batches"] == 3 and STATE not in files(folder / "out")


def test_a_state_with_damaged_content_is_told(
    folder: Path, program: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["quantize", "--program", program, "--calib", "x.npy", "--batch-size", 3, "--evaluate", 0, "--out"]
    with monkeypatch.context() as patch:
        _stop_after(patch, 1)
        assert exit_code(*arguments, "out") == 130
    state = _json(f"out/{STATE}")
    (folder / "out" / STATE).write_text(json.dumps({**state, "history": {}}))
    assert exit_code(*arguments, "out") == 0
    assert "was not used after all: its content is damaged" in capsys.readouterr().err
    assert _json("out/quant_report.json")["batches"] == 4


MODULE = ["--module", "net.py:Classifier"]
ARRAY = ["--calib", "x.npy"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--program", "none.pt2", *ARRAY], 2, "There is no such program"),
        (["--program", "net.py", *ARRAY], 4, "This is no torch.export program"),
        (["--program", "x.npy", "--weights", "w", *ARRAY], 2, "do not go with --program"),
        (["--program", "x.npy", *MODULE, *ARRAY], 2, "--module and --program exclude each other"),
        (["--module", "net.py", *ARRAY], 2, "'net.py' does not name a class in a file"),
        (["--module", "none.py:Net", *ARRAY], 2, "There is no such Python file"),
        (["--module", "net.py:Nothing", *ARRAY], 2, "The file defines: Classifier."),
        ([*MODULE, "--calib", "crops"], 2, "Give --input-size HEIGHT WIDTH."),
        ([*MODULE, "--calib", "crops", "--input-size", 0, 5], 2, "An image of 0x5 pixels cannot be"),
        ([*MODULE, *ARRAY, "--input-size", 8, 8], 2, "Classifier takes images of 16x16, not 8x8"),
        ([*MODULE, *ARRAY, "--std", 1, 0, 1], 2, "--std above 0"),
        ([*MODULE, *ARRAY, "--weights", "none.pth"], 2, "none.pth"),
        ([*MODULE, *ARRAY, "--weights", "x.npy"], 4, "x.npy"),
        ([*MODULE, *ARRAY, "--batch-sizes", "4,4"], 2, "The batches 4,4 hold 8 images; 12 are there"),
        ([*MODULE, *ARRAY, "--batch-sizes", "4", "--batch-size", 4], 2, "exclude each other"),
        ([*MODULE, *ARRAY, "--name", "../x"], 2, "'../x' cannot be a network's name"),
        ([*MODULE, *ARRAY, "--labels", "x.npy"], 4, "whole numbers of shape (images,) are needed"),
        ([*MODULE, *ARRAY, "--labels", "short.npy"], 2, "There are 5 labels for 12 images"),
        ([*MODULE, *ARRAY, "--labels", "net.py"], 2, "have no names to find labels by"),
        ([*MODULE, *ARRAY, "--config", "none.json"], 2, "none.json"),
        ([*MODULE, *ARRAY, "--device", "gpu"], 2, "There is no device 'gpu'"),
        ([*MODULE, "--calib", "none"], 2, "No such file or directory"),
        ([*MODULE, "--calib", "net.py"], 2, "Calibration images are a folder or a .npy file"),
        ([*MODULE, "--calib", "cut.npy"], 4, "not a readable .npy array"),
        ([*MODULE, "--calib", "wide.npy"], 2, "torch.export cannot capture Classifier"),
        ([*MODULE, "--calib", "nan.npy"], 4, "Image 2 of this array holds NaN or infinity"),
        (["--mean", 1, 1, 1, *ARRAY], 2, "A registered network brings its own preprocessing"),
        (["--model", "uynet-lite", *ARRAY], 4, "the network takes (3, 224, 224)"),
    ],
)
def test_a_first_time_users_mistakes(
    arguments: list[Any], code: int, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("short.npy", np.zeros(5, np.int64))
    np.save("wide.npy", np.zeros((3, 3, 16, 20), np.float32))
    bad = images(3)
    bad[2] = np.nan
    np.save("nan.npy", bad)
    (folder / "cut.npy").write_bytes((folder / "x.npy").read_bytes()[:-50])
    assert _quantize(*arguments) == code
    told = capsys.readouterr().err
    assert message in told and "Traceback" not in told and "fault of unmask" not in told
    assert "run.json" not in (files(folder / "out") if (folder / "out").is_dir() else set())


def test_cuda_that_is_not_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert _quantize(*MODULE, *ARRAY, "--device", "cuda") == 3
    assert "No CUDA device can be used" in capsys.readouterr().err
    assert _quantize(*MODULE, *ARRAY, "--device", "auto") == 0


def test_labels_need_scores(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "net.py").write_text("from torch import nn\ndef make(): return nn.Sequential(nn.Conv2d(3, 2, 1))\n")
    assert _quantize("--module", "net.py:make", *ARRAY, "--labels", "labels.npy") == 2
    assert "Labels need an output with one row of class scores an image" in capsys.readouterr().err
