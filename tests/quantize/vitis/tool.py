"""The stand-in for the vendor's quantizer, ready for a test: what it answers, and the Pythons that can run it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from quantize.execute import Executor
from quantize.pipeline import Quantized, export, float_graph, quantize_graph
from tests.quantize.networks import images, small
from xmodel.artifact import write_json
from xmodel.graph import Array

STANDIN = Path(__file__).parent / "standin"
TOOL, LIBRARIES = STANDIN / "tool", STANDIN / "libraries"
PYENV = Path("~/.pyenv/versions").expanduser()


def batches() -> list[Array]:
    """Calibration images of `small()`: 4, 4 and a short batch of 3."""
    data = images(11)
    return [data[:4], data[4:8], data[8:]]


def answers(folder: Path) -> Quantized:
    """Fill `folder` with what the stand-in is to compute for `small()`: our own quantizer's result."""
    result = quantize_graph(float_graph(small(), "Small", images(1)), batches())
    folder.mkdir()
    export(result, folder)
    (folder / "Small_int.xmodel").rename(folder / "model.xmodel")
    write_json(folder / "bias_corr.json", {name: value.tolist() for name, value in result.bias_corr.items()})
    found = Executor(result.graph).run(batches()[0].transpose(0, 2, 3, 1))
    for index, op in enumerate(result.graph.outputs):
        value = found[op.name].transpose(0, 3, 1, 2) if found[op.name].ndim == 4 else found[op.name]
        np.save(folder / f"out{index}.npy", np.ascontiguousarray(value))
    return result


def use(
    monkeypatch: pytest.MonkeyPatch, folder: Path, *, fault: str = "", version: str = "3.5.0", bare: bool = False
) -> None:
    """Put the stand-in where a worker finds it; `bare` also gives it a torch and a numpy."""
    monkeypatch.setenv("PYTHONPATH", f"{TOOL}:{LIBRARIES}" if bare else str(TOOL))
    monkeypatch.setenv("STANDIN_ANSWERS", str(folder))
    monkeypatch.setenv("STANDIN_FAULT", fault)
    monkeypatch.setenv("STANDIN_VERSION", version)


def old_python(version: str) -> Path:
    """A real Python of that version, such as "3.6"; skips the test where the machine has none."""
    found = sorted(PYENV.glob(f"{version}.*/bin/python"))
    if not found:
        pytest.skip(f"there is no Python {version} under {PYENV}")
    return found[-1]


def has_torch(python: Path) -> bool:
    """Whether that Python has torch and numpy of its own."""
    done = subprocess.run([str(python), "-c", "import numpy, torch"], capture_output=True, check=False)
    return done.returncode == 0


def tensors(found: dict[str, Array]) -> dict[str, torch.Tensor]:
    """Arrays as tensors that may be written to."""
    return {name: torch.from_numpy(np.array(array)) for name, array in found.items()}


def read(path: Path) -> object:
    """A small JSON file."""
    return json.loads(path.read_text())
