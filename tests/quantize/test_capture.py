"""Capture: names, layouts and refusals."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from quantize.execute import Executor
from quantize.pipeline import float_graph
from tests.quantize.networks import images, small
from xmodel.errors import UsageError


def test_float_graph_computes_what_the_module_computes() -> None:
    module, batch = small(), images(3)
    graph = float_graph(module, "Small", batch[:1])
    found = Executor(graph).run(batch.transpose(0, 2, 3, 1))
    mask, score = (t.detach().numpy() for t in module(torch.from_numpy(batch)))
    names = [op.name for op in graph.outputs]
    np.testing.assert_allclose(found[names[0]], mask.transpose(0, 2, 3, 1), atol=1e-5)
    np.testing.assert_allclose(found[names[1]], score, atol=1e-6)


def test_shapes_are_nhwc_and_weights_ohwi() -> None:
    graph = float_graph(small(), "Small", images(1))
    assert graph.inputs[0].output.shape == (1, 16, 16, 3)
    assert graph.op("Small__conv1_weight").output.shape == (8, 3, 3, 3)
    assert graph.op("Small__up_weight").output.shape == (8, 2, 2, 16)
    assert [op.output.shape for op in graph.outputs] == [(1, 16, 16, 2), (1, 1)]
    assert {op.type for op in graph.ops} >= {
        "conv2d",
        "transposed-conv2d",
        "maxpool2d",
        "avgpool2d",
        "concat",
        "matmul",
    }
    assert "batchnorm" not in {op.type for op in graph.ops}


def test_transposed_weights_are_stored_flipped() -> None:
    module = small()
    stored = float_graph(module, "Small", images(1)).op("Small__up_weight").array()
    expected = module.up.weight.detach().numpy()[:, :, ::-1, ::-1].transpose(1, 2, 3, 0)
    assert np.array_equal(stored, expected)


def test_linear_after_flatten_is_reordered_to_hwc() -> None:
    module = small()
    stored = float_graph(module, "Small", images(1)).op("Small__fc_weight").array()
    expected = module.fc.weight.detach().numpy().reshape(1, 16, 4, 4).transpose(0, 2, 3, 1).reshape(1, -1)
    assert np.array_equal(stored, expected)


def test_names_follow_the_module_path_and_sources_are_kept() -> None:
    graph = float_graph(small(), "Small", images(1))
    convs = [op for op in graph.ops if op.type == "conv2d"]
    assert convs[0].name == "Small__Small_Conv2d_conv1__conv2d"
    assert re.fullmatch(r"quantize/networks\.py:\d+", str(convs[0].get("__source")))


def test_the_module_is_not_changed() -> None:
    module = small()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    float_graph(module, "Small", images(1))
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


class _Erf(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.erf(x)


class _Branch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if bool(x.sum() > 0) else x


def test_unknown_operators_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"aten\.erf\.default .*no DPU form"):
        float_graph(_Erf().eval(), "Erf", images(1))


def test_data_dependent_control_flow_is_refused() -> None:
    with pytest.raises(UsageError, match=r"torch\.export cannot capture _Branch"):
        float_graph(_Branch().eval(), "Branch", images(1))


def test_training_mode_is_refused() -> None:
    with pytest.raises(UsageError, match=r"training mode.*module\.eval"):
        float_graph(small().train(), "Small", images(1))


def test_output_padding_is_a_smaller_pad_at_the_far_sides() -> None:
    module = nn.ConvTranspose2d(3, 4, 3, 2, 1, output_padding=1).eval()
    graph = float_graph(module, "Up", images(1))
    up = next(op for op in graph.ops if op.type == "transposed-conv2d")
    assert up.get("pad") == (1, 0, 1, 0) and up.output.shape == (1, 32, 32, 4)


def test_output_padding_beyond_the_padding_is_refused_with_the_way_out() -> None:
    module = nn.ConvTranspose2d(3, 4, 3, 2, 0, output_padding=1).eval()
    with pytest.raises(UsageError, match=r"output_padding \(1, 1\) beyond the padding \(0, 0\).*k2 s2"):
        float_graph(module, "Up", images(1))
