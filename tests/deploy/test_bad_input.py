"""What goes wrong at a user's: the message, the exit code, and what is left on the disk."""

from __future__ import annotations

import csv
import errno
import io
import json
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.deploy.pictures import make_crops, make_labels
from tests.deploy.tiny import COUNT, NETWORK, data, exit_code, files, register


@pytest.fixture(scope="module", autouse=True)
def _tiny() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        register(monkeypatch)
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with quantize/ and compile/ of the tiny network."""
    folder = tmp_path_factory.mktemp("model")
    crops, _ = data(folder)
    assert exit_code("quantize", *NETWORK, "--calib", crops, "--out", folder / "quantize", "--evaluate", 0, "-q") == 0
    assert exit_code("compile", folder / "quantize", "--out", folder / "compile", "-q") == 0
    return folder


def _spoil(crops: Path) -> list[str]:
    """Make two of the crops unreadable; returns their names."""
    whole = (crops / "v2_0_0.png").read_bytes()
    (crops / "v2_0_0.png").write_bytes(whole[: len(whole) // 2])
    (crops / "v5_0_0.png").write_text("not an image")
    return ["v2_0_0.png", "v5_0_0.png"]


def test_unreadable_crops_are_named_and_the_others_judged(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crops, labels = data(tmp_path)
    bad = _spoil(crops)
    arguments = ["infer", model / "compile", "--crops", crops, "--labels", labels, "--out", tmp_path / "out"]
    assert exit_code(*arguments) == 1
    told = capsys.readouterr()
    assert "2 inputs could not be read; the results of the others are kept." in told.err
    assert all(name in told.err for name in bad)
    assert len(np.load(tmp_path / "out/segmentation_output_array.npy")) == COUNT - 2
    rows = list(csv.DictReader((tmp_path / "out/predictions.csv").open()))
    assert [row["file"] for row in rows if row["error"]] == bad and len(rows) == COUNT
    assert not {f"masks/{name}" for name in bad} & files(tmp_path / "out")
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert [entry["file"] for entry in report["unreadable"]] == bad
    assert exit_code(*arguments) == 1  # up to date, and still not good


@pytest.mark.parametrize("verb", ["quantize", "evaluate", "compare"])
def test_other_stages_too_go_on_without_unreadable_crops(
    verb: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crops, labels = data(tmp_path)
    bad = _spoil(crops)
    arguments: dict[str, list[Any]] = {
        "quantize": ["--calib", crops, "--evaluate", 4],
        "evaluate": ["--crops", crops, "--labels", labels],
        "compare": ["--quantized", model / "quantize", "--compiled", model / "compile", "--crops", crops,
                    "--min-agreement", 0],
    }  # fmt: skip
    assert exit_code(verb, *NETWORK, *arguments[verb], "--out", tmp_path / "out") == 1
    told = capsys.readouterr().err
    assert "2 inputs could not be read" in told and all(name in told for name in bad)
    assert "run.json" in files(tmp_path / "out")


def _verb(verb: str, crops: Path, model: Path, out: Path) -> list[Any]:
    """A working command line of `verb`."""
    if verb == "quantize":
        return [verb, *NETWORK, "--calib", crops, "--out", out]
    if verb == "infer":
        return [verb, model / "compile", "--crops", crops, "--out", out]
    labels = make_labels(model / "labels.json", {"v0": "REAL", "v1": "FAKE"})
    if verb == "evaluate":
        return [verb, *NETWORK, "--crops", crops, "--labels", labels, "--out", out]
    if verb == "compile":
        return [verb, model / "quantize", "--out", out]
    models = ["--quantized", model / "quantize", "--compiled", model / "compile"]
    return ["compare", *NETWORK, *models, "--crops", crops, "--out", out]


VERBS = ["quantize", "infer", "evaluate", "compare"]


@pytest.mark.parametrize("verb", VERBS)
def test_an_empty_or_missing_folder(verb: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert exit_code(*_verb(verb, tmp_path / "empty", model, tmp_path / "out")) == 2
    assert "There is no image in this folder" in capsys.readouterr().err
    assert exit_code(*_verb(verb, tmp_path / "none", model, tmp_path / "out")) == 2
    assert "No such file or directory" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", VERBS)
def test_a_folder_in_which_nothing_is_an_image(
    verb: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "crops").mkdir()
    (tmp_path / "crops/a.png").write_text("text")
    assert exit_code(*_verb(verb, tmp_path / "crops", model, tmp_path / "out")) == 1
    assert "None of the 1 crops could be read" in capsys.readouterr().err
    assert files(tmp_path / "out") == set()


@pytest.mark.parametrize("verb", [*VERBS, "compile"])
def test_an_output_folder_that_cannot_be(
    verb: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crops, _ = data(tmp_path)
    (tmp_path / "file").write_text("in the way")
    assert exit_code(*_verb(verb, crops, model, tmp_path / "file" / "out")) == 3
    told = capsys.readouterr().err
    assert "Cannot write to this output folder" in told and "--out" in told


@pytest.mark.parametrize("verb", [*VERBS, "compile"])
def test_a_disk_that_fills_up(
    verb: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    crops, _ = data(tmp_path)
    arguments = _verb(verb, crops, model, tmp_path / "out")
    _full_after(monkeypatch, bytes_left=600)
    assert exit_code(*arguments) == 3
    assert "No space left on device" in capsys.readouterr().err
    assert not [
        name
        for name in files(tmp_path / "out")
        if not name.startswith(("masks/", ".journal/")) and _size(tmp_path, name) > 600
    ]
    assert not [name for name in files(tmp_path / "out") if name.endswith(".part") or name == "run.json"]


def _size(folder: Path, name: str) -> int:
    return (folder / "out" / name).stat().st_size


def _full_after(monkeypatch: pytest.MonkeyPatch, bytes_left: int) -> None:
    """Let every file that is opened for atomic writing hold `bytes_left` bytes at most."""
    import os

    class Full(io.BufferedRandom):
        def write(self, data: Any) -> int:
            if self.tell() + len(data) > bytes_left:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    real = os.fdopen

    def fdopen(handle: int, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if "w" not in mode:
            return real(handle, mode, *args, **kwargs)
        binary = Full(io.FileIO(handle, "w+", closefd=kwargs.get("closefd", True)))
        return binary if "b" in mode else io.TextIOWrapper(binary, encoding="utf-8", write_through=True)

    plain = os.write

    def write(handle: int, data: Any) -> int:
        about = os.fstat(handle)
        if stat.S_ISREG(about.st_mode) and about.st_size + len(data) > bytes_left:
            raise OSError(errno.ENOSPC, "No space left on device")
        return plain(handle, data)

    monkeypatch.setattr("xmodel.artifact.os.fdopen", fdopen)
    monkeypatch.setattr("xmodel.artifact.os.write", write)


def test_a_missing_label_is_a_warning_and_no_label_at_all_a_failure(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crops, _ = data(tmp_path)
    some = make_labels(tmp_path / "some.json", {f"v{i}": "REAL" for i in range(COUNT - 1)})
    none = make_labels(tmp_path / "none.json", {"other": "REAL"})
    arguments = ["infer", model / "compile", "--crops", crops, "--out", tmp_path / "out", "--labels"]
    assert exit_code(*arguments, some) == 0
    told = capsys.readouterr()
    assert "Warning: 1 crops have no label" in told.err and "v9_0_0.png" in told.err
    assert "Correct" in told.out
    assert exit_code(*arguments, none) == 1
    told = capsys.readouterr()
    assert "None of the 10 crops has a label" in told.err and "v0.mp4" in told.err
    assert "run.json" in files(tmp_path / "out")


@pytest.mark.parametrize(("content", "code"), [("{", 4), ("[1]", 4), (None, 2)])
def test_a_label_file_that_is_none(
    content: str | None, code: int, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crops, _ = data(tmp_path)
    if content is not None:
        (tmp_path / "bad.json").write_text(content)
    assert exit_code(*_verb("infer", crops, model, tmp_path / "out"), "--labels", tmp_path / "bad.json") == code
    assert str(tmp_path / "bad.json") in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_weights_that_the_quantized_graph_was_not_made_from(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crops, _ = data(tmp_path)
    right = [*_verb("compare", crops, model, tmp_path / "out"), "--min-agreement", 0]
    wrong = ["4" if argument == "3" else argument for argument in right]
    message = "was made from another network or other weights"
    assert exit_code(*right) == 0
    assert message not in capsys.readouterr().err
    assert exit_code(*wrong) == 0
    assert message in capsys.readouterr().err


def test_a_wrong_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch
    from safetensors.torch import save_file

    crops, _ = data(tmp_path)
    wrong = tmp_path / "wrong.safetensors"
    save_file({"some.weight": torch.zeros(3)}, wrong)
    text = tmp_path / "text.pth"
    text.write_text("no checkpoint")
    for weights in (wrong, text, tmp_path / "missing.pth"):
        arguments = ["--model", "tiny", "--weights", weights, "--calib", crops, "--out", tmp_path / "out"]
        assert exit_code("quantize", *arguments) in (2, 4)
        assert weights.name in capsys.readouterr().err
        assert not (tmp_path / "out").exists() or files(tmp_path / "out") == set()


def test_an_unknown_model_and_an_unknown_target(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crops, _ = data(tmp_path)
    assert exit_code("quantize", "--model", "nonsense", "--calib", crops, "--out", tmp_path / "out") == 2
    assert "nonsense" in capsys.readouterr().err
    assert exit_code("compile", model / "quantize", "--target", "nonsense", "--out", tmp_path / "out") == 2
    assert "nonsense" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"text", b"\x00" * 100])
def test_a_file_that_is_no_xmodel(
    content: bytes, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crops, _ = data(tmp_path)
    (tmp_path / "bad.xmodel").write_bytes(content)
    for arguments in (
        ["infer", tmp_path / "bad.xmodel", "--crops", crops],
        ["compile", tmp_path / "bad.xmodel"],
        ["run", tmp_path / "bad.xmodel", "--input", "x.npy"],
    ):
        assert exit_code(*arguments, "--out", tmp_path / "out") == 4
        assert "bad.xmodel" in capsys.readouterr().err
    assert exit_code("infer", model / "quantize/UNet_int.xmodel", "--crops", crops, "--out", tmp_path / "out") == 4
    assert "is not compiled" in capsys.readouterr().err


def test_the_card_is_not_there(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    crops, _ = data(tmp_path)
    assert exit_code(*_verb("infer", crops, model, tmp_path / "out"), "--device", "card") == 3
    assert "--device emulator" in capsys.readouterr().err


def test_true_masks_are_not_overwritten(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_crops(tmp_path / "unseen", 1)
    (tmp_path / "masks").mkdir()
    assert exit_code(*_verb("infer", tmp_path / "unseen", model, tmp_path)) == 2
    assert "would overwrite the true masks" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argument", "code", "message"),
    [
        ("none.npy", 2, "Cannot read this array"),
        ("text.npy", 4, "not a readable .npy array"),
        ("pickle.npy", 4, "not a readable .npy array"),
        ("wrong.npy", 2, "takes [N, 32, 32, 3]"),
        ("nowhere=right.npy", 2, "has no input 'nowhere'"),
    ],
)
def test_arrays_that_do_not_fit(
    argument: str, code: int, message: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("text.npy").write_text("text")
    np.save("pickle.npy", np.array([{}]), allow_pickle=True)
    np.save("wrong.npy", np.zeros((1, 8, 8, 3), np.float32))
    np.save("right.npy", np.zeros((1, 32, 32, 3), np.float32))
    assert exit_code("run", model / "compile/UNet.xmodel", "--input", argument, "--out", "out") == code
    assert message in capsys.readouterr().err


def _interrupt_after(monkeypatch: pytest.MonkeyPatch, place: str, calls: int) -> None:
    """Ctrl-C in the middle of call number `calls` of the function at `place`."""
    module, _, name = place.rpartition(".")
    import importlib

    real: Callable[..., Any] = getattr(importlib.import_module(module), name)
    seen = 0

    def function(*args: Any, **kwargs: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == calls:
            signal.raise_signal(signal.SIGINT)
        return real(*args, **kwargs)

    monkeypatch.setattr(place, function)


@pytest.mark.parametrize(
    ("verb", "place", "calls"),
    [
        ("quantize", "deploy.batches.decode", 3),
        ("quantize", "quantize.kernels.convolve", 30),
        ("quantize", "deploy.quantize_report.measure", 1),
        ("compile", "compile.pipeline.partition", 1),
        ("compile", "xmodel.file.write", 1),
        ("infer", "deploy.deployed.decode", 5),
        ("infer", "deploy.pictures.png", 4),
        ("infer", "deploy.infer.write_csv", 1),
        ("infer", "deploy.infer.write_html", 1),
        ("compare", "deploy.batches.decode", 3),
        ("compare", "deploy.compare_stage.noise", 1),
        ("evaluate", "deploy.batches.decode", 3),
    ],
)
def test_ctrl_c_leaves_nothing_half_done_and_the_next_run_completes(
    verb: str,
    place: str,
    calls: int,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    crops, _ = data(tmp_path)
    arguments = [*_verb(verb, crops, model, tmp_path / "out")]
    if verb == "compare":
        arguments += ["--min-agreement", 0]
    with monkeypatch.context() as patch:
        _interrupt_after(patch, place, calls)
        assert exit_code(*arguments) == 130
    assert f"Interrupted during `{verb}`" in capsys.readouterr().err
    left = files(tmp_path / "out")
    assert "run.json" not in left and not [name for name in left if name.endswith(".part")]
    left = {name for name in left if not name.startswith(".journal/")}  # no results: the next run goes on with it
    for name in left:
        _check_complete(tmp_path / "out" / name)
    assert exit_code(*arguments) == 0
    assert left - {"calibration_state.json"} <= files(tmp_path / "out")


def _check_complete(path: Path) -> None:
    """A file under its final name opens as what it is."""
    from PIL import Image

    from xmodel import file

    if path.suffix == ".npy":
        assert len(np.load(path)) == COUNT
    elif path.suffix == ".xmodel":
        file.read(path)
    elif path.suffix == ".json":
        json.loads(path.read_text())
    elif path.suffix == ".png":
        with Image.open(path) as image:
            image.load()
    else:
        assert path.suffix in (".csv", ".npz", ".txt", ".html") and path.stat().st_size
