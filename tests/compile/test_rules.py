from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from arch.targets import find, targets
from compile.lower import lower
from compile.rules import broken_rule, explain, reasons, short_name
from tests.compile.build import uynet
from xmodel.graph import Graph, Op, Tensor, attrs, const

IMAGE = (1, 28, 28, 64)


def graph_of(kind: str, source: tuple[int, ...] = IMAGE, output: tuple[int, ...] = IMAGE, **values: Any) -> Graph:
    """One op called "y" behind an int8 feature map "x"."""
    x = Op("x", "data-fix", {}, {}, Tensor("x", source, "XINT8"))
    inputs = values.pop("inputs", {"input": ("x",)})
    constants = values.pop("constants", ())
    return Graph("g", (x, *constants, Op("y", kind, inputs, attrs(**values), Tensor("y", output, "XINT8"))))


def reason(target: str, kind: str, *args: Any, **values: Any) -> str | None:
    graph = graph_of(kind, *args, **values)
    return broken_rule(graph, graph.op("y"), find(target))


def pool(side: int, stride: int | None = None, kind: str = "MAX", other: int | None = None) -> dict[str, Any]:
    step = stride or side
    return {"kernel": [side, other or side], "stride": [step, step], "pad": [0, 0, 0, 0], "type": kind}


def conv(side: int = 3, stride: int = 1, pad: int = 1, dilation: int = 1, nonlinear: str = "NONE") -> dict[str, Any]:
    return {
        "kernel": [side, side],
        "stride": [stride, stride],
        "pad": [pad] * 4,
        "dilation": [dilation, dilation],
        "nonlinear": nonlinear,
    }


@pytest.mark.parametrize(
    ("kind", "values", "on_8pe"),
    [
        ("pool-fix", pool(14), "max-pool 14x14: 8PE takes kernels 1, 2, 3, 7; use 2x2 then 7x7, "
         "or target 6PE_aieMISC or 4PE"),
        ("pool-fix", pool(4), "max-pool 4x4: 8PE takes kernels 1, 2, 3, 7; use 2x2 then 2x2, "
         "or target 6PE_aieDWC, 6PE_aieMISC or 4PE"),
        ("pool-fix", pool(5), "max-pool 5x5: 8PE takes kernels 1, 2, 3, 7; "
         "target 6PE_aieDWC, 6PE_aieMISC or 4PE takes it"),
        ("pool-fix", pool(14, kind="AVG"), "average-pool 14x14: 8PE takes kernels 1, 2, 3, 7; use 2x2 then 7x7, "
         "or target 6PE_aieMISC or 4PE"),
        ("pool-fix", pool(2, other=3, kind="AVG"), "average-pool 2x3: 8PE averages over squares only"),
        ("pool-fix", pool(2, 9), "max-pool 2x2, stride 9x9: 8PE takes strides 1-8; "
         "target 6PE_aieMISC or 4PE takes it"),
        ("conv2d-fix", conv(17, pad=0), "convolution 17x17: 8PE takes kernels 1-16"),
        ("conv2d-fix", conv(5, stride=5), "convolution 5x5, stride 5x5: 8PE takes strides 1, 2, 3, 4"),
        ("conv2d-fix", conv(1, pad=2), "convolution 1x1: its padding 2 is beyond the kernel's reach of 1"),
        ("depthwise-conv2d-fix", conv(), "depthwise convolution 3x3: 8PE has no depthwise engine; "
         "use a full convolution, or target 6PE_aieDWC or 4PE"),
        ("transposed-depthwise-conv2d-fix", conv(4, 2),
         "transposed depthwise convolution 4x4, stride 2x2: 8PE has no depthwise engine; "
         "use a transposed convolution, or target 6PE_aieDWC or 4PE"),
        ("transposed-conv2d-fix", conv(34, 2),
         "transposed convolution 34x34, stride 2x2: 8PE takes kernel / stride 1-16"),
        ("upsample-fix", {"mode": "BILINEAR", "scale": [2.0, 2.0], "align_corners": False},
         "bilinear upsampling 2x2 runs as a transposed depthwise convolution and 8PE has no depthwise engine; "
         "use nearest or a 2x2 transposed convolution, or target 6PE_aieDWC or 4PE"),
        ("upsample-fix", {"mode": "NEAREST", "scale": [2.0, 2.0], "align_corners": True},
         "nearest upsampling 2x2 with align_corners: a DPU has none; set align_corners=False"),
        ("upsample-fix", {"mode": "NEAREST", "scale": [2.5, 2.0], "align_corners": False},
         "nearest upsampling 2.5x2: a DPU upsamples by whole factors"),
        ("eltwise-fix", {"type": "MUL", "inputs": {"input": ("x", "x")}},
         "element-wise mult: 8PE has add only; target 6PE_aieMISC or 4PE takes it"),
        ("eltwise-fix", {"type": "ADD", "nonlinear": "RELU6", "inputs": {"input": ("x", "x")}},
         "element-wise add with relu6: 8PE fuses relu there"),
        ("eltwise-fix", {"type": "ADD", "inputs": {"input": ("x",) * 5}},
         "element-wise add of 5 tensors: the engine takes 4 at once"),
        ("concat-fix", {"axis": 1, "inputs": {"input": ("x", "x")}},
         "concat along axis 1 of 4: a DPU joins images along their channels"),
        ("pad-fix", {"mode": "REFLECT"}, "pad mode REFLECT: a DPU takes CONSTANT and SYMMETRIC"),
        ("hard-sigmoid-fix", {},
         "hard-sigmoid alone: 8PE has it only fused behind a convolution that nothing else reads"),
        ("prelu", {}, "the DPU has no prelu, whose slopes differ by channel; nn.LeakyReLU(0.1) directly after a "
         "convolution runs on it, with slope 26/256"),
        ("nndct_prelu", {}, "the DPU has no prelu, whose slopes differ by channel; nn.LeakyReLU(0.1) directly after a "
         "convolution runs on it, with slope 26/256"),
        ("silu", {}, "the DPU has no silu; nn.Hardswish directly after a convolution runs on it"),
        ("aten::cumsum", {}, "aten::cumsum has no integer form: the DPU computes on int8 alone"),
        ("leaky-relu", {"alpha": 0.01}, "leaky-relu with slope 0.01: the DPU has 0.101562 (26/256) alone; "
         "use nn.LeakyReLU(0.1)"),
        ("leaky-relu", {"alpha": 26 / 256}, "leaky-relu runs only fused; "
         "put it directly behind a convolution that nothing else reads"),
        ("relu", {}, "relu behind data-fix runs on the host; "
         "put it directly behind a convolution or add that nothing else reads"),
        ("conv2d", {}, "conv2d stays float: its operand 'x' has no fix point"),
    ],
)  # fmt: skip
def test_reasons_have_numbers_and_a_way_out(kind: str, values: dict[str, Any], on_8pe: str) -> None:
    assert reason("8PE", kind, **values) == on_8pe


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("conv2d-fix", conv(3, nonlinear="HSWISH")),
        ("conv2d-fix", conv(16, 4, 0)),
        ("transposed-conv2d-fix", conv(2, 2, 0)),
        ("pool-fix", pool(2)),
        ("pool-fix", pool(7, kind="AVG")),
        ("eltwise-fix", {"type": "ADD", "nonlinear": "RELU", "inputs": {"input": ("x", "x")}}),
        ("concat-fix", {"axis": 3, "inputs": {"input": ("x", "x")}}),
        ("upsample-fix", {"mode": "NEAREST", "scale": [3.0, 2.0], "align_corners": False}),
        ("pad-fix", {"mode": "SYMMETRIC"}),
        ("reshape-fix", {}),
    ],
)
def test_what_8pe_takes(kind: str, values: dict[str, Any]) -> None:
    assert reason("8PE", kind, **values) is None


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("pool-fix", pool(14)),
        ("depthwise-conv2d-fix", conv(8, 4)),
        ("eltwise-fix", {"type": "MUL", "inputs": {"input": ("x", "x")}}),
        ("upsample-fix", {"mode": "BILINEAR", "scale": [4.0, 4.0], "align_corners": False}),
    ],
)
def test_what_4pe_takes_beyond(kind: str, values: dict[str, Any]) -> None:
    assert reason("4PE", kind, **values) is None
    assert reason("8PE", kind, **values) is not None


def test_a_linear_layer_over_an_image_fills_the_weight_bank() -> None:
    values = {**conv(14, pad=0), "kernel": [14, 14]}
    assert reason("8PE", "conv2d-fix", (1, 14, 14, 1024), (1, 1, 1, 512), **values) == (
        "convolution 14x14 over 1024 channels: its weights fill 3136 lines of a bank (14*14*ceil(1024/64)), "
        "8PE has 256; pool before it"
    )
    assert reason("8PE", "conv2d-fix", (1, 1, 1, 1024), (1, 1, 1, 512), **conv(1, pad=0)) is None
    assert reason("8PE", "conv2d-fix", (1, 28, 28, 2048), (1, 28, 28, 64), **conv(3)) == (
        "convolution 3x3 over 2048 channels: its weights fill 288 lines of a bank (3*3*ceil(2048/64)), 8PE has 256; "
        "pool before it; target 6PE_aieDWC, 6PE_aieMISC or 4PE takes it"
    )


def test_channels_have_a_limit() -> None:
    found = reason("8PE", "conv2d-fix", (1, 4, 4, 64), (1, 4, 4, 16385), **conv(1, pad=0))
    assert found == "convolution 1x1 with 64 to 16385 channels: 8PE takes 16384"


def test_global_pools_may_have_any_stride() -> None:
    assert reason("8PE", "pool-fix", (1, 7, 7, 64), (1, 1, 1, 64), **pool(7, 9)) is None


def test_a_constant_operand_is_no_feature_map() -> None:
    constants = (const("k", np.zeros(IMAGE), "const-fix"),)
    found = reason("4PE", "eltwise-fix", type="MUL", inputs={"input": ("x", "k")}, constants=constants)
    assert found == "element-wise mult with a constant: the engine reads feature maps; fold it into a convolution"


def test_the_early_card_lacks_activations() -> None:
    found = reason("VCK5000-ES1", "conv2d-fix", **conv(nonlinear="RELU6"))
    assert found is not None
    assert found.startswith("convolution 3x3 with relu6: F2W2 fuses leaky_relu or relu there; target 8PE")


def test_only_the_end_of_uynet_is_the_hosts_on_every_variant() -> None:
    graph = lower(uynet(8, 64))
    for target in targets()[:5]:
        assert {graph.op(name).type for name in reasons(graph, target)} == {"fix2float", "sigmoid"}


def test_an_operand_that_is_broadcast_has_no_engine() -> None:
    gate = Op("k", "sigmoid", {"input": ("x",)}, {}, Tensor("k", (1, 1, 1, 64)))
    found = reason("4PE", "mul", inputs={"input": ("x", "k")}, constants=(gate,))
    assert found == "element-wise mult of 28x28x64 and 1x1x64: a DPU takes operands of one shape"


def test_an_activation_behind_a_shared_result_is_the_hosts() -> None:
    graph = graph_of("relu")
    twice = Graph("g", (*graph.ops, replace(graph.op("y"), name="z", output=Tensor("z", IMAGE))))
    assert broken_rule(twice, twice.op("y"), find("8PE")) == (
        "relu behind data-fix, which 2 ops read, runs on the host; "
        "put it directly behind a convolution or add that nothing else reads"
    )


def test_the_parts_of_an_explanation() -> None:
    graph = graph_of("pool-fix", **pool(14))
    broken = explain(graph, graph.op("y"), find("8PE"))
    assert broken is not None
    assert broken.rule == "max-pool 14x14: 8PE takes kernels 1, 2, 3, 7"
    assert broken.rewrite == "use 2x2 then 7x7"
    assert [target.name for target in broken.takers] == ["DPUCVDX8H_ISA1_F2W4_6PE_aieMISC", "DPUCVDX8H_ISA1_F2W4_4PE"]
    assert explain(graph, graph.op("y"), find("4PE")) is None


def test_names_of_designs() -> None:
    names = [short_name(target) for target in targets()[:6]]
    assert names == ["F2W2", "8PE", "6PE_aieDWC", "6PE_aieMISC", "4PE", "B4096"]
    assert all(find(short_name(target)) is target for target in targets())
