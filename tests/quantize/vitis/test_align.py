"""The vendor's graph and ours are matched op by op."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from quantize.analyze import analyze
from quantize.equalize import equalize
from quantize.pipeline import float_graph
from quantize.vitis.align import align
from tests.shared import SHARED, needs_shared
from xmodel import file

GOLDENS = SHARED / "goldens"
FILES = sorted(GOLDENS.glob("*/*/expected/model_int.xmodel"))


@needs_shared
@pytest.mark.parametrize("path", FILES, ids=[path.parents[1].name for path in FILES])
def test_reference_files(path: Path) -> None:
    folder = path.parents[1]
    meta = json.loads((folder / "case.json").read_text())
    program = torch.export.load(str(folder / "float_model.pt2"))
    ours = equalize(float_graph(program, meta["model_class"]))
    vendor = file.read(path)
    reference, told, missing = align(ours, vendor)
    assert missing == ()
    strange = {op.type for op in reference.ops if not op.is_const and op.name not in vendor.by_name}
    assert strange <= {"pad"}  # merged into a convolution
    if meta.get("status") != "fail":
        assert [op.output.shape for op in told.outputs] == [op.output.shape for op in ours.outputs]


@needs_shared
@pytest.mark.parametrize("case", ["a_tinycnn", "b_uynet_div8", "c2_ressimple", "e_edges"])
def test_the_layer_analysis_finds_every_tensor(case: str) -> None:
    folder = GOLDENS / "quantizer" / case
    meta = json.loads((folder / "case.json").read_text())
    ours = equalize(float_graph(torch.export.load(str(folder / "float_model.pt2")), meta["model_class"]))
    reference, told, _ = align(ours, file.read(folder / "expected/model_int.xmodel"))
    raw = np.load(folder / "test_input.npy")
    batch = raw.astype(np.float32) / np.float32(255) if raw.dtype == np.uint8 else raw
    layers = analyze(told, reference, [batch.transpose(0, 2, 3, 1)])
    fixes = [op for op in told.ops if op.type == "fix" and not told.op(op.inputs["input"][0]).is_const]
    assert len(layers) == len(fixes) > 0
    assert np.median([layer.sqnr_db for layer in layers]) > 15


@needs_shared
def test_an_op_without_a_counterpart_is_named_and_the_vendors_floats_are_taken() -> None:
    folder = GOLDENS / "quantizer/a_tinycnn"
    ours = equalize(float_graph(torch.export.load(str(folder / "float_model.pt2")), "TinyCNN"))
    vendor = file.read(folder / "expected/model_int.xmodel")
    ops = [replace(op, type="avgpool2d") if op.type == "maxpool2d" else op for op in vendor.ops]
    reference, told, missing = align(ours, vendor.with_ops(ops))
    assert missing[0] == next(op.name for op in ours.ops if op.type == "maxpool2d")
    assert {op.name for op in reference.ops} == {op.name for op in told.ops if op.type != "fix"}
    assert len(analyze(told, reference, [np.zeros((1, 32, 32, 3), np.float32)])) > 0
