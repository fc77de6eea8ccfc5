from __future__ import annotations

import numpy as np
import pytest

from xmodel.errors import ArtifactError
from xmodel.graph import Attr, Graph, Op, Subgraph, Tensor, attrs, const, numpy_dtype, rewrite, sort


def _op(name: str, *inputs: str, type_: str = "relu") -> Op:
    return Op(name, type_, {"input": inputs} if inputs else {}, {}, Tensor(name, (1, 2)))


DIAMOND = Graph("g", (_op("a", type_="data"), _op("b", "a"), _op("c", "a"), _op("d", "b", "c")))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, "bool"),
        (3, "int32"),
        (0.5, "float"),
        ("x", "string"),
        (b"x", "bytes"),
        ([1, 2], "int32_vec"),
        ([True], "bool_vec"),
        ([0.5], "float_vec"),
        (["x"], "string_vec"),
        ([], "int32_vec"),
        ({"a": 1}, "map_string_2_int32"),
        ({"a": "b"}, "map_string_2_string"),
        ({"a": [1]}, "map_string_2_int32_vec"),
        ({}, "map_string_2_string"),
    ],
)
def test_kinds_are_inferred(value: object, kind: str) -> None:
    assert Attr.of(value).kind == kind


def test_an_attribute_is_taken_as_it_is() -> None:
    attr = Attr("uint64", 5)
    assert Attr.of(attr) is attr
    with pytest.raises(TypeError, match="No XIR attribute kind for object"):
        Attr.of(object())


def test_sort_keeps_the_given_order_where_it_can() -> None:
    a, b, c, d = DIAMOND.ops
    assert [op.name for op in sort([d, c, a, b])] == ["a", "c", "b", "d"]
    assert sort(DIAMOND.ops) == DIAMOND.ops


def test_sort_refuses_a_cycle() -> None:
    with pytest.raises(ArtifactError, match="cycle through op 'a'"):
        sort([_op("a", "b"), _op("b", "a")])


def test_readers_inputs_and_outputs() -> None:
    assert [op.name for op in DIAMOND.fanout["a"]] == ["b", "c"]
    assert [op.name for op in DIAMOND.inputs] == ["a"]
    assert [op.name for op in DIAMOND.outputs] == ["d"]
    assert [op.name for op in DIAMOND.with_attrs(return_ops=["c", "d"]).outputs] == ["c", "d"]
    assert DIAMOND.op("c").arg("input") == "a"
    assert DIAMOND.op("a").arg("input") is None
    with pytest.raises(ArtifactError, match="no op named 'z'"):
        DIAMOND.op("z")


def test_rewrite_replaces_what_the_rule_returns_and_drops_the_tree() -> None:
    graph = Graph("g", DIAMOND.ops, root=Subgraph("root", ("a", "b", "c", "d")))
    done = rewrite(graph, lambda op: op.with_attrs(seen=True) if op.name == "b" else None)
    assert [op.get("seen", False) for op in done.ops] == [False, True, False, False]
    assert done.root is None


def test_a_constant_shares_its_arrays_memory() -> None:
    array = np.arange(6, dtype=np.int8).reshape(2, 3)
    op = const("w", array, "const-fix", fix_point=4)
    assert np.shares_memory(op.array(), array)
    assert op.output.fix_point == 4
    assert op.output.data_type == "XINT8"
    np.testing.assert_array_equal(op.array(), array)
    with pytest.raises(ValueError, match="read-only"):
        op.array()[0, 0] = 1


@pytest.mark.parametrize("shape", [(2, 2), (1 << 31, 1 << 31, 4), (1 << 62, 8), (-1, -3), (0,)])
def test_a_constant_of_another_size_is_refused(shape: tuple[int, ...]) -> None:
    op = Op("w", "const", {}, attrs(data=bytes(12)), Tensor("w", shape))
    with pytest.raises(ArtifactError, match="Constant 'w' holds 12 bytes"):
        op.array()


def test_unknown_data_types_have_no_array() -> None:
    assert numpy_dtype("XINT8") == np.int8
    with pytest.raises(ArtifactError, match="'XINT4' has no numpy equivalent"):
        numpy_dtype("XINT4")


def test_the_ops_of_a_deep_tree_are_listed_in_order() -> None:
    node = Subgraph("leaf", ("z",))
    for depth in range(5000):
        node = Subgraph(str(depth), (), (Subgraph("side", (str(depth),)), node))
    assert list(node.all_ops()) == [str(depth) for depth in reversed(range(5000))] + ["z"]


@pytest.mark.parametrize("value", [5, "d", (1, 2), 0.5, {"d": "x"}])
def test_outputs_that_are_no_names_are_those_nobody_reads(value: object) -> None:
    assert [op.name for op in DIAMOND.with_attrs(return_ops=["b"]).outputs] == ["b"]
    assert [op.name for op in DIAMOND.with_attrs(return_ops=value).outputs] == ["d"]


def test_attributes_of_another_kind_are_none() -> None:
    assert Tensor("t", (1,), "XINT8", attrs(fix_point="5")).fix_point is None
    assert Op("w", "const", {}, attrs(data=5), Tensor("w", (1,))).data == b""
