"""Layers cut out of a network: run alone or from the middle on, they give what the whole network gives."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from quantize.execute import forward, parameters, to_torch
from quantize.layers import as_float, as_quantized, cut, downstream, layers, run, suffix, upstream
from quantize.pipeline import Quantized, float_graph, quantize_graph
from tests.quantize.networks import images, small
from tests.quantize.operators import NETWORKS, OPERATORS, build
from xmodel.graph import Graph

# The ones whose exported form differs most from the float graph: CPU ops between transposes, gates, merged pads.
_OPERATORS = (
    "silu",
    "softplus",
    "hardswish",
    "prelu",
    "zero_pad",
    "shuffle",
    "split",
    "depthwise_multiplier",
    "mean_of_channels",
)


def _quantized(module: nn.Module) -> Quantized:
    return quantize_graph(float_graph(module, "Net", images(1)), [images(4)])


def _everything(graph: Graph) -> dict[str, torch.Tensor]:
    batch = to_torch(images(1, seed=7).transpose(0, 2, 3, 1))
    with torch.inference_mode():
        return forward(graph, parameters(graph), {graph.inputs[0].name: batch}, keep=list(graph.by_name))


@pytest.mark.parametrize("name", [*NETWORKS, *_OPERATORS])
def test_parts_and_suffixes_give_what_the_whole_network_gives(name: str) -> None:
    found = _quantized(build((NETWORKS | OPERATORS)[name]))
    graph, real_graph = found.graph, found.float_graph
    fake, real = _everything(graph), _everything(real_graph)
    constants, real_constants = parameters(graph), parameters(real_graph)
    parts = layers(graph, real_graph)
    assert parts[0].producer.type == "data" and len(parts) >= 3
    for layer in parts:
        assert torch.equal(run(layer.part, constants, fake)[layer.fix.name], fake[layer.fix.name])
        for name_, tensor in run(suffix(graph, layer.fix.name), constants, fake).items():
            assert torch.equal(tensor, fake[name_])
        for name_, tensor in run(suffix(real_graph, layer.producer.name), real_constants, real).items():
            assert torch.equal(tensor, real[name_])
        assert as_float(graph, layer.fix.name, fake[layer.fix.name]).shape == real[layer.producer.name].shape
        there = as_quantized(graph, layer.fix.name, real[layer.producer.name])
        assert torch.equal(as_float(graph, layer.fix.name, there), real[layer.producer.name])


def test_a_layer_reaches_back_to_the_quantized_tensors_before_it() -> None:
    found = _quantized(small())
    by_name = {layer.producer.name.removeprefix("Net__Net_"): layer for layer in layers(found.graph, found.float_graph)}
    assert [op.type for op in by_name["relu_"].ops] == ["conv2d", "relu"]
    concat = by_name["cat"]  # the transposed convolution has no fix of its own, the skip tensor has
    assert [op.type for op in concat.ops] == ["transposed-conv2d", "concat"]
    assert set(concat.inputs.values()) == {"Net__Net_relu_", "Net__Net_relu"}


def test_upstream_and_downstream() -> None:
    graph = float_graph(small(), "Net", images(1))
    assert upstream(graph, ["Net__Net_relu"], ["Net__Net_max_pool2d"]) == {
        "Net__Net_relu", "Net__Net_Conv2d_conv2__conv2d_1", "Net__conv2_weight", "Net__conv2_bias",
        "Net__Net_max_pool2d",
    }  # fmt: skip
    assert downstream(graph, ["Net__Net_avg_pool2d"]) == {
        "Net__Net_flatten", "Net__Net_Linear_fc__linear", "Net__Net_sigmoid"
    }  # fmt: skip


def test_a_suffix_returns_only_the_outputs_that_change() -> None:
    graph = float_graph(small(), "Net", images(1))
    assert [op.name for op in suffix(graph, "Net__Net_avg_pool2d").outputs] == ["Net__Net_sigmoid"]
    end = suffix(graph, "Net__Net_sigmoid")
    assert [op.type for op in end.ops] == ["data"] and end.outputs == end.inputs


def test_a_cut_graph_shares_its_constants() -> None:
    graph = float_graph(small(), "Net", images(1))
    part = cut(graph, {"Net__conv1_weight"}, (), ["Net__conv1_weight"])
    assert part.ops[0] is graph.op("Net__conv1_weight")
