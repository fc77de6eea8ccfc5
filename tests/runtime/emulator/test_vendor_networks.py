"""Whole networks against the integers that the vendor's quantizer recorded for every layer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arch import targets
from compile.pipeline import compile_graph
from runtime.emulator.program import KernelChoice, Program
from tests.runtime.emulator.native import needs_native
from tests.shared import SHARED, needs_shared
from xmodel import file
from xmodel.graph import Array, Graph

GOLDENS = SHARED / "goldens"
# interp_size: the vendor's quantizer interpolates in another order of float operations than the vendor's runner;
# convT_k3s2p1op1: the real tool failed on it and recorded no layers.
LEFT_OUT = {"interp_size", "convT_k3s2p1op1"}


def runnable() -> list[str]:
    """Cases whose quantized file holds XIR's own ops only."""
    folders = (path.parent.parent for path in sorted(GOLDENS.glob("*/*/expected/model_int.xmodel")))
    return [f"{f.parent.name}/{f.name}" for f in folders if f.name not in LEFT_OUT and not _custom(f)]


def _custom(folder: Path) -> bool:
    listing = (folder / "expected" / "xmodel_ops.json").read_text()
    return '"nndct_' in listing or '"aten::' in listing


def case(name: str) -> tuple[Graph, Array, dict[str, tuple[int, Array]]]:
    """The quantized graph, its float NHWC input, and (fix point, integers) of every recorded activation."""
    folder = GOLDENS / name
    x = np.load(folder / "test_input.npy")
    real = x.astype(np.float32) / np.float32(255) if x.dtype == np.uint8 else x
    described: dict[str, Any] = json.loads((folder / "expected" / "layers_int8.json").read_text())
    with np.load(folder / "expected" / "layers_int8.npz") as arrays:
        layers = {
            key: (value["fix_point"], arrays[key])
            for key, value in described.items()
            if isinstance(value, dict) and "fix_point" in value and not value.get("is_param")
        }
    graph = file.read(Path(folder / "expected" / "model_int.xmodel"))
    return graph, np.ascontiguousarray(real.transpose(0, 2, 3, 1)), layers


@needs_shared
@pytest.mark.parametrize("name", runnable())
def test_quantized_graph_in_float(name: str) -> None:
    graph, x, layers = case(name)
    program = Program(graph, "reference")
    tensors = program.run({program.inputs[0].name: x}, dump=True)
    compared = [key for key in layers if key in tensors]
    assert len(compared) >= 2
    for key in compared:
        fix_point, wanted = layers[key]
        np.testing.assert_array_equal(tensors[key].reshape(-1) * 2.0**fix_point, wanted.reshape(-1), err_msg=key)


@needs_shared
@pytest.mark.parametrize("kernels", ["reference", "torch", pytest.param("native", marks=needs_native)])
@pytest.mark.parametrize("name", runnable())
def test_compiled_graph_in_integers(name: str, kernels: KernelChoice) -> None:
    graph, x, layers = case(name)
    program = Program(compile_graph(graph, targets.find(targets.DEFAULT)), kernels)
    tensors = program.run({program.inputs[0].name: x}, dump=True)
    compared = [key for key in layers if key in tensors and tensors[key].dtype == np.int8]
    assert len(compared) >= 2
    for key in compared:
        np.testing.assert_array_equal(tensors[key].reshape(-1), layers[key][1].reshape(-1), err_msg=key)
