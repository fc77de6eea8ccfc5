"""Operators and blocks: the captured float graph computes what the module does, and quantizes to something close."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from quantize.execute import Executor
from quantize.pipeline import float_graph, quantize_graph
from tests.quantize.networks import images
from tests.quantize.operators import NETWORKS, OPERATORS, build
from xmodel.graph import Array


def _nchw(array: Array) -> Array:
    return array.transpose(0, 3, 1, 2) if array.ndim == 4 else array


@pytest.mark.parametrize("name", [*NETWORKS, *OPERATORS])
def test_float_graph_and_its_quantized_form(name: str) -> None:
    module, batch = build((NETWORKS | OPERATORS)[name]), images(4)
    graph = float_graph(module, "Net", batch[:1])
    with torch.no_grad():
        expected = module(torch.from_numpy(batch)).numpy()
    nhwc = batch.transpose(0, 2, 3, 1)
    (output,) = Executor(graph).run(nhwc).values()
    np.testing.assert_allclose(_nchw(output), expected, atol=2e-5)
    quantized = quantize_graph(graph, [batch[:2], batch[2:]])
    (rough,) = Executor(quantized.graph).run(nhwc).values()
    noise = np.square(_nchw(rough) - expected).mean() / np.square(expected).mean()
    assert noise < 0.02


def test_same_padding_is_named_with_its_source_line() -> None:
    graph = float_graph(build(OPERATORS["same_padding"]), "Net", images(1))
    notes = graph.get("__notes")
    assert any("padding='same' stays float on the CPU" in note for note in notes)


def test_batch_norm_behind_a_concat_goes_into_both_convolutions() -> None:
    graph = float_graph(build(NETWORKS["concat_norm"]), "Net", images(1))
    assert {op.type for op in graph.ops} == {"data", "const", "conv2d", "concat", "relu"}
    assert sum("bias" in op.inputs for op in graph.ops if op.type == "conv2d") == 3
