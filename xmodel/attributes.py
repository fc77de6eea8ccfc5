"""Attribute values in a file: `Attr` to and from the format's `AttrValue` and its maps.

Format fact (the schema that libxir 2.5 carries): AttrValue is a oneof whose field number is 4 plus
the position of the kind in `KINDS`; vectors, byte strings and maps are messages with `value = 1`.
"""

from __future__ import annotations

import operator
import struct
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from xmodel.errors import ArtifactError
from xmodel.graph import Attr, Attrs
from xmodel.wire import Message, Reader, Value, text

KINDS = (
    *("bool", "int32", "uint32", "int64", "uint64", "float", "double", "string", "bytes"),
    *("bool_vec", "int32_vec", "uint32_vec", "int64_vec", "uint64_vec", "float_vec", "double_vec"),
    *("string_vec", "bytes_vec"),
    *("map_string_2_int32", "map_string_2_uint32", "map_string_2_int64", "map_string_2_uint64"),
    *("map_string_2_string", "map_string_2_bytes"),
    *("map_string_2_int32_vec", "map_string_2_uint32_vec", "map_string_2_int64_vec", "map_string_2_uint64_vec"),
    "map_string_2_string_vec",
)
_FIRST = 4
_NUMBER = {kind: _FIRST + place for place, kind in enumerate(KINDS)}
_MAP, _VEC = "map_string_2_", "_vec"

# What a 64-bit varint means in each integer kind, and the values a kind holds.
_INTEGER: dict[str, Callable[[int], int]] = {
    "bool": bool,
    "int32": lambda v: ((v & 0xFFFFFFFF) ^ (1 << 31)) - (1 << 31),
    "uint32": lambda v: v & 0xFFFFFFFF,
    "int64": lambda v: (v ^ (1 << 63)) - (1 << 63),
    "uint64": lambda v: v,
}
_RANGE = {
    "bool": (0, 1),
    "int32": (-(1 << 31), (1 << 31) - 1),
    "uint32": (0, (1 << 32) - 1),
    "int64": (-(1 << 63), (1 << 63) - 1),
    "uint64": (0, (1 << 64) - 1),
}
_REAL = {"float": "f", "double": "d"}


def read_entry(reader: Reader, entry: memoryview) -> tuple[str, Attr]:
    """A name and its attribute from an entry of a message's attribute map. Raises `ArtifactError`."""
    name, value = "", None
    for number, field in reader.fields(entry):
        match number, field:
            case 1, memoryview() as key:
                name = text(key)
            case 2, memoryview() as message:
                value = message
            case _:
                raise unknown_field("an attribute entry", number, field)
    try:
        return name, read_value(reader, value)
    except ArtifactError as error:
        raise ArtifactError(f"Attribute {name!r}: {error.what}") from error


def read_value(reader: Reader, message: memoryview | None) -> Attr:
    """An attribute from an AttrValue; bytes are views into `message`. Raises `ArtifactError`."""
    last = deque(reader.fields(message or memoryview(b"")), maxlen=1)
    if not last:
        raise ArtifactError("It has no value.")
    number, value = last[0]
    if not 0 <= number - _FIRST < len(KINDS):
        raise unknown_field("an attribute value", number, value)
    kind = KINDS[number - _FIRST]
    if kind.startswith(_MAP):
        return Attr(kind, _read_map(reader, kind.removeprefix(_MAP), _message(value)))
    return Attr(kind, _read(reader, kind, value))


def _read(reader: Reader, kind: str, value: Value) -> Any:
    """The value of a scalar or vector kind."""
    if kind.endswith(_VEC):
        return _read_vector(reader, kind.removesuffix(_VEC), _message(value))
    if kind in _INTEGER and isinstance(value, int):
        return _INTEGER[kind](value)
    if kind in _REAL and isinstance(value, bytes) and len(value) == struct.calcsize(_REAL[kind]):
        return struct.unpack(f"<{_REAL[kind]}", value)[0]
    if kind == "string" and isinstance(value, memoryview):
        return text(value)
    if kind == "bytes" and isinstance(value, memoryview):
        return _read_bytes(reader, value)
    raise ArtifactError(f"The data is damaged: a value of kind {kind} is stored as {_stored_as(value)}.")


def _read_bytes(reader: Reader, message: memoryview) -> memoryview:
    data = message[:0]
    for number, value in reader.fields(message):
        if number != 1 or not isinstance(value, memoryview):
            raise unknown_field("a byte string", number, value)
        data = value
    return data


def _read_vector(reader: Reader, kind: str, message: memoryview) -> tuple[Any, ...]:
    result: list[Any] = []
    for number, value in reader.fields(message):
        if number != 1:
            raise unknown_field("a vector", number, value)
        if kind in _INTEGER and isinstance(value, memoryview):
            result += map(_INTEGER[kind], reader.varints(value))
        elif kind in _REAL and isinstance(value, memoryview):
            result += reader.fixed(value, _REAL[kind])
        else:
            result.append(_read(reader, kind, value))
    return tuple(result)


def _read_map(reader: Reader, kind: str, message: memoryview) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for number, entry in reader.fields(message):
        if number != 1:
            raise unknown_field("a map", number, entry)
        name, value = "", _default(kind)
        for part, field in reader.fields(_message(entry)):
            if part == 1:
                name = text(_message(field))
            elif part == 2:
                value = _read(reader, kind, field)
            else:
                raise unknown_field("a map entry", part, field)
        result[name] = value
    return result


def _default(kind: str) -> Any:
    """What protobuf takes for a map value that is not stored."""
    if kind.endswith(_VEC):
        return ()
    return {"string": "", "bytes": b""}.get(kind, 0)


def _message(value: Value) -> memoryview:
    if not isinstance(value, memoryview):
        raise ArtifactError(f"The data is damaged: a message is stored as {_stored_as(value)}.")
    return value


def unknown_field(where: str, number: int, value: Value) -> ArtifactError:
    """The refusal of a field that the known schema does not have: dropping it would lose something."""
    return ArtifactError(
        f"{where[0].upper()}{where[1:]} has an unknown field {number}, stored as {_stored_as(value)}; "
        "the known format (libxir 2.5 to 2024) has none."
    )


def _stored_as(value: Value) -> str:
    match value:
        case int():
            return "a varint"
        case bytes():
            return f"{len(value)} fixed bytes"
        case _:
            return f"{len(value)} bytes with their length"


def write_attrs(message: Message, number: int, attrs: Attrs) -> None:
    """Append `attrs` as the map field `number`, sorted by name; names that begin with "__" are left out.

    Raises `ArtifactError` for a value that its kind does not hold.
    """
    for name in sorted(attrs):
        if name.startswith("__"):
            continue
        attr = attrs[name]
        value, entry = Message(), Message()
        try:
            _write(value, _NUMBER[attr.kind], attr.kind, attr.value)
            entry.text(1, name)
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError, struct.error) as error:
            shown = repr(attr.value)
            raise ArtifactError(
                f"Attribute {name!r} of kind {attr.kind!r} cannot hold {shown[:80]} ({error})."
            ) from error
        entry.message(2, value)
        message.message(number, entry)


def _write(message: Message, number: int, kind: str, value: Any) -> None:
    """Append `value` as field `number`, also when it is zero or empty: a oneof says which is set."""
    if kind.startswith(_MAP):
        message.message(number, _written_map(kind.removeprefix(_MAP), value))
    elif kind.endswith(_VEC):
        message.message(number, _written_vector(kind.removesuffix(_VEC), value))
    elif kind in _INTEGER:
        message.varint(number, _integer(kind, value))
    elif kind in _REAL:
        message.fixed(number, float(value), _REAL[kind])
    elif kind == "string":
        message.text(number, _is_text(value))
    else:
        inner = Message()
        view = memoryview(value)
        if view.nbytes:
            inner.data(1, view if view.format == "B" and view.ndim == 1 else view.cast("B"))
        message.message(number, inner)


def _written_vector(kind: str, values: Any) -> Message:
    message = Message()
    if kind in _INTEGER:
        message.varints(1, (_integer(kind, value) for value in values))
    elif kind in _REAL:
        message.floats(1, values, _REAL[kind])
    else:
        for value in values:
            _write(message, 1, kind, value)
    return message


def _written_map(kind: str, values: Mapping[str, Any]) -> Message:
    message = Message()
    for name in sorted(values):
        entry = Message()
        entry.text(1, name)
        _write(entry, 2, kind, values[name])
        message.message(1, entry)
    return message


def _integer(kind: str, value: Any) -> int:
    number = operator.index(value)
    low, high = _RANGE[kind]
    if not low <= number <= high:
        raise OverflowError(f"the values of {kind} are {low} to {high}")
    return number


def _is_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} is not a string")
    return value
