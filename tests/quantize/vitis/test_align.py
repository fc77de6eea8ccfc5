"""The vendor's graph and ours are matched op by op."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from quantize.analyze import analyze
from quantize.capture import capture
from quantize.equalize import equalize
from quantize.fold import fold_batch_norm
from quantize.vitis.align import align
from tests.shared import SHARED, needs_shared
from xmodel import file

GOLDENS = SHARED / "goldens/quantizer"


@needs_shared
@pytest.mark.parametrize("case", ["a_tinycnn", "b_uynet_div8", "c2_ressimple", "e_edges"])
def test_reference_files(case: str) -> None:
    folder = GOLDENS / case
    meta = json.loads((folder / "case.json").read_text())
    program = torch.export.load(str(folder / "float_model.pt2"))
    ours = equalize(fold_batch_norm(capture(program, meta["model_class"])))
    vendor = file.read(folder / "expected/model_int.xmodel")
    reference, told, missing = align(ours, vendor)
    assert missing == ()
    assert {op.name for op in reference.ops if not op.is_const} <= set(vendor.by_name)
    assert len(told.outputs) == meta["n_outputs"]
    raw = np.load(folder / "test_input.npy")
    batch = raw.astype(np.float32) / np.float32(255) if raw.dtype == np.uint8 else raw
    layers = analyze(told, reference, [batch.transpose(0, 2, 3, 1)])
    fixes = [op for op in told.ops if op.type == "fix" and not told.op(op.inputs["input"][0]).is_const]
    assert len(layers) == len(fixes) > 0
    assert np.median([layer.sqnr_db for layer in layers]) > 15
    shapes = [op.output.shape for op in ours.outputs]
    assert [op.output.shape for op in told.outputs] == shapes


@needs_shared
def test_an_op_without_a_counterpart_is_named() -> None:
    folder = GOLDENS / "a_tinycnn"
    ours = equalize(fold_batch_norm(capture(torch.export.load(str(folder / "float_model.pt2")), "TinyCNN")))
    pool = next(op for op in ours.ops if op.type == "maxpool2d")
    ops = [replace(op, type="odd") if op is pool else op for op in ours.ops]
    odd = ours.with_ops(ops).with_attrs(return_ops=[op.name for op in ours.outputs])
    _, _, missing = align(odd, file.read(folder / "expected/model_int.xmodel"))
    assert missing[0] == pool.name
