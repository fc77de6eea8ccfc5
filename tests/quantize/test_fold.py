"""Batch-norm folding."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from quantize.execute import Executor
from quantize.pipeline import float_graph
from tests.quantize.networks import images, small


def test_folded_weights_and_bias_by_hand() -> None:
    module = small()
    graph = float_graph(module, "Small", images(1))
    norm, conv = module.bn2, module.conv2
    assert norm.running_mean is not None and norm.running_var is not None
    scale = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).detach().numpy()
    weight = conv.weight.detach().numpy() * scale.reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(graph.op("Small__conv2_weight").array(), weight.transpose(0, 2, 3, 1), rtol=1e-6)
    offset = norm.bias.detach().numpy() - norm.running_mean.numpy() * scale
    np.testing.assert_allclose(graph.op("Small__conv2_bias").array(), offset, rtol=1e-6)
    assert graph.op("Small__conv2_bias").get("__param") == "conv2.bias"


class _Standalone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(torch.relu(x))  # type: ignore[no-any-return]


def test_batch_norm_without_a_convolution_becomes_scale() -> None:
    module = _Standalone().eval()
    module.bn.running_var = torch.tensor([0.25, 1.0, 4.0])
    graph = float_graph(module, "Alone", images(1))
    assert [op.type for op in graph.ops if op.type in ("scale", "batchnorm")] == ["scale"]
    batch = images(2)
    found = Executor(graph).run(batch.transpose(0, 2, 3, 1))[graph.outputs[0].name]
    expected = module(torch.from_numpy(batch)).detach().numpy()
    np.testing.assert_allclose(found, expected.transpose(0, 2, 3, 1), atol=1e-5)
