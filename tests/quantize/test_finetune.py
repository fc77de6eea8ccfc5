"""Fast finetune: equality with the vendor's recorded run, and what it does with few batches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import pytest
import torch

from quantize import tuning
from quantize.finetune import fast_finetune
from quantize.pipeline import Quantized, Settings, float_graph, quantize_graph
from tests.quantize import test_goldens as goldens
from tests.quantize.networks import frozen, images, small
from tests.shared import SHARED, needs_shared
from xmodel import file
from xmodel.errors import UsageError
from xmodel.graph import Array

CASE = SHARED / "goldens" / "quantizer" / "a_tinycnn"
VARIANT = CASE / "variants" / "ft128"
ADAQUANT = Settings(finetune="adaquant")


def _split(data: Array, size: int) -> list[Array]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def _recorded_run() -> Quantized:
    """What was done to make the golden: 128 batches of 4 to finetune, then calibration."""
    graph = float_graph(torch.export.load(str(CASE / "float_model.pt2")), "TinyCNN")
    pictures, calibration = (np.load(path) for path in (VARIANT / "ft_inputs.npy", CASE / "calib_inputs.npy"))
    finetune = _split(pictures.astype(np.float32) / np.float32(255), 4)
    return quantize_graph(graph, _split(calibration, 8), ADAQUANT, finetune_batches=finetune)


def _is_recorded(result: Quantized) -> bool:
    expected = np.load(VARIANT / "expected" / "layers_int8.npz")
    return all(np.array_equal(value, expected[name]) for name, value in
               goldens._int8_tensors(CASE, VARIANT / "expected", result))  # fmt: skip


@contextmanager
def _blocked_sums() -> Iterator[None]:
    """Float references with the CPU's default convolutions, which may be oneDNN's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "plain_sums", nullcontext)
        patch.setattr("quantize.finetune.plain_sums", nullcontext)
        yield


@needs_shared
def test_identical_to_the_vendor() -> None:
    """Positions, every int8 weight, bias and activation, the bias corrections and the network's loss.

    A last bit of the float references decides three weights here, so another CPU's order of float sums may
    take them elsewhere. Then the other order that torch has must give the recorded numbers.
    """
    result = _recorded_run()
    if not _is_recorded(result):
        with _blocked_sums():
            result = _recorded_run()
    goldens._compare(CASE, VARIANT / "expected", result)
    recorded: dict[str, Any] = json.loads((VARIANT / "expected" / "quant_info.json").read_text())
    assert result.quant_info["fast_finetuned"] is True is recorded["fast_finetuned"]
    corrections = np.load(VARIANT / "expected" / "bias_corr.npz")
    for name in corrections.files:
        np.testing.assert_allclose(result.bias_corr[name], corrections[name], atol=1e-8, err_msg=name)
    assert result.tuning is not None
    assert [f"{loss:.5f}" for loss in (*result.tuning.losses_before, *result.tuning.losses_after)] == [
        "0.00594", "0.00370",
    ]  # fmt: skip
    assert [(layer.weights, layer.changed, layer.bias_changed) for layer in result.tuning.layers] == [
        (216, 4, 2), (1152, 0, 0), (2304, 361, 0), (640, 90, 0),
    ]  # fmt: skip
    vendor = file.read(VARIANT / "expected" / "model_int.xmodel")
    for op in vendor.ops:
        if op.is_const and op.name in result.graph.by_name:
            np.testing.assert_array_equal(result.graph.op(op.name).array(), op.array(), err_msg=op.name)


@needs_shared
def test_tuned_weights_are_the_recorded_ones() -> None:
    """Before bias correction: `ft_param.npz` holds what is on the grid after the finetune alone."""
    recorded = np.load(VARIANT / "expected" / "ft_param.npz")
    expected = np.load(VARIANT / "expected" / "layers_int8.npz")
    weights = {"conv1": 1, "conv2": 4, "conv3": 7, "fc": 10}
    result = float_graph(torch.export.load(str(CASE / "float_model.pt2")), "TinyCNN")
    for name, node in weights.items():
        stored = tuning.with_parameters(
            result, {f"TinyCNN__{name}_weight": torch.from_numpy(recorded[f"module_{node}.weight"])}
        ).op(f"TinyCNN__{name}_weight")
        position = {"conv1": 7, "conv2": 8, "conv3": 8, "fc": 10}[name]
        np.testing.assert_array_equal(stored.array() * 2.0**position, expected[f"TinyCNN__{name}_weight_fix"])


def test_few_batches_change_nothing() -> None:
    """Four steps a round cannot carry a weight half-way to the next int8 value, and it snaps back."""
    network, batches = frozen(small(), images(16), 4)
    before = dict(network.constants)
    found = fast_finetune(network, batches)
    assert all(torch.equal(network.constants[name], before[name]) for name in network.plan.parameters)
    assert [layer.changed + layer.bias_changed for layer in found.layers] == [0] * 5
    assert found.losses_before == found.losses_after


def test_more_batches_bring_the_outputs_closer() -> None:
    network, batches = frozen(small(), images(64), 2)
    found = fast_finetune(network, batches)
    assert sum(layer.changed for layer in found.layers) > 0
    assert all(after <= before for before, after in zip(found.losses_before, found.losses_after, strict=True))
    assert min(after / before for before, after in zip(found.losses_before, found.losses_after, strict=True)) < 1
    for name in network.plan.parameters:
        scaled = network.constants[name] * 2.0 ** network.positions[name]
        assert torch.equal(scaled, scaled.round()) and scaled.abs().max() <= 128


def test_the_layer_that_is_done_is_told() -> None:
    network, batches = frozen(small(), images(4), 4)
    seen: list[tuple[int, int]] = []
    fast_finetune(network, batches, lambda done, total: seen.append((done, total)))
    assert seen == [(i, 5) for i in range(6)]


def test_through_the_pipeline() -> None:
    graph = float_graph(small(), "Small", images(1))
    result = quantize_graph(graph, _split(images(16), 4), ADAQUANT, finetune_batches=_split(images(8), 4))
    plain = quantize_graph(graph, _split(images(8), 4))
    assert (result.images, result.batches) == (16, 4)
    assert result.quant_info["fast_finetuned"] is True and plain.quant_info["fast_finetuned"] is False
    assert result.quant_info["output"] == plain.quant_info["output"]  # positions come from what it tunes on
    assert result.tuning is not None and plain.tuning is None
    off = Settings(finetune="adaquant", bias_correction=False)
    assert quantize_graph(graph, _split(images(8), 4), off, finetune_batches=_split(images(8), 4)).bias_corr == {}


def test_nothing_to_finetune_with() -> None:
    graph = float_graph(small(), "Small", images(1))
    with pytest.raises(UsageError, match="nothing to finetune with"):
        quantize_graph(graph, _split(images(4), 4), ADAQUANT)
    with pytest.raises(UsageError, match="nothing to calibrate with"):
        quantize_graph(graph, [], ADAQUANT, finetune_batches=_split(images(4), 4))
    with pytest.raises(UsageError, match="float64"):
        quantize_graph(graph, [], ADAQUANT, finetune_batches=[images(4).astype(np.float64)])
