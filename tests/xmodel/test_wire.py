from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmodel import wire
from xmodel.errors import ArtifactError
from xmodel.wire import Message, Reader


def _fields(data: bytes) -> list[wire.Field]:
    return list(Reader().fields(memoryview(data)))


@pytest.mark.parametrize(
    ("value", "encoded"),
    [(0, "00"), (1, "01"), (127, "7f"), (128, "8001"), (300, "ac02"), (-1, "ffffffffffffffffff01")],
)
def test_varints_are_protobufs(value: int, encoded: str) -> None:
    assert wire.varint(value).hex() == encoded
    assert _fields(b"\x08" + bytes.fromhex(encoded)) == [(1, value % (1 << 64))]


def test_every_wire_type_has_its_python_type() -> None:
    data = bytes.fromhex("08ac02" + "11" + "00" * 8 + "1a03616263" + "25" + "0000803f")
    assert _fields(data) == [(1, 300), (2, bytes(8)), (3, b"abc"), (4, struct.pack("<f", 1.0))]
    assert [type(value) for _, value in _fields(data)] == [int, bytes, memoryview, bytes]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("08", "ends within a number"),
        ("08ff", "ends within a number"),
        ("08" + "ff" * 10 + "01", "longer than 10 bytes"),
        ("08" + "ff" * 9 + "02", "larger than 64 bits"),
        ("0a05616263", "field 1 declares 5 bytes, 3 are left"),
        ("0affffffff7f", "field 1 declares 34359738367 bytes, 0 are left"),
        ("0d000000", "field 1 declares 4 bytes, 3 are left"),
        ("0b", "impossible wire type 3"),
        ("0f", "impossible wire type 7"),
        ("0001", "0 is no field number"),
    ],
)
def test_damaged_data_is_refused(data: str, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        _fields(bytes.fromhex(data))


def test_the_budget_bounds_fields_and_packed_elements() -> None:
    with pytest.raises(ArtifactError, match="no real model has"):
        list(Reader(budget=3).fields(memoryview(b"\x08\x01" * 4)))
    with pytest.raises(ArtifactError, match="no real model has"):
        Reader(budget=3).varints(memoryview(b"\x01" * 4))
    with pytest.raises(ArtifactError, match="no real model has"):
        Reader(budget=3).fixed(memoryview(bytes(16)), "f")


def test_packed_floats_must_be_whole() -> None:
    assert Reader().fixed(memoryview(struct.pack("<2f", 1.5, -2.0)), "f") == (1.5, -2.0)
    with pytest.raises(ArtifactError, match="7 bytes are no whole number"):
        Reader().fixed(memoryview(bytes(7)), "f")


def test_text_is_utf8() -> None:
    assert wire.text(memoryview("größe".encode())) == "größe"
    with pytest.raises(ArtifactError, match="no UTF-8"):
        wire.text(memoryview(b"\xff\xfe"))


def test_bulk_data_is_referenced_not_copied() -> None:
    data = bytes(1000)
    inner, outer = Message(), Message()
    inner.data(1, data)
    outer.message(5, inner)
    assert any(chunk is data for chunk in outer.chunks)
    assert outer.size == len(b"".join(outer.chunks))
    ((_, field),) = _fields(b"".join(outer.chunks))
    assert isinstance(field, memoryview)
    assert field.obj is not None and len(field) == inner.size


@given(st.lists(st.tuples(st.integers(1, 1 << 20), st.integers(0, (1 << 64) - 1) | st.binary(max_size=40))))
def test_what_is_written_is_read(fields: list[tuple[int, int | bytes]]) -> None:
    message = Message()
    for number, value in fields:
        if isinstance(value, int):
            message.varint(number, value)
        else:
            message.data(number, value)
    assert _fields(b"".join(message.chunks)) == fields


@given(st.binary(max_size=60))
def test_any_bytes_give_fields_or_an_error(data: bytes) -> None:
    with contextlib.suppress(ArtifactError):
        _fields(data)
