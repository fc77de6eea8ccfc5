"""Fix placement."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from quantize.pipeline import float_graph
from quantize.plan import keys, plan
from tests.quantize.networks import images, small


def test_placement_on_a_skip_network() -> None:
    graph = float_graph(small(), "Small", images(1))
    placed = plan(graph)
    key = keys(graph)
    fixed = sorted(key[name].removeprefix("Small::nndct_") for name in placed.activations)
    # conv+relu has one fix; the transposed convolution's only reader is the concat, which holds its fix;
    # the sigmoid is the network's output and gets none
    assert fixed == sorted(
        ["input_0", "relu_2", "maxpool_3", "relu_5", "concat_7", "conv2d_8", "avgpool_9", "dense_11"]
    )
    transposed = next(op for op in graph.ops if op.type == "transposed-conv2d")
    concat = next(op for op in graph.ops if op.type == "concat")
    assert placed.fixed_by[transposed.name] == concat.name
    assert len(placed.parameters) == 10


class _Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return torch.cat([y, y], 1)


def test_a_tensor_read_twice_by_a_concat_keeps_its_own_fix() -> None:
    graph = float_graph(_Twice().eval(), "Twice", images(1))
    kinds = sorted(graph.op(name).type for name in plan(graph).activations)
    assert kinds == ["concat", "conv2d", "data"]
