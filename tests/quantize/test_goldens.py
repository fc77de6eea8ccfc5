"""Equality with the vendor's quantizer: positions, int8 parameters and int8 activations."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from quantize.builder import sanitize
from quantize.execute import Executor
from quantize.pipeline import Quantized, Settings, float_graph, quantize_graph
from tests.shared import SHARED, needs_shared
from xmodel import file
from xmodel.graph import Array, Graph, Op

GOLDENS = SHARED / "goldens"
NETWORKS = ["a_tinycnn", "b_uynet_div8", "c2_ressimple", "e_edges", "meso4_real"]
OPS = [
    "F_relu6", "adaptive_avg_1", "adaptive_avg_3", "adaptive_max_1", "add", "add_const", "avgpool3", "avgpool3_pad",
    "bn_standalone", "cat_same", "chunk", "clamp", "convT_bn_relu", "convT_dw", "convT_k2s2", "convT_k3s2p1op1",
    "conv_dil2", "conv_dw_mult2", "conv_group2", "conv_same", "div_const", "dropout", "flatten_fc", "gelu",
    "group_norm", "hardsigmoid", "hardswish", "interp_bilinear", "interp_nearest", "interp_size", "leaky_relu_0_1",
    "maxpool_pad", "mean_hw", "mul", "neg", "param_add", "pixel_shuffle", "prelu", "reflpad", "relu", "relu6",
    "sigmoid", "silu", "slice_c", "softmax_tail", "sqrt", "squeeze", "sub", "sum_c", "zeropad",
]  # fmt: skip
CASES = [GOLDENS / "quantizer" / name for name in NETWORKS] + [GOLDENS / "opzoo" / name for name in OPS]
# The recorded outputs of a bilinear resize by 2.5 hang on the last bit of float weights: see the test of its own.
EQUAL = [case for case in CASES if case.name != "interp_size"]


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


def _expected(case: Path) -> tuple[Path, Settings]:
    """The recorded results, and the settings they were made with: the vendor's equalization fails on a multiplier."""
    if case.name == "conv_dw_mult2":
        return case / "variants" / "nocle" / "expected", Settings(equalize=False)
    return case / "expected", Settings()


def _vendor_names(expected: Path, result: Quantized) -> dict[str, str]:
    """Op name here -> the vendor's, which embeds numbers of its trace."""
    nodes = {n["key"]: n["xmodel_op"] for n in json.loads((expected / "nodes.json").read_text())}
    found = {op.name: nodes[str(op.get("__key"))] for op in result.graph.ops if op.get("__key")}
    consts = {op.name: op for op in result.float_graph.ops if op.get("__kind") == "const"}
    for index, name in enumerate(consts):
        found[name] = nodes[f"{result.graph.name}::nndct_const_{index}"]
    return found


def _int8_tensors(case: Path, expected: Path, result: Quantized) -> Iterator[tuple[str, Array]]:
    """Every fixed tensor on the test image as integers, under the vendor's op name."""
    names = _vendor_names(expected, result)
    fixes = [op for op in result.graph.ops if op.type == "fix"]
    test = _load(case / "test_input.npy").transpose(0, 2, 3, 1)
    found = Executor(result.graph).run(test, keep=[op.name for op in fixes])
    for op in fixes:
        source = result.graph.op(op.inputs["input"][0])
        if not source.is_const and not source.get("__key"):
            continue  # the gate inside a hard-swish, which the vendor does not record
        value = source.array() if source.is_const else found[op.name]
        name = f"{names.get(source.name, source.name)}_fix"
        yield name, (value * 2.0 ** op.get("fix_point")).astype(np.int64)


def _compare(case: Path, expected: Path, result: Quantized) -> None:
    wanted: dict[str, Any] = json.loads((expected / "quant_info.json").read_text())
    assert result.quant_info["param"] == wanted["param"]
    assert result.quant_info["output"] == wanted["output"]
    if not (expected / "layers_int8.npz").exists():
        assert case.name == "param_add"  # the vendor's exporter fails on it
        return
    arrays = np.load(expected / "layers_int8.npz")
    found = dict(_int8_tensors(case, expected, result))
    assert set(found) == set(arrays.files)
    for name in arrays.files:
        # where the export had failed or was refused, parameters are recorded without their shape
        np.testing.assert_array_equal(found[name].reshape(arrays[name].shape), arrays[name], err_msg=name)


@needs_shared
def test_every_case_of_the_op_zoo_is_here() -> None:
    recorded = {path.name for path in (GOLDENS / "opzoo").iterdir() if path.is_dir()}
    assert recorded == set(OPS)


@needs_shared
@pytest.mark.parametrize("case", EQUAL, ids=lambda path: path.name)
def test_identical_to_the_vendor(case: Path) -> None:
    expected, settings = _expected(case)
    result = _quantize(case, settings)
    _compare(case, expected, result)
    corrections = np.load(expected / "bias_corr.npz")
    wanted = json.loads((expected / "quant_info.json").read_text())["output"]
    for name in corrections.files:
        if corrections[name].size:
            # outputs of thousands (e_edges) carry float32 rounding of that size into the mean error
            step = 2.0 ** -min(0, int(wanted.get(name, [[8, 0]])[0][1]))
            np.testing.assert_allclose(result.bias_corr[name], corrections[name], atol=1e-6 * step, err_msg=name)


# What the vendor's file leaves out, so that its float ops cannot be run from it; ours says it.
SAID_HERE = {
    "nndct_clamp": {"min", "max"},
    "aten::mean": {"axis", "keep_dims"},
    "aten::_convolution_mode": {"stride", "dilation", "group"},
}


def _plain(op: Op, names: Mapping[str, str]) -> tuple[Any, ...]:
    """An op's content without the names that embed trace numbers."""
    values = {k: (a.kind, bytes(a.value) if a.kind == "bytes" else a.value) for k, a in op.attrs.items()}
    values = {k: v for k, v in values.items() if not k.startswith("__") and k not in SAID_HERE.get(op.type, ())}
    inputs = {arg: tuple(names.get(n, n) for n in ops) for arg, ops in op.inputs.items() if ops}
    tensor = op.output
    return op.type, values, inputs, tensor.shape, tensor.data_type, dict(tensor.attrs)


def _renamed(graph: Graph, stems: Mapping[str, str]) -> dict[str, str]:
    """The vendor's name of every op of `graph`: its stem's, and the suffix of what was built around it."""
    found: dict[str, str] = {}
    for op in graph.ops:
        stem = max((s for s in stems if op.name == s or op.name.startswith(f"{s}_")), key=len, default=None)
        found[op.name] = op.name if stem is None else stems[stem] + op.name[len(stem) :]
    return found


def _sanitized(graph: Graph) -> dict[str, Op]:
    """A vendor's file by name, where a hard-swish leaves two helper names unsanitized."""
    names = {op.name: sanitize(op.name) for op in graph.ops}
    return {
        names[op.name]: replace(op, inputs={a: tuple(names[n] for n in ops) for a, ops in op.inputs.items()})
        for op in graph.ops
    }


# No file is recorded of these: the vendor's tool has none, or (an output padding) writes a smaller image.
UNRECORDED = {"meso4_real", "prelu", "param_add", "convT_k3s2p1op1"}


@needs_shared
@pytest.mark.parametrize("case", [c for c in CASES if c.name not in UNRECORDED], ids=lambda path: path.name)
def test_exported_graph_is_the_vendors_file(case: Path) -> None:
    expected, settings = _expected(case)
    result = _quantize(case, settings)
    vendor = _sanitized(file.read(expected / "model_int.xmodel"))
    names = _renamed(result.graph, _vendor_names(expected, result))
    found = {names[op.name]: _plain(op, names) for op in result.graph.ops}
    assert set(found) == set(vendor)
    for name, op in vendor.items():
        assert found[name] == _plain(op, {}), name


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


@needs_shared
def test_bilinear_by_two_and_a_half_differs_in_exact_ties_alone() -> None:
    """torch 1.13, with which the golden was made, and this one round the float weights of a resize differently.

    Positions and parameters are identical. Computed in whole numbers, every value that differs lies exactly between
    two int8 values, so the last bit of a float weight decides it; what differs behind it follows from those.
    """
    case = GOLDENS / "opzoo" / "interp_size"
    result = _quantize(case)
    wanted = json.loads((case / "expected" / "quant_info.json").read_text())
    assert (result.quant_info["param"], result.quant_info["output"]) == (wanted["param"], wanted["output"])
    recorded = np.load(case / "expected" / "layers_int8.npz")
    found = dict(_int8_tensors(case, case / "expected", result))
    resized, last = "Wrap__Wrap_ret_5_fix", "Wrap__Wrap_Conv2d_c2__ret_fix"
    for name in set(recorded.files) - {resized, last}:
        np.testing.assert_array_equal(found[name], recorded[name], err_msg=name)
    # 16 pixels to 40: output pixel i lies at (2 i - 1.5) / 5 input pixels, in tenths 4 i - 3
    tenths = np.clip(4 * np.arange(40) - 3, 0, None)
    low, far = tenths // 10, tenths % 10
    high = np.minimum(low + 1, 15)
    pixels = recorded["Wrap__Wrap_Conv2d_c1__ret_3_fix"].astype(np.int64)
    rows = pixels[:, low] * (10 - far)[:, None, None] + pixels[:, high] * far[:, None, None]
    hundredths = rows[:, :, low] * (10 - far)[:, None] + rows[:, :, high] * far[:, None]
    differs = found[resized] != recorded[resized]
    assert differs.any() and (hundredths[differs] % 100 == 50).all()
    assert np.abs(found[resized] - recorded[resized]).max() == 1
    reached = differs.any(axis=-1)  # the last convolution is 1x1
    assert ((found[last] != recorded[last]).any(axis=-1) <= reached).all()
