"""The .xmodel file: one protobuf message that holds a graph.

Format facts (the schema that libxir 2.5 carries, unchanged up to 2024): no magic, no checksum;
proto3; ops in topological order. Written files are deterministic: maps sorted by key, fields by
number. Constants are views into the file's bytes when read, and are not copied when written.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path

from xmodel.artifact import atomic
from xmodel.attributes import read_entry, unknown_field, write_attrs
from xmodel.check import MAX_DEPTH, structure
from xmodel.errors import ArtifactError, UnmaskError, UsageError
from xmodel.graph import Attr, Buffer, Graph, Op, Subgraph, Tensor, sort
from xmodel.wire import Message, Reader, text

MAX_BYTES = (1 << 31) - 1  # what protobuf itself reads
MAX_RANK = 64  # dimensions of a tensor; real ones have at most 6

# libxir's op definitions ("op_defs", documentation of op types) are optional when a file is read; they
# are kept here, one encoded definition each, and written back.
OP_DEFS = "__op_defs"

# Code 5 is "unknown" in libxir 2.5 and BFLOAT from 2024 on, where "unknown" became 6.
_TYPE_NAMES = ("INT", "UINT", "XINT", "XUINT", "FLOAT", "BFLOAT", "UNKNOWN")
_TYPE = re.compile(rf"({'|'.join(_TYPE_NAMES)})(0|[1-9][0-9]{{0,2}})")


def read(path: Path) -> Graph:
    """The graph in the file `path`. Raises `UsageError` (no such file) or `ArtifactError` (damaged)."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UsageError("This is a folder or device, not a file.", where=str(path))
        if status.st_size > MAX_BYTES:
            raise ArtifactError(
                f"This file has {status.st_size} bytes; an .xmodel has at most {MAX_BYTES}.", where=str(path)
            )
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"Cannot read this file: {error.strerror}.", where=str(path)) from error
    try:
        return loads(data)
    except UnmaskError as error:
        raise ArtifactError(
            error.what, where=str(path), hint="Is it an .xmodel file, and was it copied completely?"
        ) from error


def write(path: Path, graph: Graph) -> None:
    """Write `graph` to `path`, atomically; the same graph gives the same bytes.

    Raises `ArtifactError` for a graph whose structure is broken, `UnavailableError` when the disk is full.
    """
    message = _encode(graph)
    with atomic(path) as stream:
        stream.writelines(message.chunks)


def dumps(graph: Graph) -> bytes:
    """`graph` as the bytes of a file. Raises `ArtifactError`."""
    return b"".join(_encode(graph).chunks)


def loads(data: Buffer) -> Graph:
    """The graph in `data`, which it keeps and refers to. Raises `ArtifactError`.

    Of a field that is stored twice where one is expected, the last counts.
    """
    reader = Reader()
    name, ops, attrs, root, definitions = "", list[Op](), dict[str, Attr](), None, list[memoryview]()
    for number, value in reader.fields(memoryview(data).toreadonly()):
        match number, value:
            case 1, memoryview() as field:
                name = text(field)
            case 5, memoryview() as field:
                ops.append(_read_op(reader, field, len(ops)))
            case 10, memoryview() as field:
                root = _read_subgraph(reader, field, 1)
            case 11, memoryview() as field:
                key, attr = read_entry(reader, field)
                attrs[key] = attr
            case 101, memoryview() as field:
                definitions.append(field)
            case _:
                raise unknown_field("the graph", number, value)
    if not name and not ops:
        raise ArtifactError("It holds no graph.")
    if definitions:
        attrs[OP_DEFS] = Attr("bytes_vec", tuple(definitions))
    graph = Graph(name, tuple(ops), attrs, root)
    if len(graph.by_name) == len(ops) and not _ordered(graph):
        graph = Graph(name, sort(ops), attrs, root)
    return structure(graph)


def _ordered(graph: Graph) -> bool:
    seen: set[str] = set()
    for op in graph.ops:
        if not seen.issuperset(op.input_names):
            return False
        seen.add(op.name)
    return True


def _read_op(reader: Reader, message: memoryview, place: int) -> Op:
    name = type_ = ""
    attrs, args, tensor = dict[str, Attr](), dict[str, tuple[str, ...]](), None
    try:
        for number, value in reader.fields(message):
            match number, value:
                case 1, memoryview() as field:
                    name = text(field)
                case 2, memoryview() as field:
                    type_ = text(field)
                case 3, memoryview() as field:
                    key, attr = read_entry(reader, field)
                    attrs[key] = attr
                case 4, memoryview() as field:
                    argument, names = _read_arg(reader, field)
                    args[argument] = args.get(argument, ()) + names
                case 5, memoryview() as field:
                    tensor = _read_tensor(reader, field)
                case _:
                    raise unknown_field("an op", number, value)
        if not name or not type_ or tensor is None:
            raise ArtifactError("It lacks a name, a type or an output tensor.")
    except ArtifactError as error:
        raise ArtifactError(f"Op {place} ({name!r}): {error.what}") from error
    return Op(name, type_, args, attrs, tensor)


def _read_arg(reader: Reader, message: memoryview) -> tuple[str, tuple[str, ...]]:
    name, ops = "", list[str]()
    for number, value in reader.fields(message):
        match number, value:
            case 1, memoryview() as field:
                name = text(field)
            case 2, memoryview() as field:
                ops.append(text(field))
            case _:
                raise unknown_field("an argument", number, value)
    return name, tuple(ops)


def _read_tensor(reader: Reader, message: memoryview) -> Tensor:
    name, shape, code, width, attrs = "", list[int](), 0, 0, dict[str, Attr]()
    for number, value in reader.fields(message):
        match number, value:
            case 1, memoryview() as field:
                name = text(field)
            case 2, memoryview() as field:
                shape += (size & 0xFFFFFFFF for size in reader.varints(field))
            case 2, int() as field:
                shape.append(field & 0xFFFFFFFF)
            case 5, int() as field:
                code = field
            case 6, int() as field:
                width = field
            case 10, memoryview() as field:
                key, attr = read_entry(reader, field)
                attrs[key] = attr
            case _:
                raise unknown_field("a tensor", number, value)
    if len(shape) > MAX_RANK:
        raise ArtifactError(f"Its tensor {name!r} has {len(shape)} dimensions; at most {MAX_RANK} are read.")
    return Tensor(name, tuple(shape), _data_type(code, width), attrs)


def _data_type(code: int, width: int) -> str:
    if code >= len(_TYPE_NAMES) or width > 999:
        raise ArtifactError(f"Its tensor has the unknown data type {code} of {width} bits.")
    return f"{_TYPE_NAMES[code]}{width}"


def _read_subgraph(reader: Reader, message: memoryview, depth: int) -> Subgraph:
    name, ops, attrs, children = "", list[str](), dict[str, Attr](), list[Subgraph]()
    if depth > MAX_DEPTH:
        raise ArtifactError(f"Its subgraphs are nested more than {MAX_DEPTH} deep.")
    for number, value in reader.fields(message):
        match number, value:
            case 1, memoryview() as field:
                name = text(field)
            case 3, memoryview() as field:
                ops.append(text(field))
            case 5, memoryview() as field:
                key, attr = read_entry(reader, field)
                attrs[key] = attr
            case 10, memoryview() as field:
                children.append(_read_subgraph(reader, field, depth + 1))
            case _:
                raise unknown_field("a subgraph", number, value)
    return Subgraph(name, tuple(ops), tuple(children), attrs)


def _encode(graph: Graph) -> Message:
    structure(graph)
    message = Message()
    _text(message, 1, graph.name)
    for op in graph.ops:
        try:
            message.message(5, _written_op(op))
        except ArtifactError as error:
            raise ArtifactError(f"Op {op.name!r}: {error.what}") from error
    if graph.root is not None:
        message.message(10, _written_subgraph(graph.root))
    write_attrs(message, 11, graph.attrs)
    for definition in graph.get(OP_DEFS, ()):
        message.data(101, definition)
    if message.size > MAX_BYTES:
        raise ArtifactError(f"Graph {graph.name!r} takes {message.size} bytes; an .xmodel has at most {MAX_BYTES}.")
    return message


def _written_op(op: Op) -> Message:
    message = Message()
    _text(message, 1, op.name)
    _text(message, 2, op.type)
    write_attrs(message, 3, op.attrs)
    for name, ops in op.inputs.items():
        argument = Message()
        _text(argument, 1, name)
        for producer in ops:
            argument.text(2, producer)
        message.message(4, argument)
    message.message(5, _written_tensor(op.output))
    return message


def _written_tensor(tensor: Tensor) -> Message:
    message = Message()
    _text(message, 1, tensor.name)
    if any(not 0 <= size < 1 << 32 for size in tensor.shape):
        raise ArtifactError(f"The shape {list(tensor.shape)} of tensor {tensor.name!r} cannot be stored.")
    message.varints(2, tensor.shape)
    match = _TYPE.fullmatch(tensor.data_type)
    if match is None:
        raise ArtifactError(f"Tensor {tensor.name!r} has the unknown data type {tensor.data_type!r}.")
    for number, value in ((5, _TYPE_NAMES.index(match[1])), (6, int(match[2]))):
        if value:
            message.varint(number, value)
    write_attrs(message, 10, tensor.attrs)
    return message


def _written_subgraph(node: Subgraph) -> Message:
    message = Message()
    _text(message, 1, node.name)
    for name in node.ops:
        message.text(3, name)
    write_attrs(message, 5, node.attrs)
    for child in node.children:
        message.message(10, _written_subgraph(child))
    return message


def _text(message: Message, number: int, value: str) -> None:
    """Append a string field; proto3 does not store an empty one."""
    if value:
        try:
            message.text(number, value)
        except UnicodeEncodeError as error:
            raise ArtifactError(f"The name {value!r} is no valid Unicode text.") from error
