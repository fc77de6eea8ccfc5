from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from compile.lower import lower
from runtime.emulator.program import Program
from tests.compile.build import Builder, window
from tests.compile.goldens import GOLDENS, cases, int8_tensors, int_graph, label, run
from tests.shared import needs_shared
from xmodel import file
from xmodel.errors import ArtifactError
from xmodel.graph import Graph, Op

# The vendor exports these ops without the attributes that say what they do, or they have no definition in XIR.
OPAQUE = {
    "adaptive_avg_3": "nndct_adaptive_avg_pool2d",
    "adaptive_max_1": "aten::adaptive_max_pool2d",
    "clamp": "nndct_clamp",
    "conv_same": "aten::_convolution_mode",
    "group_norm": "nndct_group_norm",
    "mean_hw": "aten::mean",
    "silu": "aten::silu",
    "sqrt": "nndct_sqrt",
}
# The real tool drops output_padding: the file is one pixel short of what it quantized.
SHORT = ("convT_k3s2p1op1",)
# Bilinear by 2.5: the device's order of interpolation meets a tie of another side than PyTorch's.
TIES = ("interp_size",)


def types(graph: Graph) -> list[str]:
    return [op.type for op in graph.ops if not op.is_const]


def only(graph: Graph, kind: str) -> Op:
    (found,) = [op for op in graph.ops if op.type == kind]
    return found


@needs_shared
@pytest.mark.parametrize("case", cases(), ids=label)
def test_every_byte_is_the_quantizers(case: Path) -> None:
    graph = lower(int_graph(case))
    name = case.parents[0].name if case.parents[1].name != "variants" else case.parents[2].name
    if name in OPAQUE:
        assert OPAQUE[name] in types(graph)
        return
    recorded = int8_tensors(case)
    tensors = run(graph, recorded)
    compared = 0
    for key, expected in recorded.items():
        found = tensors.get(key)
        if found is None or found.dtype != np.int8 or (name in SHORT and found.size != expected.size):
            continue
        difference = np.abs(found.reshape(-1).astype(int) - expected.reshape(-1))
        assert difference.max(initial=0) <= (1 if name in TIES else 0), key
        compared += 1
    assert compared >= 4


@needs_shared
def test_lowering_is_the_vendors_op_for_op() -> None:
    ours = lower(file.read(GOLDENS / "xmodels/v25_quantized_voxelnet_int.xmodel")).by_name
    theirs = file.read(GOLDENS / "xmodels/v25_vck50004pe_pointpillars_custom_op.xmodel")
    compared = 0
    for op in theirs.ops:
        if not op.type.endswith("-fix"):
            continue
        mine = ours[op.name]
        assert (mine.type, mine.output.shape) == (op.type, op.output.shape)
        assert mine.output.name == op.output.name.removesuffix("_download_0")
        assert {a: n for a, n in mine.inputs.items() if a != "input"} == {
            a: n for a, n in op.inputs.items() if a != "input"
        }
        for key in ("fix_point", "bit_width", "if_signed", "round_mode"):
            assert mine.output.attrs[key] == op.output.attrs[key]
        for key in (
            "kernel",
            "stride",
            "dilation",
            "pad",
            "pad_mode",
            "nonlinear",
            "hsigmoid_in",
            "axis",
            "type",
            "shape",
        ):
            if key in op.attrs:
                assert mine.attrs[key] == op.attrs[key], (op.name, key)
        compared += 1
    assert compared == 72


def test_uynet_in_small_by_hand() -> None:
    b = Builder()
    skip = b.fix(b.unary("r1", "relu", b.conv("c1", b.data((1, 8, 8, 3)), 4)), 3)
    down = b.fix(b.pool("p1", "maxpool2d", skip, 2), 2)
    up = b.op(
        "up", "transposed-conv2d", {"input": [down], "weights": [b.weights("up_w", (4, 2, 2, 4))]}, (1, 8, 8, 4),
        **window(2, 2),
    )  # fmt: skip
    joined = b.fix(b.op("cat", "concat", {"input": [skip, up]}, (1, 8, 8, 8), axis=3), 2)
    mask = b.fix(b.conv("outc", joined, 2, kernel=1, pad=0), 1)
    hidden = b.fix(b.unary("r2", "relu", b.linear("l1", b.fix(b.pool("p2", "maxpool2d", down, 4), 2), 5)), 1)
    score = b.unary("prob", "sigmoid", b.fix(b.linear("l2", hidden, 1), 0))
    graph = lower(b.graph(mask, score))

    assert Counter(types(graph)) == {
        "data-fix": 1, "conv2d-fix": 4, "transposed-conv2d-fix": 1, "pool-fix": 2, "concat-fix": 1, "reshape-fix": 1,
        "fix2float": 2, "sigmoid": 1,
    }  # fmt: skip
    assert graph.get("return_ops") == ("outc_fix_", "prob")
    first = graph.op("c1")
    assert (first.output.name, first.get("nonlinear")) == ("r1_fix", "RELU")
    assert (first.get("shift_cut"), first.get("shift_bias")) == (6 + 6 - 3, 6 + 6 - 6)
    assert graph.op("up").output.name == "up_inserted_fix_0"
    assert graph.op("up").output.fix_point == 2  # the concat's position
    assert graph.op("l1(TransferMatMulToConv2d)").inputs["input"] == ("p2",)
    assert graph.op("l2(TransferMatMulToConv2d)").inputs["input"] == ("l1(TransferMatMulToConv2d)",)
    assert only(graph, "reshape-fix").output.shape == (1, 1)
    agrees(b.graph(mask, score))


def agrees(graph: Graph, seed: int = 1) -> None:
    """The lowered graph gives what the float graph with its fixes gives, on random int8 inputs."""
    lowered = lower(graph)
    random = np.random.default_rng(seed)
    values = {op.name: random.integers(-128, 128, (2, *op.output.shape[1:])) for op in graph.inputs}
    points = {op.name: op.output.fix_point or 0 for op in lowered.inputs}
    real = {name: (array * 2.0 ** -points[name]).astype(np.float32) for name, array in values.items()}
    expected = Program(graph, "reference").run(real)
    found = Program(lowered, "reference").run(real)
    for before, after in zip(graph.outputs, lowered.outputs, strict=True):
        np.testing.assert_array_equal(found[after.output.name], expected[before.output.name])


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        (2, ["data-fix", "conv2d-fix", "fix2float", "relu6", "fix"]),
        (4, ["data-fix", "conv2d-fix", "fix2float"]),
        (5, ["data-fix", "conv2d-fix", "fix2float"]),
    ],
)
def test_relu6_clamps_at_six_whatever_the_position(point: int, expected: list[str]) -> None:
    b = Builder()
    out = b.fix(b.unary("r", "relu6", b.conv("c", b.data((1, 5, 5, 2)), 3)), point)
    graph = lower(b.graph(out))
    assert types(graph) == expected
    assert graph.op("c").get("nonlinear") == ("RELU6" if point == 4 else "RELU")
    agrees(b.graph(out))


def hard_sigmoid(b: Builder, name: str, source: str, point: int) -> str:
    gate = b.unary(f"{name}_i0", "hard-sigmoid", source)
    scale = b.constant(f"{name}_i1", np.array([6 * 2731 / 16384]))
    return b.fix(b.op(name, "mul", {"input": [gate, scale]}, b.shape(source)), point)


def test_hard_sigmoid_and_hard_swish_move_into_the_convolution() -> None:
    b = Builder()
    inner = b.fix(b.conv("c1", b.data((1, 4, 4, 3)), 4), 3)
    gated = hard_sigmoid(b, "hs", inner, 7)
    outer = b.fix(b.conv("c2", gated, 4), 2)
    gate = hard_sigmoid(b, "hw_gate", outer, 7)
    out = b.fix(b.op("hw", "mul", {"input": [gate, outer]}, b.shape(outer)), 1)
    graph = lower(b.graph(out))
    assert types(graph) == ["data-fix", "conv2d-fix", "conv2d-fix", "fix2float"]
    first, second = graph.op("c1"), graph.op("c2")
    assert (first.get("nonlinear"), first.output.name) == ("HSIGMOID", "hs_fix")
    assert [first.get(k) for k in ("hsigmoid_in", "shift_cut", "shift_hsigmoid")] == [3, 9, 10]
    assert (second.get("nonlinear"), second.output.name) == ("HSWISH", "hw_fix")
    assert [second.get(k) for k in ("hsigmoid_in", "shift_hsigmoid", "shift_hswish")] == [2, 9, 8]
    agrees(b.graph(out))


def test_without_a_fused_hard_sigmoid_it_is_an_op_of_its_own() -> None:
    b = Builder()
    out = hard_sigmoid(b, "hs", b.fix(b.conv("c1", b.data((1, 4, 4, 3)), 4), 3), 7)
    graph = lower(b.graph(out), activations=())
    assert types(graph) == ["data-fix", "conv2d-fix", "hard-sigmoid-fix", "fix2float"]
    assert (graph.op("hs").get("hsigmoid_in"), graph.op("hs").get("shift_hsigmoid")) == (3, 10)


def test_a_concat_of_concats_hands_its_position_down() -> None:
    b = Builder()
    x = b.data((1, 4, 4, 3))
    inner = b.op("cat1", "concat", {"input": [b.conv("c1", x, 2), b.conv("c2", x, 2)]}, (1, 4, 4, 4), axis=3)
    out = b.fix(b.op("cat2", "concat", {"input": [inner, x]}, (1, 4, 4, 7), axis=3), 1)
    graph = lower(b.graph(out))
    assert types(graph) == ["data-fix", "conv2d-fix", "conv2d-fix", "concat-fix", "concat-fix", "fix2float"]
    assert {graph.op(name).output.fix_point for name in ("c1", "c2", "cat1", "cat2")} == {1}
    agrees(b.graph(out))


def test_a_fix_behind_layout_ops_also_rounds_before_them() -> None:
    b = Builder()
    turned = b.op("t", "transpose", {"input": [b.conv("c", b.data((1, 4, 4, 3)), 2)]}, (1, 2, 4, 4), order=[0, 3, 1, 2])
    graph = lower(b.graph(b.fix(turned, 2)))
    assert types(graph) == ["data-fix", "conv2d-fix", "fix2float", "transpose", "fix"]
    assert graph.op("c").output.fix_point == 2
    agrees(b.graph("t_fix"))


def test_layout_ops_keep_their_grid_for_an_integer_reader() -> None:
    b = Builder()
    x = b.data((1, 4, 4, 4))
    part = b.op("s", "strided_slice", {"input": [x]}, (1, 4, 4, 2), begin=[0, 0, 0, 2], end=[0, 0, 0, 2**31 - 1],
                strides=[1, 1, 1, 1], begin_mask=7, end_mask=15)  # fmt: skip
    graph = lower(b.graph(b.fix(b.conv("c", part, 3), 2)))
    assert types(graph) == ["data-fix", "fix2float", "strided_slice", "float2fix", "conv2d-fix", "fix2float"]
    assert graph.op("s").get("begin") == (0, 0, 0, 2)
    assert graph.op("s").get("end") == (1, 4, 4, 4)
    assert graph.op("s_fix").output.fix_point == 6


def test_a_flattened_image_becomes_a_kernel_over_it() -> None:
    b = Builder()
    out = b.fix(b.linear("l", b.data((1, 3, 2, 5)), 4), 1)
    graph = lower(b.graph(out))
    conv = graph.op("l(TransferMatMulToConv2d)")
    assert conv.get("kernel") == (2, 3)
    assert graph.op(conv.inputs["weights"][0]).output.shape == (4, 3, 2, 5)
    assert conv.output.shape == (1, 1, 1, 4)
    agrees(b.graph(out))


def test_average_pools_take_the_devices_factor_or_stay_float() -> None:
    for factor, expected in ((9 * 7 / 64, "pool-fix"), (1.0, "avgpool2d")):
        b = Builder()
        mean = b.pool("a_i0", "avgpool2d", b.data((1, 6, 6, 2)), 3)
        scale = b.constant("k", np.array([factor]))
        out = b.fix(b.op("a", "mul", {"input": [mean, scale]}, b.shape(mean)), 6)
        assert expected in types(lower(b.graph(out)))
        agrees(b.graph(out))


def test_padding_that_no_window_reaches_is_trimmed() -> None:
    b = Builder()
    graph = lower(b.graph(b.fix(b.conv("c", b.data((1, 8, 8, 3)), 4, stride=2), 2)))
    assert graph.op("c").get("pad") == (1, 0, 1, 0)
    agrees(b.graph("c_fix"))


def test_pools_that_round_up_get_the_padding_they_need() -> None:
    b = Builder()
    x = b.data((1, 6, 6, 2))
    values = {**window(3, 2), "pad_mode": "CEIL"}
    out = b.fix(b.op("p", "maxpool2d", {"input": [x]}, (1, 3, 3, 2), **values), 6)
    graph = lower(b.graph(out))
    assert graph.op("p").get("pad") == (0, 1, 0, 1)


def test_grouped_convolutions_become_full_ones_with_zeros() -> None:
    b = Builder()
    x = b.data((1, 4, 4, 4))
    op = {"input": [x], "weights": [b.weights("w", (6, 1, 1, 2))]}
    out = b.fix(b.op("c", "conv2d", op, (1, 4, 4, 6), **window(1), group=2), 1)
    graph = lower(b.graph(out))
    weights = graph.op(graph.op("c").inputs["weights"][0]).array()
    assert weights.shape == (6, 1, 1, 4)
    assert not weights[:3, 0, 0, 2:].any() and not weights[3:, 0, 0, :2].any()
    assert graph.op("c").get("group") == 1


def test_constants_saturate_and_keep_their_rounding() -> None:
    b = Builder()
    x = b.data((1, 1, 1, 4))
    raw = b.constant("k", np.array([0.25, 0.75, -0.25, 100.0]).reshape(1, 1, 1, 4))
    k = b.fix(raw, 1, round_mode="STD_ROUND")
    graph = lower(b.graph(b.fix(b.op("m", "mul", {"input": [x, k]}, (1, 1, 1, 4)), 3)))
    stored = graph.op("k_new")
    assert stored.array().tolist() == [[[[1, 2, -1, 127]]]]
    assert (stored.output.name, stored.output.get("round_mode")) == ("k_fix", "STD_ROUND")


def test_an_input_that_is_also_read_as_float_stays_float() -> None:
    b = Builder()
    x = b.data((1, 4, 4, 2))
    out = b.fix(b.conv("c", x, 2), 3)
    raw = b.unary("s", "sigmoid", "x")
    assert types(lower(b.graph(out, raw))) == ["data", "float2fix", "conv2d-fix", "sigmoid", "fix2float"]


def test_a_convolution_that_is_read_twice_is_not_fused_away() -> None:
    b = Builder()
    conv = b.conv("c", b.data((1, 4, 4, 2)), 2)
    both = b.graph(b.fix(conv, 3), b.unary("t", "tanh", conv))
    assert "conv2d" in types(lower(both))
    agrees(both)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"bit_width": 4}, "has fix point 6, 4 bits"), ({"if_signed": False}, "unsigned")],
)
def test_other_than_signed_8_bits_is_refused(values: dict[str, int], message: str) -> None:
    b = Builder()
    b.op("x", "data", {}, (1, 4, 4, 2), shape=[1, 4, 4, 2], data_type="FLOAT32")
    with pytest.raises(ArtifactError, match=message):
        lower(b.graph(b.fix(b.conv("c", b.fix("x", 6, **values), 2), 3)))


def test_constants_that_are_not_finite_are_refused() -> None:
    b = Builder()
    x = b.data((1, 1, 1, 2))
    k = b.constant("k", np.array([[[[1.0, np.nan]]]]), 3)
    with pytest.raises(ArtifactError, match="Constant 'k' holds values that are not finite"):
        lower(b.graph(b.fix(b.op("m", "mul", {"input": [x, k]}, (1, 1, 1, 2)), 3)))
