"""A U-YNet of 32x32 pixels with random weights: the whole pipeline in a second."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy import command
from model import registry
from model.registry import ModelSpec
from tests.deploy.pictures import make_crops, make_labels
from xmodel.preprocess import Preprocessing

COUNT = 10
NETWORK = ["--model", "tiny", "--seed", "3"]


def register(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `--model tiny` known."""
    spec = ModelSpec("tiny", "Tiny U-YNet", "UNet", 4, Preprocessing(32, 32), None)
    monkeypatch.setattr(registry, "MODELS", {**registry.MODELS, "tiny": spec})


def exit_code(*arguments: object) -> int:
    """Run `unmask` in this process."""
    with pytest.raises(SystemExit) as caught:
        command.main([str(a) for a in arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def data(folder: Path) -> tuple[Path, Path]:
    """A folder of `COUNT` crops and their label file."""
    make_crops(folder / "crops", COUNT)
    labels = {f"v{i}": "REAL" if i % 2 else "FAKE" for i in range(COUNT)}
    return folder / "crops", make_labels(folder / "metadata.json", labels)


def compiled(folder: Path) -> Path:
    """crops/, quantize/ and compile/ of the network in `folder`; the last of them."""
    with pytest.MonkeyPatch.context() as patch:
        register(patch)
        crops, _ = data(folder)
        calib = ["--calib", crops, "--limit", 4, "--evaluate", 0, "-q"]
        assert exit_code("quantize", *NETWORK, *calib, "--out", folder / "quantize") == 0
        assert exit_code("compile", folder / "quantize", "--out", folder / "compile", "-q") == 0
    return folder / "compile"


def files(folder: Path) -> set[str]:
    """Every file below `folder`, relative."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
