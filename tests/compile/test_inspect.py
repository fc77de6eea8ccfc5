from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from arch.targets import Target, find, targets
from compile.edit import int8_tensor
from compile.inspect import IDLE, Inspection, Placed, inspect, without_transfers
from compile.pipeline import compile_graph
from tests.compile.build import Builder, uynet
from tests.compile.goldens import GOLDENS, cases, facts, int_graph, label
from tests.shared import needs_shared
from xmodel import file
from xmodel.check import check
from xmodel.errors import ArtifactError, UnmaskError
from xmodel.graph import Attr, Graph, Op, attrs


def pooled() -> Graph:
    """conv, relu, a 14x14 pool, conv."""
    b = Builder("Net")
    x = b.fix(b.unary("r", "relu", b.conv("c", b.data((1, 28, 28, 3)), 8)), 4)
    return b.graph(b.fix(b.conv("d", b.fix(b.pool("p", "maxpool2d", x, 14), 4), 4), 4))


def row(found: Inspection, name: str) -> Placed:
    return next(op for op in found.ops if op.name == name)


def test_every_op_has_its_device_and_layer() -> None:
    found = inspect(pooled(), find("8PE"))
    assert [(op.name, op.type, op.device, op.layer) for op in found.ops] == [
        ("x", "data", "USER", "x"),
        ("c", "conv2d", "DPU", "c"),
        ("r", "relu", "DPU", "c"),
        ("p", "maxpool2d", "CPU", "p"),
        ("d", "conv2d", "DPU", "d"),
    ]
    assert found.problems == (row(found, "p"),)
    assert row(found, "p").shape == (1, 2, 2, 8)


def test_a_reason_has_numbers_a_rewrite_and_who_takes_it() -> None:
    pool = row(inspect(pooled(), find("8PE")), "p")
    assert pool.rule == "max-pool 14x14: 8PE takes kernels 1, 2, 3, 7"
    assert pool.rewrite == "use 2x2 then 7x7"
    assert pool.takers == ("DPUCVDX8H_ISA1_F2W4_6PE_aieMISC", "DPUCVDX8H_ISA1_F2W4_4PE")


def test_the_subgraphs_are_predicted_for_every_variant() -> None:
    found = inspect(pooled(), find("8PE"))
    assert [(part.device, part.name) for part in found.subgraphs] == [
        ("USER", "subgraph_x"),
        ("DPU", "subgraph_c"),
        ("CPU", "subgraph_p"),
        ("DPU", "subgraph_d"),
        ("CPU", "subgraph_d_fix_"),
    ]
    assert found.dpu_subgraphs == 2
    assert {v.target: (v.dpu_subgraphs, v.cpu_layers) for v in found.variants} == {
        "F2W2": (2, 1), "8PE": (2, 1), "6PE_aieDWC": (2, 1), "6PE_aieMISC": (1, 0), "4PE": (1, 0),
    }  # fmt: skip
    assert inspect(pooled(), find("4PE")).problems == ()


def test_what_is_fused_into_a_layer_of_the_host_shares_its_reason() -> None:
    b = Builder("Net")
    x = b.data((1, 8, 8, 3))
    inputs = {"input": [x], "weights": [b.weights("w", (1, 3, 3, 3))]}
    window = {"kernel": [3, 3], "stride": [1, 1], "pad": [1, 1, 1, 1], "dilation": [1, 1], "pad_mode": "FLOOR"}
    conv = b.op("dw", "depthwise-conv2d", inputs, (1, 8, 8, 3), **window)
    graph = b.graph(b.fix(b.unary("r", "relu", conv), 4))
    found = inspect(graph, find("8PE"))
    assert [(op.name, op.device, op.layer, bool(op.rule)) for op in found.ops] == [
        ("x", "USER", "x", False), ("dw", "CPU", "dw", True), ("r", "CPU", "dw", False),
    ]  # fmt: skip
    assert inspect(graph, find("4PE")).problems == ()


def test_what_only_moves_data_on_the_host_says_so() -> None:
    b = Builder("Net")
    x = b.fix(b.pool("p", "maxpool2d", b.data((1, 28, 28, 4)), 14), 6)
    joined = b.op("j", "concat", {"input": [x, x]}, (1, 2, 2, 8), axis=3)
    found = inspect(b.graph(b.fix(joined, 6)), find("8PE"))
    assert (row(found, "j").device, row(found, "j").rule, row(found, "j").takers) == ("CPU", IDLE, ())
    assert found.dpu_subgraphs == 0


def test_linear_layers_and_shapes_belong_to_the_layer_they_become() -> None:
    b = Builder("Net")
    found = inspect(b.graph(b.fix(b.linear("fc", b.data((1, 7, 7, 8)), 10), 4)), find("8PE"))
    homes = {op.name: op.layer for op in found.ops}
    assert homes["fc"] == "fc(TransferMatMulToConv2d)"
    assert row(found, "fc").device == "DPU"


def test_source_lines_are_kept() -> None:
    graph = pooled()
    marked = graph.with_ops(op.with_attrs(__source=f"net.py:{n}") for n, op in enumerate(graph.ops))
    assert row(inspect(marked, find("8PE")), "p").source.startswith("net.py:")


def test_a_float_graph_is_refused() -> None:
    b = Builder("Net")
    b.op("x", "data", {}, (1, 4, 4, 2), shape=[1, 4, 4, 2], data_type="FLOAT32")
    with pytest.raises(ArtifactError, match="neither fix ops nor integer ops: it is not quantized"):
        inspect(b.graph(b.unary("t", "tanh", "x")), find("8PE"))


@pytest.mark.parametrize("target", targets()[:5], ids=lambda target: target.name)
def test_uynet_is_one_subgraph_on_every_variant_before_and_after_compilation(target: Target) -> None:
    graph = uynet(8, 224)
    found, again = inspect(graph, target), inspect(compile_graph(graph, target), target)
    assert [op.name for op in found.problems] == ["prob"]
    assert (found.dpu_subgraphs, [v.dpu_subgraphs for v in found.variants]) == (1, [1] * 5)
    assert again.subgraphs == found.subgraphs


def compiled(graph: Graph) -> list[tuple[str, str]]:
    assert graph.root is not None
    return [(str(part.get("device")), part.name) for part in graph.root.children]


@needs_shared
@pytest.mark.parametrize("case", [c for c in cases() if c.parent.parent.name == "quantizer"], ids=label)
def test_the_prediction_is_what_compilation_does(case: Path) -> None:
    graph = int_graph(case)
    for name in ("8PE", "4PE"):
        found = inspect(graph, find(name))
        made = compile_graph(graph, find(name))
        assert [(part.device, part.name) for part in found.subgraphs] == compiled(made)
        assert all(op.rule for op in found.ops if op.device == "CPU" and op.layer == op.name)


@needs_shared
@pytest.mark.parametrize("variant", ["8PE", "4PE"])
def test_a_file_that_the_vendor_compiled_is_inspected(variant: str) -> None:
    name = f"v25_vck5000{variant.lower()}_pointpillars_custom_op"
    graph = file.read(GOLDENS / f"xmodels/{name}.xmodel")
    check(without_transfers(graph))
    found = inspect(graph, find(variant))
    nodes = [node for node in facts(name)["subgraph_tree"]["children"] if node["device"] == "DPU"]
    assert found.dpu_subgraphs == len(nodes)


def test_damaged_files_end_in_an_error() -> None:
    """Bits flipped anywhere, before and after compilation."""
    random = np.random.default_rng(0)
    for base in (file.dumps(pooled()), file.dumps(compile_graph(pooled(), find("8PE")))):
        for _ in range(400):
            data = bytearray(base)
            for place in random.integers(0, len(data), 3):
                data[place] ^= 1 << int(random.integers(8))
            with suppress(UnmaskError):
                inspect(file.loads(bytes(data)), find("8PE"))


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("pool-fix", {"kernel": [2], "stride": [2, 2], "type": "MAX"}, "needs 2 values >= 1 as 'kernel'"),
        ("upsample-fix", {"mode": "NEAREST", "scale": Attr("float_vec", (2.0,))}, "needs 2 values as 'scale'"),
    ],
)
def test_windows_of_compiled_files_are_checked(kind: str, values: dict[str, object], message: str) -> None:
    x = Op("x", "data-fix", {}, attrs(shape=[1, 4, 4, 2], data_type="XINT8"), int8_tensor("x", (1, 4, 4, 2), 4))
    y = Op("y", kind, {"input": ("x",)}, attrs(**values), int8_tensor("y", (1, 2, 2, 2), 4))
    with pytest.raises(ArtifactError, match=message):
        inspect(Graph("g", (x, y)), find("8PE"))
