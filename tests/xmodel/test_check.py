from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.xmodel.graphs import FIX, compiled, with_op, with_output
from xmodel.check import MAX_DEPTH, check, structure
from xmodel.definitions import definitions
from xmodel.errors import ArtifactError
from xmodel.graph import Attr, Graph, Op, Subgraph, Tensor, attrs

GRAPH = compiled()


def _without(graph: Graph, name: str, attr: str) -> Graph:
    return with_op(graph, name, attrs={key: value for key, value in graph.op(name).attrs.items() if key != attr})


def _tree(*children: Subgraph) -> Graph:
    return replace(GRAPH, root=Subgraph("root", (), children))


ALL = tuple(op.name for op in GRAPH.ops)

STRUCTURE: dict[str, tuple[Graph, str]] = {
    "two ops of one name": (replace(GRAPH, ops=(*GRAPH.ops, GRAPH.ops[0])), "Two ops are named 'input'"),
    "an input that is missing": (
        with_op(GRAPH, "down", inputs={"input": ("nowhere",)}),
        "Op 'down' reads op 'nowhere', which does not exist",
    ),
    "an input that comes later": (
        with_op(GRAPH, "up", inputs={"input": ("out",)}),
        "Op 'up' reads op 'out', which comes later",
    ),
    "an op that reads itself": (with_op(GRAPH, "up", inputs={"input": ("up",)}), "'up', which comes later"),
    "a subgraph of unknown ops": (_tree(Subgraph("s", ("ghost",))), "Subgraph 's' names op 'ghost'"),
    "an op in two subgraphs": (_tree(Subgraph("a", ("up",)), Subgraph("b", ("up",))), "Op 'up' is in two places"),
}

CONTENT: dict[str, tuple[Graph, str]] = {
    "two tensors of one name": (with_output(GRAPH, "up", name="input_t"), "Two tensors are named 'input_t'"),
    "a zero in a shape": (with_output(GRAPH, "up", shape=(1, 0, 4, 2)), r"impossible shape \[1, 0, 4, 2\]"),
    "a huge shape": (with_output(GRAPH, "up", shape=(1 << 20, 1 << 20, 2)), "impossible shape"),
    "a missing attribute": (_without(GRAPH, "conv", "kernel"), r"'conv' .* lacks the attribute 'kernel' \(int32_vec\)"),
    "an attribute of another kind": (
        with_op(GRAPH, "conv", attrs={**GRAPH.op("conv").attrs, "kernel": Attr("int64_vec", (3, 3))}),
        "has the attribute 'kernel' as int64_vec; it must be int32_vec",
    ),
    "a missing argument": (
        with_op(GRAPH, "conv", inputs={"input": ("up",)}),
        "has 0 ops as argument 'weights'; it takes 1",
    ),
    "an argument too many": (
        with_op(GRAPH, "conv", inputs={"input": ("up", "up"), "weights": ("w",)}),
        "has 2 ops as argument 'input'; it takes 1",
    ),
    "an unknown type that says nothing": (with_op(GRAPH, "up", type="Mine"), "unknown type 'Mine' needs .* 'shape'"),
    "a tensor without a fix position": (
        with_output(GRAPH, "conv", attrs=attrs(**{**FIX, "fix_point": 1.5})),
        "has the attribute 'fix_point' as float; it must be int32",
    ),
    "a tensor without a bit width": (with_output(GRAPH, "conv", attrs=attrs(fix_point=3)), "lacks .* 'bit_width'"),
    "a constant that is too small": (
        with_op(GRAPH, "w", attrs={**GRAPH.op("w").attrs, "data": Attr("bytes", bytes(71))}),
        "Constant 'w' holds 71 bytes",
    ),
    "a constant of two shapes": (with_output(GRAPH, "w", shape=(72,)), "Constant 'w' has shape"),
    "an empty constant": (
        with_op(GRAPH, "w", attrs={**GRAPH.op("w").attrs, "data": Attr("bytes", b"")}),
        "Constant 'w' holds 0 bytes",
    ),
    "an op in no subgraph": (_tree(Subgraph("a", ALL[1:])), "Op 'input' is in no subgraph"),
    "an empty subgraph": (_tree(Subgraph("a", ALL), Subgraph("b")), "Subgraph 'b' must have either ops or children"),
    "ops beside children": (
        replace(GRAPH, root=Subgraph("root", ALL[:1], (Subgraph("a", ALL[1:]),))),
        "Subgraph 'root' must have either",
    ),
    "a DPU subgraph without a fingerprint": (
        _tree(Subgraph("a", ALL, (), attrs(device="DPU", dpu_name="x"))),
        "DPU subgraph 'a' lacks the attribute 'dpu_fingerprint'",
    ),
    "a fingerprint of another kind": (
        _tree(Subgraph("a", ALL, (), attrs(device="DPU", dpu_name="x", dpu_fingerprint=5))),
        "it must be uint64",
    ),
    "outputs that are no names": (GRAPH.with_attrs(return_ops=[1]), "'return_ops' as int32_vec"),
}


def test_a_good_graph_is_returned() -> None:
    assert check(GRAPH) is GRAPH
    assert structure(replace(GRAPH, root=None)).root is None


@pytest.mark.parametrize("case", STRUCTURE)
def test_a_broken_structure_is_refused(case: str) -> None:
    graph, message = STRUCTURE[case]
    _refuses(structure, graph, message)
    _refuses(check, graph, message)


@pytest.mark.parametrize("case", CONTENT)
def test_broken_content_is_refused(case: str) -> None:
    graph, message = CONTENT[case]
    assert structure(graph) is graph
    _refuses(check, graph, message)


def _refuses(function: Callable[[Graph], Graph], graph: Graph, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        function(graph)


def test_a_constant_in_a_parameter_blob_may_be_empty() -> None:
    empty = with_op(GRAPH, "w", attrs={**GRAPH.op("w").attrs, "data": Attr("bytes", b"")})
    graph = with_output(empty, "w", attrs=attrs(**FIX, ddr_addr=0))
    assert check(graph) is graph


def test_an_unknown_type_with_shape_and_data_type_is_taken() -> None:
    values = attrs(shape=[1], data_type="FLOAT32")
    graph = Graph("g", (Op("x", "Mine", {}, values, Tensor("x", (1,))),))
    assert check(graph) is graph


def test_a_tree_has_a_greatest_depth() -> None:
    node = Subgraph("leaf", ALL)
    for depth in range(MAX_DEPTH - 1):
        node = Subgraph(str(depth), (), (node,))
    assert check(replace(GRAPH, root=node)).root is node
    for depth in range(2000):
        node = Subgraph(str(depth), (), (node,))
    with pytest.raises(ArtifactError, match="nested more than 90 deep"):
        check(replace(GRAPH, root=node))


def test_definitions_are_those_of_the_registry() -> None:
    found = definitions()
    assert len(found) == 88
    conv = found["conv2d"]
    assert [(a.name, a.least, a.most) for a in conv.arguments] == [
        ("input", 1, 1),
        ("weights", 1, 1),
        ("bias", 0, 1),
    ]
    assert [a.name for a in conv.attributes if not a.optional] == ["kernel", "stride", "pad_mode"]
    assert [(a.name, a.least, a.most) for a in found["concat"].arguments] == [("input", 1, None)]
    assert {a.name: a.kind for a in found["upsample-fix"].attributes}["scale"] == "float_vec"
