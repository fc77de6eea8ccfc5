"""Protobuf's wire format: messages split into fields, and fields gathered into messages.

Format fact (protobuf encoding): a message is a run of fields, each a varint tag `number << 3 | wire
type` and a value. Wire types: 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes.
Nothing here copies bulk data: reading slices one buffer, writing lists the chunks to be written.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence

from xmodel.errors import ArtifactError

Value = int | bytes | memoryview
Field = tuple[int, Value]

# The largest real file at hand has some 10**4 fields; this bounds time to seconds, memory to some 100 MB.
MAX_ITEMS = 1_000_000
_MAX_FIELD_NUMBER = (1 << 29) - 1


class Reader:
    """Splits messages into fields; `budget` bounds the fields and packed elements of one whole file."""

    def __init__(self, budget: int = MAX_ITEMS) -> None:
        self._left = budget

    def fields(self, message: memoryview) -> Iterator[Field]:
        """The fields of `message`, one by one: (number, value).

        A value is an int for a varint, bytes (4 or 8) for a fixed width, a memoryview into
        `message` for a length-delimited field. Raises `ArtifactError`.
        """
        position, end = 0, len(message)
        while position < end:
            self._spend(1)
            tag, position = _varint(message, position)
            number, wire = tag >> 3, tag & 7
            value: Value
            if wire == 0:
                value, position = _varint(message, position)
            elif wire in (1, 2, 5):
                if wire == 2:
                    length, position = _varint(message, position)
                else:
                    length = 8 if wire == 1 else 4
                stop = position + length
                if stop > end:
                    raise ArtifactError(
                        f"The data is truncated or damaged: field {number} declares {length} bytes, "
                        f"{end - position} are left."
                    )
                value = message[position:stop] if wire == 2 else bytes(message[position:stop])
                position = stop
            else:
                raise ArtifactError(f"The data is damaged: field {number} has the impossible wire type {wire}.")
            if not 0 < number <= _MAX_FIELD_NUMBER:
                raise ArtifactError(f"The data is damaged: {number} is no field number.")
            yield number, value

    def varints(self, packed: memoryview) -> list[int]:
        """The unsigned values of a packed repeated field. Raises `ArtifactError`."""
        result: list[int] = []
        position, end = 0, len(packed)
        self._spend(end)
        while position < end:
            value, position = _varint(packed, position)
            result.append(value)
        return result

    def fixed(self, packed: memoryview, code: str) -> tuple[float, ...]:
        """The values of a packed field of floats (`code` "f") or doubles ("d"). Raises `ArtifactError`."""
        count, rest = divmod(len(packed), struct.calcsize(code))
        if rest:
            raise ArtifactError(f"The data is damaged: {len(packed)} bytes are no whole number of values.")
        self._spend(count)
        return struct.unpack(f"<{count}{code}", packed)

    def _spend(self, items: int) -> None:
        self._left -= items
        if self._left < 0:
            raise ArtifactError(f"The data has more than {MAX_ITEMS} fields; no real model has, so it is refused.")


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    """The varint at `position` and the position behind it."""
    result = shift = 0
    try:
        while True:
            byte = data[position]
            position += 1
            result |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 63:
                raise ArtifactError("The data is damaged: a varint is longer than 10 bytes.")
    except IndexError:
        raise ArtifactError("The data is truncated or damaged: it ends within a number.") from None
    if result >> 64:
        raise ArtifactError("The data is damaged: a varint is larger than 64 bits.")
    return result, position


def text(value: memoryview) -> str:
    """A string field's value. Raises `ArtifactError` when it is not UTF-8, as protobuf does."""
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError:
        raise ArtifactError(f"The data is damaged: {bytes(value[:40])!r} is no UTF-8 text.") from None


class Message:
    """A message under construction: its chunks in order, and their size in bytes."""

    __slots__ = ("chunks", "size")

    def __init__(self) -> None:
        self.chunks: list[bytes | memoryview] = []
        self.size = 0

    def varint(self, number: int, value: int) -> None:
        """Append a varint field; a negative value is written as its 64-bit two's complement."""
        self._append(varint(number << 3) + varint(value))

    def fixed(self, number: int, value: float, code: str) -> None:
        """Append a float (`code` "f") or a double ("d"). Raises `OverflowError` when a float does not hold it."""
        self._append(varint(number << 3 | (5 if code == "f" else 1)) + struct.pack(f"<{code}", value))

    def data(self, number: int, value: bytes | memoryview) -> None:
        """Append a length-delimited field that refers to `value`."""
        self._append(varint(number << 3 | 2) + varint(len(value)))
        self._append(value)

    def text(self, number: int, value: str) -> None:
        """Append a string field. Raises `UnicodeEncodeError` for a lone surrogate."""
        self.data(number, value.encode())

    def message(self, number: int, value: Message) -> None:
        """Append a nested message, by reference to its chunks."""
        self._append(varint(number << 3 | 2) + varint(value.size))
        self.chunks += value.chunks
        self.size += value.size

    def varints(self, number: int, values: Iterable[int]) -> None:
        """Append a packed repeated field; an empty one is not written."""
        packed = b"".join(map(varint, values))
        if packed:
            self.data(number, packed)

    def floats(self, number: int, values: Sequence[float], code: str) -> None:
        """Append a packed field of floats ("f") or doubles ("d"); an empty one is not written."""
        if values:
            self.data(number, struct.pack(f"<{len(values)}{code}", *values))

    def _append(self, chunk: bytes | memoryview) -> None:
        self.chunks.append(chunk)
        self.size += len(chunk)


def varint(value: int) -> bytes:
    """`value` as a varint; a negative one as its 64-bit two's complement."""
    value &= (1 << 64) - 1
    result = bytearray()
    while value > 0x7F:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    result.append(value)
    return bytes(result)
