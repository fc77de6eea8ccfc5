"""Equality with the vendor's quantizer: positions, int8 parameters and int8 activations."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from quantize.execute import Executor
from quantize.pipeline import Quantized, Settings, float_graph, quantize_graph
from tests.shared import SHARED, needs_shared
from xmodel import file
from xmodel.graph import Array, Op

GOLDENS = SHARED / "goldens"
NETWORKS = ["a_tinycnn", "b_uynet_div8", "c2_ressimple", "e_edges", "meso4_real"]
OPS = [
    "F_relu6", "add", "adaptive_avg_1", "avgpool3", "avgpool3_pad", "bn_standalone", "cat_same", "convT_bn_relu",
    "convT_dw", "convT_k2s2", "conv_dil2", "conv_group2", "dropout", "flatten_fc", "interp_bilinear",
    "interp_nearest", "leaky_relu_0_1", "maxpool_pad", "mul", "relu", "relu6", "sigmoid", "softmax_tail", "sub",
]  # fmt: skip
CASES = [GOLDENS / "quantizer" / name for name in NETWORKS] + [GOLDENS / "opzoo" / name for name in OPS]


def _load(path: Path) -> Array:
    """Images as the goldens store them: uint8 means value / 255 in float32."""
    array: Array = np.load(path)
    return array.astype(np.float32) / np.float32(255) if array.dtype == np.uint8 else array


def _quantize(case: Path, settings: Settings | None = None) -> Quantized:
    meta = json.loads((case / "case.json").read_text())
    data = _load(case / "calib_inputs.npy")

    def batches() -> Iterator[Array]:
        start = 0
        for size in meta["calib_batch_sizes"]:
            yield data[start : start + size]
            start += size

    program = torch.export.load(str(case / "float_model.pt2"))
    return quantize_graph(float_graph(program, meta["model_class"]), batches(), settings)


def _int8_tensors(case: Path, expected: Path, result: Quantized) -> Iterator[tuple[str, Array]]:
    """Every fixed tensor on the test image as integers, under the vendor's op name."""
    nodes = {n["key"]: n["xmodel_op"] for n in json.loads((expected / "nodes.json").read_text())}
    fixes = [op for op in result.graph.ops if op.type == "fix"]
    test = _load(case / "test_input.npy").transpose(0, 2, 3, 1)
    found = Executor(result.graph).run(test, keep=[op.name for op in fixes])
    for op in fixes:
        source = result.graph.op(op.inputs["input"][0])
        name = op.name if source.is_const else f"{nodes[str(source.get('__key'))]}_fix"
        value = source.array() if source.is_const else found[op.name]
        yield name, (value * 2.0 ** op.get("fix_point")).astype(np.int64)


def _compare(case: Path, expected: Path, result: Quantized) -> None:
    wanted: dict[str, Any] = json.loads((expected / "quant_info.json").read_text())
    assert result.quant_info["param"] == wanted["param"]
    assert result.quant_info["output"] == wanted["output"]
    arrays = np.load(expected / "layers_int8.npz")
    found = dict(_int8_tensors(case, expected, result))
    assert set(found) == set(arrays.files)
    for name in arrays.files:
        np.testing.assert_array_equal(found[name], arrays[name], err_msg=name)


@needs_shared
@pytest.mark.parametrize("case", CASES, ids=lambda path: path.name)
def test_identical_to_the_vendor(case: Path) -> None:
    result = _quantize(case)
    _compare(case, case / "expected", result)
    corrections = np.load(case / "expected" / "bias_corr.npz")
    wanted = json.loads((case / "expected" / "quant_info.json").read_text())["output"]
    for name in corrections.files:
        if corrections[name].size:
            # outputs of thousands (e_edges) carry float32 rounding of that size into the mean error
            step = 2.0 ** -min(0, int(wanted.get(name, [[8, 0]])[0][1]))
            np.testing.assert_allclose(result.bias_corr[name], corrections[name], atol=1e-6 * step, err_msg=name)


def _plain(op: Op, names: Mapping[str, str]) -> tuple[Any, ...]:
    """An op's content without the names that embed trace numbers."""
    values = {k: (a.kind, bytes(a.value) if a.kind == "bytes" else a.value) for k, a in op.attrs.items()}
    values = {k: v for k, v in values.items() if not k.startswith("__")}
    inputs = {arg: tuple(names.get(n, n) for n in ops) for arg, ops in op.inputs.items()}
    tensor = op.output
    return op.type, values, inputs, tensor.shape, tensor.data_type, dict(tensor.attrs)


@needs_shared
@pytest.mark.parametrize("case", [name for name in NETWORKS if name != "meso4_real"])  # it has no recorded file
def test_exported_graph_is_the_vendors_file(case: str) -> None:
    folder = GOLDENS / "quantizer" / case
    result = _quantize(folder)
    vendor = file.read(folder / "expected" / "model_int.xmodel")
    nodes = {n["key"]: n["xmodel_op"] for n in json.loads((folder / "expected" / "nodes.json").read_text())}
    suffixes = ("", "_fix", "_i0", "_i1", "_shape_i0", "_shape_attr_0_", "_shape_attr_1_")
    stems = {op.name: nodes[str(op.get("__key"))] for op in result.graph.ops if op.get("__key")}
    names = {own + suffix: theirs + suffix for own, theirs in stems.items() for suffix in suffixes}
    found = {names.get(op.name, op.name): _plain(op, names) for op in result.graph.ops}
    assert set(found) == set(vendor.by_name)
    for op in vendor.ops:
        assert found[op.name] == _plain(op, {}), op.name


@needs_shared
@pytest.mark.parametrize(
    ("variant", "settings"),
    [
        ("nocle", Settings(equalize=False)),
        ("nobc", Settings(bias_correction=False)),
        ("plain", Settings(equalize=False, bias_correction=False)),
    ],
)
def test_variants_of_a_tinycnn(variant: str, settings: Settings) -> None:
    case = GOLDENS / "quantizer" / "a_tinycnn"
    _compare(case, case / "variants" / variant / "expected", _quantize(case, settings))
