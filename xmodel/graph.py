"""The one vocabulary of every stage: `Graph`, `Op`, `Tensor`, `Subgraph`, `Attr`.

It is XIR's: an op has a name, a type, named lists of input ops, attributes and one output tensor;
tensors are NHWC; subgraphs form a tree over op names. Everything is immutable: a pass is a
function `Graph -> Graph`. Attributes whose name begins with `__` stay in memory and are never
written to a file (format fact: libxir does the same).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xmodel.errors import ArtifactError

Buffer = bytes | memoryview
Array = NDArray[Any]

# XIR data types that a numpy array can hold; sub-byte types are kept by name only.
_NUMPY: dict[str, np.dtype[Any]] = {
    "FLOAT32": np.dtype("<f4"),
    "FLOAT64": np.dtype("<f8"),
    "INT8": np.dtype("i1"),
    "XINT8": np.dtype("i1"),
    "UINT8": np.dtype("u1"),
    "XUINT8": np.dtype("u1"),
    "INT16": np.dtype("<i2"),
    "XINT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "XINT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
}


def numpy_dtype(data_type: str) -> np.dtype[Any]:
    """The little-endian numpy dtype of an XIR data type such as "XINT8". Raises `ArtifactError`."""
    try:
        return _NUMPY[data_type]
    except KeyError:
        raise ArtifactError(f"The data type {data_type!r} has no numpy equivalent.") from None


@dataclass(frozen=True, slots=True)
class Attr:
    """An attribute value with its wire type.

    `kind` is the proto's: "bool", "int32", "uint32", "int64", "uint64", "float", "double",
    "string", "bytes", their "..._vec" forms, and "map_string_2_..." forms. `value` is the
    matching Python value: a tuple for a vector, a mapping for a map, bytes or a memoryview
    for bytes.
    """

    kind: str
    value: Any

    @staticmethod
    def of(value: Any) -> Attr:
        """Infer the kind: int is int32, float is float, a sequence or mapping takes its first element's."""
        if isinstance(value, Attr):
            return value
        if isinstance(value, Mapping):
            inner = Attr.of(next(iter(value.values()))).kind if value else "string"
            return Attr(f"map_string_2_{inner}", dict(value))
        if isinstance(value, list | tuple):
            inner = _scalar_kind(value[0]) if len(value) else "int32"
            return Attr(f"{inner}_vec", tuple(value))
        return Attr(_scalar_kind(value), value)


def _scalar_kind(value: Any) -> str:
    match value:
        case bool():
            return "bool"
        case int():
            return "int32"
        case float():
            return "float"
        case str():
            return "string"
        case bytes() | memoryview():
            return "bytes"
    raise TypeError(f"No XIR attribute kind for {type(value).__name__}.")


Attrs = Mapping[str, Attr]


def attrs(**values: Any) -> dict[str, Attr]:
    """Attributes from plain Python values, e.g. `attrs(kernel=[2, 2], pad_mode="FLOOR")`."""
    return {name: Attr.of(value) for name, value in values.items()}


@dataclass(frozen=True, slots=True)
class Tensor:
    """An op's output: name, shape (NHWC for images), XIR data type ("FLOAT32", "XINT8", ...), attributes.

    A quantized tensor carries `fix_point` (int32 p: real = q * 2**-p, p may be negative),
    `bit_width`, `if_signed` and `round_mode`.
    """

    name: str
    shape: tuple[int, ...]
    data_type: str = "FLOAT32"
    attrs: Attrs = field(default_factory=dict)

    def get(self, name: str, default: Any = None) -> Any:
        """The plain value of attribute `name`, or `default`."""
        attr = self.attrs.get(name)
        return default if attr is None else attr.value

    @property
    def fix_point(self) -> int | None:
        """p of real = q * 2**-p, or None for a tensor that is not quantized (or says no integer)."""
        value = self.get("fix_point")
        return int(value) if isinstance(value, int) else None


@dataclass(frozen=True, slots=True)
class Op:
    """One operation. `inputs` maps an argument name ("input", "weights", "bias") to op names, in order."""

    name: str
    type: str
    inputs: Mapping[str, tuple[str, ...]]
    attrs: Attrs
    output: Tensor

    def get(self, name: str, default: Any = None) -> Any:
        """The plain value of attribute `name`, or `default`."""
        attr = self.attrs.get(name)
        return default if attr is None else attr.value

    def arg(self, name: str) -> str | None:
        """The single op behind argument `name`, or None when the argument is absent."""
        ops = self.inputs.get(name, ())
        return ops[0] if ops else None

    @property
    def input_names(self) -> tuple[str, ...]:
        """All input op names, argument by argument."""
        return tuple(name for names in self.inputs.values() for name in names)

    @property
    def is_const(self) -> bool:
        """True for `const` and `const-fix`."""
        return self.type in ("const", "const-fix")

    @property
    def data(self) -> Buffer:
        """The bytes that a constant holds, none for one whose values lie elsewhere."""
        value = self.get("data", b"")
        return value if isinstance(value, bytes | memoryview) else b""

    def array(self) -> Array:
        """A constant's data as a read-only array of its shape. Raises `ArtifactError` when it does not fit."""
        data, dtype = self.data, numpy_dtype(self.output.data_type)
        count = math.prod(self.output.shape)
        if min(self.output.shape, default=1) < 1 or len(data) != count * dtype.itemsize:
            raise ArtifactError(
                f"Constant {self.name!r} holds {len(data)} bytes; its shape {list(self.output.shape)} of "
                f"{self.output.data_type} needs {count * dtype.itemsize}."
            )
        array = np.frombuffer(data, dtype).reshape(self.output.shape)
        array.flags.writeable = False
        return array

    def with_attrs(self, **values: Any) -> Op:
        """A copy with attributes added or replaced."""
        return replace(self, attrs={**self.attrs, **attrs(**values)})


def const(name: str, array: Array, type_: str = "const", **tensor_attrs: Any) -> Op:
    """A constant op that shares `array`'s memory: float32 for "const", int8 for "const-fix"."""
    data = np.ascontiguousarray(array, {"const": np.float32, "const-fix": np.int8}[type_])
    data_type = {"const": "FLOAT32", "const-fix": "XINT8"}[type_]
    shape = data.shape
    values = attrs(data=data.reshape(-1).view(np.uint8).data, data_type=data_type, shape=list(shape))
    return Op(name, type_, {}, values, Tensor(name, shape, data_type, attrs(**tensor_attrs)))


@dataclass(frozen=True, slots=True)
class Subgraph:
    """A node of the subgraph tree: a leaf lists `ops`, an inner node has `children`, in topological order."""

    name: str
    ops: tuple[str, ...] = ()
    children: tuple[Subgraph, ...] = ()
    attrs: Attrs = field(default_factory=dict)

    def get(self, name: str, default: Any = None) -> Any:
        """The plain value of attribute `name`, or `default`."""
        attr = self.attrs.get(name)
        return default if attr is None else attr.value

    def all_ops(self) -> Iterator[str]:
        """Every op name below this node (iterative: depth is the file's, not ours)."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield from node.ops
            stack.extend(reversed(node.children))


@dataclass(frozen=True)
class Graph:
    """Ops in topological order, the root of the subgraph tree (None before partitioning), attributes."""

    name: str
    ops: tuple[Op, ...]
    attrs: Attrs = field(default_factory=dict)
    root: Subgraph | None = None

    def get(self, name: str, default: Any = None) -> Any:
        """The plain value of graph attribute `name`, or `default`."""
        attr = self.attrs.get(name)
        return default if attr is None else attr.value

    @cached_property
    def by_name(self) -> Mapping[str, Op]:
        """Ops by name."""
        return MappingProxyType({op.name: op for op in self.ops})

    @cached_property
    def fanout(self) -> Mapping[str, tuple[Op, ...]]:
        """For every op name the ops that read it, in topological order, each once."""
        readers: dict[str, list[Op]] = {op.name: [] for op in self.ops}
        for op in self.ops:
            for name in dict.fromkeys(op.input_names):
                readers[name].append(op)
        return MappingProxyType({name: tuple(ops) for name, ops in readers.items()})

    @property
    def inputs(self) -> tuple[Op, ...]:
        """`data` and `data-fix` ops."""
        return tuple(op for op in self.ops if op.type in ("data", "data-fix"))

    @property
    def outputs(self) -> tuple[Op, ...]:
        """The ops whose tensors leave the graph: attribute `return_ops` where present, else those nobody reads."""
        stated = self.attrs.get("return_ops")
        names = stated.value if stated is not None and stated.kind == "string_vec" else ()
        named = [name for name in names if name in self.by_name]
        if named:
            return tuple(self.by_name[name] for name in named)
        return tuple(op for op in self.ops if not self.fanout[op.name] and not op.is_const)

    def op(self, name: str) -> Op:
        """The op called `name`. Raises `ArtifactError`."""
        try:
            return self.by_name[name]
        except KeyError:
            raise ArtifactError(f"There is no op named {name!r} in graph {self.name!r}.") from None

    def with_ops(self, ops: Iterable[Op]) -> Graph:
        """A copy with other ops; the subgraph tree, which names the old ones, is dropped."""
        return replace(self, ops=tuple(ops), root=None)

    def with_attrs(self, **values: Any) -> Graph:
        """A copy with graph attributes added or replaced."""
        return replace(self, attrs={**self.attrs, **attrs(**values)})


def sort(ops: Sequence[Op]) -> tuple[Op, ...]:
    """Topological order that keeps the given order where it can. Raises `ArtifactError` on a cycle."""
    known = {op.name for op in ops}
    waiting = {op.name: {n for n in op.input_names if n in known} for op in ops}
    readers: dict[str, list[str]] = {op.name: [] for op in ops}
    for op in ops:
        for name in waiting[op.name]:
            readers[name].append(op.name)
    by_name, place = {op.name: op for op in ops}, {op.name: i for i, op in enumerate(ops)}
    ready = [place[name] for name, needs in waiting.items() if not needs]
    heapq.heapify(ready)
    result: list[Op] = []
    while ready:
        op = ops[heapq.heappop(ready)]
        result.append(op)
        for reader in readers[op.name]:
            waiting[reader].discard(op.name)
            if not waiting[reader]:
                heapq.heappush(ready, place[reader])
    if len(result) != len(by_name):
        stuck = next(name for name, needs in waiting.items() if needs)
        raise ArtifactError(f"The graph has a cycle through op {stuck!r}.")
    return tuple(result)


def rewrite(graph: Graph, rule: Callable[[Op], Op | None]) -> Graph:
    """Apply `rule` to every op: a returned op replaces it, None keeps it."""
    return graph.with_ops(rule(op) or op for op in graph.ops)
