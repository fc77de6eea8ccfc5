from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from arch.targets import find
from compile.inspect import Placed, inspect
from quantize.assume import GATE_POINT, POINT, assumed
from quantize.pipeline import float_graph
from tests.quantize.operators import NETWORKS, OPERATORS, Between, build
from xmodel.graph import Graph


def graph_of(module: nn.Module, size: int = 16) -> Graph:
    return float_graph(module.eval(), "Net", np.zeros((1, 3, size, size), np.float32))


def problems(module: nn.Module, target: str, size: int = 16) -> tuple[Placed, ...]:
    return inspect(assumed(graph_of(module, size)), find(target)).problems


@pytest.mark.parametrize("name", [*NETWORKS, *OPERATORS])
def test_every_network_can_be_inspected_before_quantization(name: str) -> None:
    graph = assumed(graph_of(build({**NETWORKS, **OPERATORS}[name])))
    assert any(op.type == "fix" for op in graph.ops)
    for target in ("8PE", "4PE"):
        found = inspect(graph, find(target))
        assert found.dpu_subgraphs >= 1
        # Every op that the host computes says why, and where in the code it stands.
        assert all(op.rule and op.source for op in found.ops if op.device == "CPU" and op.name == op.layer)


def test_positions_leave_the_placement_alone() -> None:
    graph = assumed(graph_of(Between(lambda x: F.pad(F.relu6(x), (1, 1, 1, 1)))))
    assert {op.get("fix_point") for op in graph.ops if op.type == "fix"} == {POINT}
    gate = assumed(graph_of(Between(F.hardsigmoid)))
    points = [op.get("fix_point") for op in gate.ops if op.type == "fix" and op.name.endswith("hardsigmoid_fix")]
    assert points == [GATE_POINT]
    assert problems(Between(lambda x: F.pad(F.relu6(x), (1, 1, 1, 1))), "8PE") == ()
    assert problems(Between(F.hardsigmoid), "8PE") == ()


class BilinearUNet(nn.Module):
    """One level down and up again by bilinear interpolation, with a skip connection."""

    def __init__(self, align_corners: bool) -> None:
        super().__init__()
        self.first, self.deep = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=align_corners)
        self.last = nn.Conv2d(16, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 3, 16, 16) to (N, 2, 16, 16)."""
        skip = F.relu(self.first(x))
        deep = F.relu(self.deep(F.max_pool2d(skip, 2)))
        result: torch.Tensor = self.last(torch.cat([skip, self.up(deep)], 1))
        return result


def depthwise_block() -> nn.Module:
    return Between(nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8), nn.ReLU()))


@pytest.mark.parametrize(
    ("made", "size", "rule", "rewrite", "takers"),
    [
        (lambda: BilinearUNet(False), 16,
         "bilinear upsampling 2x2 runs as a transposed depthwise convolution and 8PE has no depthwise engine",
         "use nearest or a 2x2 transposed convolution", ["6PE_aieDWC", "4PE"]),
        (lambda: Between(nn.MaxPool2d(14)), 28, "max-pool 14x14: 8PE takes kernels 1, 2, 3, 7", "use 2x2 then 7x7",
         ["6PE_aieMISC", "4PE"]),
        (lambda: Between(nn.AdaptiveAvgPool2d(1)), 14, "average-pool 14x14: 8PE takes kernels 1, 2, 3, 7",
         "use 2x2 then 7x7", ["6PE_aieMISC", "4PE"]),
        (depthwise_block, 16, "depthwise convolution 3x3: 8PE has no depthwise engine", "use a full convolution",
         ["6PE_aieDWC", "4PE"]),
    ],
    ids=["bilinear U-Net", "14x14 max-pool", "14x14 average-pool", "depthwise block"],
)  # fmt: skip
def test_what_4pe_takes_and_8pe_does_not(
    made: Callable[[], nn.Module], size: int, rule: str, rewrite: str, takers: list[str]
) -> None:
    [found] = problems(made(), "8PE", size)
    assert (found.rule, found.rewrite) == (rule, rewrite)
    assert [name.partition("_F2W4_")[2] for name in found.takers] == takers
    assert found.source.startswith(("quantize/operators.py:", "quantize/test_assume.py:"))
    assert problems(made(), "4PE", size) == ()


@pytest.mark.parametrize("target", ["8PE", "4PE"])
def test_what_no_design_takes(target: str) -> None:
    [aligned] = problems(BilinearUNet(True), target)
    assert (aligned.rule, aligned.rewrite, aligned.takers) == (
        "bilinear upsampling 2x2 with align_corners: a DPU has none", "set align_corners=False", (),
    )  # fmt: skip
    [prelu] = problems(Between(nn.PReLU(8)), target)
    assert (prelu.type, prelu.device, prelu.takers) == ("nndct_prelu", "CPU", ())
    assert prelu.rule == "the DPU has no prelu, whose slopes differ by channel"
    assert prelu.rewrite.startswith("nn.LeakyReLU(0.1) directly after a convolution")
    assert problems(Between(nn.LeakyReLU(0.1)), target) == ()
