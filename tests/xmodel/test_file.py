from __future__ import annotations

import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.xmodel.graphs import compiled, with_op, with_output
from xmodel import attributes, file, wire
from xmodel.check import MAX_DEPTH, check
from xmodel.errors import ArtifactError, UnavailableError, UsageError
from xmodel.graph import Attr, Graph, Op, Subgraph, Tensor, attrs, const
from xmodel.wire import Message

GRAPH = compiled()

VALUES: dict[str, Any] = {
    "bool": True,
    "int32": -(1 << 31),
    "uint32": (1 << 32) - 1,
    "int64": -(1 << 63),
    "uint64": (1 << 64) - 1,
    "float": 0.1015625,
    "double": 1e-300,
    "string": "größe",
    "bytes": b"\0\xff",
    "bool_vec": (True, False),
    "int32_vec": (-1, 0, 1),
    "uint32_vec": (1, 1 << 31),
    "int64_vec": (-1, 1 << 62),
    "uint64_vec": (1 << 63,),
    "float_vec": (0.5, -2.0),
    "double_vec": (0.1, -0.2),
    "string_vec": ("a", "", "b"),
    "bytes_vec": (b"a", b"", b"\0"),
    "map_string_2_int32": {"a": -5, "": 0},
    "map_string_2_uint32": {"a": 5},
    "map_string_2_int64": {"a": -(1 << 40)},
    "map_string_2_uint64": {"a": 1 << 63},
    "map_string_2_string": {"run": "lib.so", "x": ""},
    "map_string_2_bytes": {"REG_0": b"\1\2", "REG_1": b""},
    "map_string_2_int32_vec": {"a": (-1, 2), "b": ()},
    "map_string_2_uint32_vec": {"a": (1, 2)},
    "map_string_2_int64_vec": {"a": (-1,)},
    "map_string_2_uint64_vec": {"a": (1,)},
    "map_string_2_string_vec": {"a": ("x", "y"), "b": ()},
}


def _message(*fields: tuple[int, int | bytes | Message]) -> Message:
    message = Message()
    for number, value in fields:
        if isinstance(value, Message):
            message.message(number, value)
        elif isinstance(value, int):
            message.varint(number, value)
        else:
            message.data(number, value)
    return message


def _bytes(*fields: tuple[int, int | bytes | Message]) -> bytes:
    return b"".join(_message(*fields).chunks)


def _stored_op(name: bytes, *inputs: bytes) -> Message:
    argument = _message((1, b"input"), *((2, producer) for producer in inputs))
    return _message((1, name), (2, b"relu"), (4, argument), (5, _message((1, name))))


def test_a_file_is_these_bytes() -> None:
    values = attrs(shape=[2], data_type="XINT8")
    tensor = Tensor("t", (2,), "XINT8", attrs(fix_point=-1))
    graph = Graph("g", (Op("a", "data-fix", {}, values, tensor),), root=Subgraph("root", ("a",)))
    data_type = "0a09" + b"data_type".hex() + "1207" + "5a05" + b"XINT8".hex()
    shape = "0a05" + b"shape".hex() + "1205" + "7203" + "0a0102"
    fix_point = "0a09" + b"fix_point".hex() + "120b" + "28" + "ff" * 9 + "01"
    output = "0a0174" + "120102" + "2802" + "3008" + "5218" + fix_point
    op = "0a0161" + "1208" + b"data-fix".hex() + "1a14" + data_type + "1a0e" + shape + "2a24" + output
    expected = bytes.fromhex("0a0167" + "2a59" + op + "5209" + "0a04" + b"root".hex() + "1a0161")
    assert file.dumps(graph) == expected
    assert file.loads(expected) == graph


def test_every_attribute_kind_survives() -> None:
    assert set(VALUES) == set(attributes.KINDS)
    graph = replace(GRAPH, attrs={kind: Attr(kind, value) for kind, value in VALUES.items()})
    found = file.loads(file.dumps(graph)).attrs
    assert {name: attr.kind for name, attr in found.items()} == {kind: kind for kind in VALUES}
    assert {name: attr.value for name, attr in found.items()} == VALUES
    assert type(found["bool"].value) is bool


@pytest.mark.parametrize("data_type", ["FLOAT32", "XINT8", "XUINT4", "INT1", "UINT64", "BFLOAT16", "UNKNOWN0", "INT0"])
def test_every_data_type_survives(data_type: str) -> None:
    graph = with_output(GRAPH, "out", data_type=data_type)
    assert file.loads(file.dumps(graph)).op("out").output.data_type == data_type


def test_bytes_do_not_depend_on_the_order_of_attributes() -> None:
    names = [f"{letter}{number}" for letter in "xyz" for number in range(20)]
    one = replace(GRAPH, attrs={name: Attr("map_string_2_int32", dict.fromkeys(names, 1)) for name in names})
    two = replace(
        GRAPH, attrs={name: Attr("map_string_2_int32", dict.fromkeys(names[::-1], 1)) for name in names[::-1]}
    )
    assert file.dumps(one) == file.dumps(two)


def test_constants_are_views_into_what_was_read() -> None:
    data = file.dumps(GRAPH)
    array = file.loads(data).op("w").array()
    assert np.shares_memory(array, np.frombuffer(data, np.uint8))
    np.testing.assert_array_equal(array, GRAPH.op("w").array())


def test_attributes_of_the_memory_stay_there() -> None:
    graph = with_op(GRAPH, "conv", attrs={**GRAPH.op("conv").attrs, "__cache": Attr("string", "x")})
    assert "__cache" in graph.op("conv").attrs
    assert file.loads(file.dumps(graph)) == GRAPH


def test_op_definitions_are_kept_as_they_are() -> None:
    definition = _bytes((1, b"Mine"), (4, b"what it does"))
    data = file.dumps(GRAPH) + _bytes((101, definition))
    graph = file.loads(data)
    assert graph.get(file.OP_DEFS) == (definition,)
    assert file.dumps(graph) == data


def test_ops_out_of_order_are_sorted() -> None:
    graph = file.loads(_bytes((1, b"g"), (5, _stored_op(b"b", b"a")), (5, _stored_op(b"a"))))
    assert [op.name for op in graph.ops] == ["a", "b"]
    assert file.loads(file.dumps(graph)) == graph


def test_unpacked_vectors_are_read() -> None:
    vector = _message((1, 3), (1, (1 << 64) - 1))
    data = _bytes((1, b"g"), (11, _message((1, b"v"), (2, _message((14, vector))))))
    assert file.loads(data).get("v") == (3, -1)


def test_writing_to_a_path_and_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "net.xmodel"
    file.write(path, GRAPH)
    assert path.read_bytes() == file.dumps(GRAPH)
    assert check(file.read(path)) == GRAPH
    assert [found.name for found in tmp_path.iterdir()] == ["net.xmodel"]


def test_an_unwritable_path_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="Cannot write"):
        file.write(tmp_path / "file" / "net.xmodel", GRAPH)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attrs": attrs(x=1 << 31)}, "'x' of kind 'int32' cannot hold 2147483648"),
        ({"attrs": {"x": Attr("uint64", -1)}}, "the values of uint64 are 0 to"),
        ({"attrs": {"x": Attr("int32", 1.5)}}, "cannot hold 1.5"),
        ({"attrs": {"x": Attr("string", 5)}}, "int is not a string"),
        ({"attrs": {"x": Attr("float", 1e300)}}, "cannot hold 1e"),
        ({"attrs": {"x": Attr("int32_vec", 5)}}, "cannot hold 5"),
        ({"attrs": {"x": Attr("bytes", "text")}}, "cannot hold 'text'"),
        ({"attrs": {"x": Attr("map_string_2_bool", {})}}, "kind 'map_string_2_bool'"),
        ({"attrs": {"x": Attr("string", "\ud800")}}, "surrogates not allowed"),
        ({"attrs": {"\ud800": Attr("string", "")}}, "surrogates not allowed"),
        ({"name": "\ud800"}, "no valid Unicode"),
        ({"ops": (GRAPH.ops[0], GRAPH.ops[0])}, "Two ops are named 'input'"),
    ],
)
def test_what_cannot_be_stored_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        file.dumps(replace(GRAPH, **change))


@pytest.mark.parametrize("change", [{"data_type": "FLOAT"}, {"data_type": "INT4096"}, {"shape": (-1,)}])
def test_tensors_that_cannot_be_stored_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match=r"Op 'out': .*'out_t'"):
        file.dumps(with_output(GRAPH, "out", **change))


def _attr(*fields: tuple[int, int | bytes | Message]) -> bytes:
    return _bytes((1, b"g"), (11, _message((1, b"x"), (2, _message(*fields)))))


def _nested(depth: int) -> bytes:
    """A graph whose subgraphs are nested `depth` deep, in linear time."""
    pieces, size = list[bytes](), 0
    for _ in range(depth):
        head = wire.varint(10 << 3 | 2) + wire.varint(size)
        pieces.append(head)
        size += len(head)
    return b"\x0a\x01g" + b"".join(reversed(pieces))


DAMAGED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "holds no graph"),
    "a text": (b"<html><body>404 Not Found</body></html>", "impossible wire type|damaged|unknown"),
    "an image": (b"\x89PNG\r\n\x1a\n" + bytes(40), "damaged|truncated|unknown"),
    "a field nobody knows": (_bytes((1, b"g"), (7, b"x")), "The graph has an unknown field 7, stored as 1 bytes"),
    "a name of another type": (_bytes((1, 5)), "unknown field 1, stored as a varint"),
    "an op without a type": (_bytes((5, _message((1, b"a"), (5, b"")))), r"Op 0 \('a'\): It lacks a name, a type"),
    "an op without an output": (_bytes((5, _message((1, b"a"), (2, b"relu")))), "lacks a name, a type or an output"),
    "an op that reads itself": (_bytes((5, _stored_op(b"a", b"a"))), "cycle through op 'a'"),
    "a cycle": (_bytes((5, _stored_op(b"a", b"b")), (5, _stored_op(b"b", b"a"))), "cycle through op"),
    "a missing input": (_bytes((5, _stored_op(b"a", b"z"))), "reads op 'z', which does not exist"),
    "ops of one name": (_bytes((5, _stored_op(b"a")), (5, _stored_op(b"a"))), "Two ops are named 'a'"),
    "ops of one name, later input": (
        _bytes((5, _stored_op(b"a", b"b")), (5, _stored_op(b"b")), (5, _stored_op(b"b"))),
        "reads op 'b', which comes later",
    ),
    "an attribute without a value": (_bytes((1, b"g"), (11, _message((1, b"x")))), "Attribute 'x': It has no value"),
    "an attribute of an unknown kind": (_attr((33, b"")), "unknown field 33"),
    "an int32 stored as bytes": (_attr((5, b"abc")), "kind int32 is stored as 3 bytes"),
    "a float stored as a varint": (_attr((9, 1)), "kind float is stored as a varint"),
    "a vector stored as a varint": (_attr((14, 1)), "a message is stored as a varint"),
    "a map stored as a varint": (_attr((22, 1)), "a message is stored as a varint"),
    "a map with a field too many": (_attr((22, _message((1, _message((3, 1)))))), "A map entry has an unknown field 3"),
    "a string that is none": (_attr((11, b"\xff")), "no UTF-8"),
    "half a float in a vector": (_attr((18, _message((1, b"abc")))), "3 bytes are no whole number"),
    "a vector with a field too many": (_attr((14, _message((2, b"")))), "A vector has an unknown field 2"),
    "a data type nobody knows": (
        _bytes((5, _message((1, b"a"), (2, b"relu"), (5, _message((5, 9), (6, 8)))))),
        "unknown data type 9 of 8 bits",
    ),
    "a negative bit width": (
        _bytes((5, _message((1, b"a"), (2, b"relu"), (5, _message((5, 2), (6, -8)))))),
        "unknown data type 2",
    ),
    "a tensor of 65 dimensions": (
        _bytes((5, _message((1, b"a"), (2, b"relu"), (5, _message((1, b"t"), (2, bytes(65))))))),
        "tensor 't' has 65 dimensions; at most 64 are read",
    ),
    "subgraphs too deep": (_nested(MAX_DEPTH + 1), "nested more than 90 deep"),
    "subgraphs far too deep": (_nested(100_000), "nested more than 90 deep"),
    "a subgraph of unknown ops": (_bytes((1, b"g"), (10, _message((3, b"a")))), "names op 'a', which does not exist"),
    "a size of 2 GiB": (b"\x2a\xff\xff\xff\xff\x07", "field 5 declares 2147483647 bytes, 0 are left"),
    "a size of 2**63": (b"\x2a" + b"\xff" * 9 + b"\x01", "field 5 declares 18446744073709551615 bytes"),
    "a million empty ops": (b"\x2a\x00" * 1_100_000, "lacks a name"),
    "a vector of a million": (_attr((14, _message((1, bytes(1_100_000))))), "no real model has"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_files_are_refused(case: str) -> None:
    data, message = DAMAGED[case]
    with pytest.raises(ArtifactError, match=message):
        file.loads(data)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "net.xmodel"
    path.write_bytes(file.dumps(GRAPH)[:-3])
    with pytest.raises(ArtifactError, match=r"net\.xmodel: .*truncated.* copied completely\?"):
        file.read(path)


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        file.read(tmp_path / "missing")
    with pytest.raises(UsageError, match="not a file"):
        file.read(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="not a file"):
        file.read(tmp_path / "pipe")


def _survives(data: bytes) -> None:
    """`data` gives a graph that can be checked and written back, or an `ArtifactError`."""
    try:
        graph = file.loads(data)
        again = file.loads(file.dumps(graph))
    except ArtifactError:
        return
    assert [op.name for op in again.ops] == [op.name for op in graph.ops]
    try:
        check(graph)
    except ArtifactError:
        return


SEED = file.dumps(replace(GRAPH, attrs={kind: Attr(kind, value) for kind, value in VALUES.items()}))


def test_truncations_are_survived() -> None:
    for end in range(0, len(SEED), 7):
        _survives(SEED[:end])


def test_flipped_bits_are_survived() -> None:
    for place in range(0, 8 * len(SEED), 41):
        data = bytearray(SEED)
        data[place // 8] ^= 1 << place % 8
        _survives(bytes(data))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200))
@example(b"\x2a\x02\x0a\x00")
def test_any_bytes_are_survived(data: bytes) -> None:
    _survives(data)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(SEED) - 1), st.integers(0, 12), st.binary(max_size=12)), max_size=6))
def test_any_edits_are_survived(edits: list[tuple[int, int, bytes]]) -> None:
    data = SEED
    for place, removed, inserted in edits:
        data = data[:place] + inserted + data[place + removed :]
    _survives(data)


_NAMES = st.text(max_size=8)
_KINDS: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "int32": st.integers(-(1 << 31), (1 << 31) - 1),
    "uint32": st.integers(0, (1 << 32) - 1),
    "int64": st.integers(-(1 << 63), (1 << 63) - 1),
    "uint64": st.integers(0, (1 << 64) - 1),
    "float": st.floats(width=32, allow_nan=False),
    "double": st.floats(allow_nan=False),
    "string": st.text(max_size=8),
    "bytes": st.binary(max_size=8),
}


def _values(kind: str) -> st.SearchStrategy[Any]:
    if kind.startswith("map_string_2_"):
        return st.dictionaries(_NAMES, _values(kind.removeprefix("map_string_2_")), max_size=3)
    if kind.endswith("_vec"):
        return st.lists(_values(kind.removesuffix("_vec")), max_size=3).map(tuple)
    return _KINDS[kind]


_ATTRS = st.sampled_from(attributes.KINDS).flatmap(lambda kind: st.builds(Attr, st.just(kind), _values(kind)))


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(_NAMES.filter(lambda name: not name.startswith("__")), _ATTRS, max_size=4))
def test_any_attributes_survive(values: dict[str, Attr]) -> None:
    assert file.loads(file.dumps(replace(GRAPH, attrs=values))).attrs == values


def test_a_large_constant_is_neither_copied_nor_walked(tmp_path: Path) -> None:
    array = np.zeros((1 << 22,), np.float32)
    graph = Graph("big", (const("w", array),))
    message = file._encode(graph)
    assert sum(len(chunk) for chunk in message.chunks if not isinstance(chunk, memoryview)) < 200
    file.write(tmp_path / "big.xmodel", graph)
    assert file.read(tmp_path / "big.xmodel") == graph


def test_floats_keep_their_bits() -> None:
    (bits,) = struct.unpack("<f", bytes.fromhex("cdcccc3d"))
    found = file.loads(file.dumps(GRAPH.with_attrs(x=bits, y=float("inf"), z=-0.0)))
    assert struct.pack("<3f", *(found.get(name) for name in "xyz")).hex() == "cdcccc3d" + "0000807f" + "00000080"
