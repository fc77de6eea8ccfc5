"""Attributes: Python types out, XIR kinds in, mistakes named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from runtime.dropin.attributes import plain, typed
from runtime.dropin.graph import Graph
from runtime.dropin.tensor import Tensor
from xmodel.errors import UsageError
from xmodel.graph import Attr


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, "bool"), (3, "int32"), (-(1 << 31), "int32"), (1 << 31, "int64"), (1 << 63, "uint64"), (0.5, "float"),
        ("x", "string"), (b"x", "bytes"), (bytearray(b"x"), "bytes"), ([1, 2], "int32_vec"),
        ((1, 1 << 40), "int64_vec"),
        ([], "int32_vec"), ([1, 0.5], "float_vec"), ([True, False], "bool_vec"), (["a"], "string_vec"),
        ([b"a"], "bytes_vec"), ({"run": "lib"}, "map_string_2_string"), ({"a": 1}, "map_string_2_int32"),
        ({"a": [1, 2]}, "map_string_2_int32_vec"), ({}, "map_string_2_string"), (np.int64(4), "int32"),
        (np.float32(0.5), "float"), (np.array([1, 2]), "int32_vec"), ({"a": b"x"}, "map_string_2_bytes"),
    ],
)  # fmt: skip
def test_a_value_gets_the_kind_of_its_type(value: Any, kind: str) -> None:
    assert typed(value).kind == kind


@pytest.mark.parametrize("value", [None, 1j, object(), [1, "a"], {"a": 0.5}, {1: "a"}, 1 << 64, [None], {"a": None}])
def test_a_value_without_a_kind_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot be an XIR attribute"):
        typed(value)


def test_a_prescribed_kind_converts_what_it_can_hold() -> None:
    assert typed(1, "float").value == 1.0 and isinstance(typed(1, "float").value, float)
    assert typed(np.arange(3, dtype=np.int8), "bytes").value == b"\x00\x01\x02"
    assert typed([1.0, 2.0], "int32_vec").value == (1, 2)
    for value, kind in (("3", "int32"), (0.5, "int32"), (3, "string"), (1 << 40, "int32"), ("ab", "int32_vec")):
        with pytest.raises(TypeError, match=f"cannot be an attribute of kind {kind}"):
            typed(value, kind)


def test_what_python_reads() -> None:
    assert plain(Attr("int32_vec", (1, 2))) == [1, 2]
    assert plain(Attr("bytes", memoryview(b"ab"))) == b"ab"
    assert plain(Attr("bytes_vec", (memoryview(b"a"), b"b"))) == [b"a", b"b"]
    assert plain(Attr("map_string_2_int32_vec", {"a": (1, 2)})) == {"a": [1, 2]}
    assert plain(Attr("map_string_2_bytes", {"REG_0": b"x"})) is None


def test_a_missing_attribute_is_named_with_what_there_is() -> None:
    tensor = Tensor("t", [1, 2])
    tensor.set_attr("fix_point", 4)
    assert tensor.has_attr("fix_point") and not tensor.has_attr("fix_pos")
    with pytest.raises(UsageError, match=r"Tensor 't' has no attribute 'fix_pos'. Did you mean 'fix_point'\?"):
        tensor.get_attr("fix_pos")


def test_a_replaced_value_keeps_its_kind_where_it_fits() -> None:
    graph = Graph("g")
    graph.restore_attrs({"count": Attr("uint32", 5), "__op_defs": Attr("bytes_vec", (b"x",))})
    graph.set_attr("count", 6)
    graph.set_attr("dpu_fingerprint", 0x501000000140FEE)
    assert graph.stored_attrs()["count"] == Attr("uint32", 6)
    assert graph.stored_attrs()["dpu_fingerprint"].kind == "uint64"
    graph.set_attrs({"count": "many"})
    graph.set_attr("count", "much")
    assert graph.stored_attrs()["count"] == Attr("string", "much")
    assert graph.get_attrs() == {"count": "much"} and not graph.has_attr("__op_defs")
    graph.set_attrs({"a": [1]})
    assert graph.get_attrs() == {"a": [1]}
    with pytest.raises(TypeError, match="Attribute 'b' of graph 'g': NoneType cannot be"):
        graph.set_attr("b", None)
    graph.set_attr("__b", 1)
    assert graph.get_attr("__b") == 1
    with pytest.raises(TypeError, match="cannot have an attribute called '__op_defs'"):
        graph.set_attr("__op_defs", 1)
