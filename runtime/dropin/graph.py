"""`xir.Graph`: a graph that applications read, build and change."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from runtime.dropin import dot, session
from runtime.dropin.attributes import Attributed, typed
from runtime.dropin.infer import infer
from runtime.dropin.op import Op
from runtime.dropin.subgraph import Subgraph
from runtime.dropin.tensor import Tensor
from xmodel import file
from xmodel.definitions import definitions
from xmodel.errors import ArtifactError, UsageError
from xmodel.graph import Array

T = TypeVar("T")
_ROOT = "root"
# XIR's names for what numpy holds (spec: data types by name).
_DATA_TYPES = {
    "float32": "FLOAT32", "float64": "FLOAT64", "int8": "INT8", "uint8": "UINT8", "int16": "INT16", "int32": "INT32",
    "uint32": "UINT32", "int64": "INT64", "uint64": "UINT64",
}  # fmt: skip


class Graph(Attributed):
    """A graph: ops, which are never equal unless they are one object, and the root of the subgraph tree."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = str(name)
        self._ops: dict[str, Op] = {}
        self._root = Subgraph(self, _ROOT, None, {})
        self.version = 0  # counts changes: what was made of the graph holds for one version
        self._lock = threading.RLock()
        self._memo: dict[Hashable, Any] = {}
        self._memo_version = 0

    def _title(self) -> str:
        return f"Graph {self._name!r}"

    def _changed(self) -> None:
        self.touch()

    def touch(self) -> None:
        """Note a change."""
        self.version += 1

    def memo(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` makes of this version of the graph, made once however many threads ask."""
        with self._lock:
            if self._memo_version != self.version:
                self._memo_version = self.version
                self._memo.clear()
            if key not in self._memo:
                self._memo[key] = make()
            made: T = self._memo[key]
            return made

    @staticmethod
    def deserialize(path: str | PathLike[str]) -> Graph:
        """The graph in an `.xmodel` file. Raises `UsageError` (no such file) or `ArtifactError` (damaged).

        Where an application that imported `vart` opens what a quantizer wrote, the graph is compiled on the spot.
        """
        from runtime.dropin.freeze import thaw

        name = Path(fspath(path))
        return thaw(session.current().opened(file.read(name), name))

    def serialize(self, path: str | PathLike[str]) -> None:
        """Write an `.xmodel` file, atomically. Raises `ArtifactError` for what a file cannot hold."""
        from runtime.dropin.freeze import freeze

        file.write(Path(fspath(path)), freeze(self))

    def get_name(self) -> str:
        """The graph's name."""
        return self._name

    def get_op_num(self) -> int:
        """How many ops it has."""
        return len(self._ops)

    def get_ops(self) -> set[Op]:
        """Its ops."""
        return set(self._ops.values())

    def get_op(self, name: str) -> Op | None:
        """The op called `name`, None when there is none."""
        return self._ops.get(name)

    def get_tensors(self) -> set[Tensor]:
        """The output tensors of its ops."""
        return {op.get_output_tensor() for op in self._ops.values()}

    def get_tensor(self, name: str) -> Tensor | None:
        """The tensor called `name`, None when there is none."""
        return next((tensor for tensor in self.get_tensors() if tensor.name == name), None)

    def get_tensor_producer(self, tensor: Tensor) -> Op | None:
        """The op whose output is `tensor`, or a copy of it such as a runner gives; None for a stranger."""
        producer = tensor.producer
        if producer is not None:
            return producer if self._ops.get(producer.get_name()) is producer else None
        own = self.get_tensor(tensor.name)
        return None if own is None else own.producer

    def get_head_ops(self) -> set[Op]:
        """The ops that read nothing."""
        return {op for op in self._ops.values() if not op.get_input_num()}

    def get_tail_ops(self) -> set[Op]:
        """The ops that nobody reads."""
        return {op for op in self._ops.values() if not self.readers(op)}

    def readers(self, op: Op) -> list[Op]:
        """The ops that read `op`, each once."""
        return list(self.memo("readers", self._found_readers).get(op, ()))

    def _found_readers(self) -> dict[Op, list[Op]]:
        found: dict[Op, list[Op]] = {known: [] for known in self._ops.values()}
        for reader in self._ops.values():
            for source in dict.fromkeys(s for ops in reader.inputs.values() for s in ops):
                found[source].append(reader)
        return found

    def toposort(self) -> list[Op]:
        """The ops in topological order, as made where there is a choice. Raises `ArtifactError` on a cycle."""
        return list(self.memo("order", self._sorted))

    def _sorted(self) -> list[Op]:
        order: list[Op] = []
        done: set[Op] = set()
        for op in self._ops.values():
            _visit(op, done, order)
        return order

    def create_op(
        self,
        name: str,
        kind: str,
        attrs: Mapping[str, Any] | None = None,
        input_ops: Mapping[str, Sequence[Op] | Op] | None = None,
        subgraph: Subgraph | None = None,
    ) -> Op:
        """A new op of type `kind`, in the leaf `subgraph` or, without one, in a new child of a divided root.

        Its output has its name and the dimensions that follow from `attrs` and `input_ops`. A type that XIR does not
        define must say "shape" and "data_type". Raises `UsageError` naming what is missing or does not fit.
        """
        if name in self._ops:
            raise UsageError(f"{self._title()} has an op {name!r} already; names are unique.")
        if subgraph is not None and (subgraph.get_graph() is not self or not subgraph.is_leaf):
            raise UsageError(f"Op {name!r} cannot be put into {subgraph!r}: it is no leaf of {self.inline()}.")
        op = Op(self, name, kind, {}, Tensor(name, ()))
        for key, value in (attrs or {}).items():
            op.set_attr(key, value)
        for argument, sources in (input_ops or {}).items():
            op.set_input_ops(argument, [sources] if isinstance(sources, Op) else list(sources))
        _require(op)
        op.get_output_tensor().reshape(*infer(op))
        self.place(op, subgraph)
        return op

    def create_const_op(self, name: str, tensor: Array) -> Op:
        """A new constant with the values, shape and type of an array."""
        array = np.ascontiguousarray(tensor)
        data_type = _DATA_TYPES.get(array.dtype.name)
        if data_type is None:
            raise UsageError(
                f"Constant {name!r} cannot hold {array.dtype}.", hint=f"It can hold {', '.join(_DATA_TYPES)}."
            )
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        values = {"shape": list(np.shape(tensor)), "data_type": data_type, "data": little.tobytes()}
        return self.create_op(name, "const", {key: typed(value) for key, value in values.items()})

    def place(self, op: Op, leaf: Subgraph | None = None) -> None:
        """Take a new op in."""
        self._ops[op.get_name()] = op
        if leaf is None:
            leaf = self._root if self._root.is_leaf else self._root.add_child(f"subgraph_{op.get_name()}", {})
        leaf.hold([op])
        self.touch()

    def remove_op(self, op: Op) -> None:
        """Remove an op that nobody reads. Raises `UsageError`."""
        if self._ops.get(op.get_name()) is not op:
            raise UsageError(f"{self._title()} has no such op: {op!r}.")
        readers = self.readers(op)
        if readers:
            raise UsageError(
                f"Op {op.get_name()!r} cannot be removed: {readers[0].get_name()!r} reads it.",
                hint="Remove or redirect its readers first (replace_input_ops).",
            )
        del self._ops[op.get_name()]
        if op.home is not None:
            op.home.drop(op)
        self.touch()

    def infer_shape(self) -> None:
        """Work out every op's output dimensions again, in topological order."""
        for op in self.toposort():
            op.infer_shape()

    def get_root_subgraph(self) -> Subgraph:
        """The root of the subgraph tree: a leaf with all ops until the graph is divided."""
        return self._root

    def get_leaf_subgraph(self, op: Op) -> Subgraph | None:
        """The leaf that holds `op`."""
        return op.home if op.get_graph() is self else None

    def save_as_dot(self, path: str | PathLike[str]) -> None:
        """Write the graph as a Graphviz file."""
        dot.save(path, dot.text(self._name, self.toposort()))

    def save_as_image(self, path: str | PathLike[str], format: str = "png") -> None:
        """Draw the graph with Graphviz. Raises `UnavailableError` where that is not installed."""
        dot.picture(path, dot.text(self._name, self.toposort()), format)

    def __repr__(self) -> str:
        return f"xir.Graph{{name: {self._name}, ops: {len(self._ops)}}}"


def _visit(start: Op, done: set[Op], order: list[Op]) -> None:
    """Append `start` and, before it, what it needs that is not there yet (iterative: depth is the application's)."""
    stack = [(start, iter(start.get_input_tensors()))]
    open_ = {start}
    if start in done:
        return
    while stack:
        op, sources = stack[-1]
        source = next((t.producer for t in sources if t.producer is not None and t.producer not in done), None)
        if source is None:
            stack.pop()
            open_.discard(op)
            done.add(op)
            order.append(op)
        elif source in open_:
            raise ArtifactError(f"The graph has a cycle through op {source.get_name()!r}.")
        else:
            open_.add(source)
            stack.append((source, iter(source.get_input_tensors())))


def _require(op: Op) -> None:
    """Raise `UsageError` for an argument or attribute that the op's definition demands (the vendor's module aborts)."""
    definition = definitions().get(op.get_type())
    title = f"Op {op.get_name()!r} of type {op.get_type()!r}"
    if definition is None:
        missing = [name for name in ("shape", "data_type") if not op.has_attr(name)]
        if missing:
            raise UsageError(f"{title}, which XIR does not define, needs the attribute {missing[0]!r}.")
        return
    for argument in definition.arguments:
        count = op.get_input_num(argument.name)
        if count < argument.least or (argument.most is not None and count > argument.most):
            wanted = "at least 1" if argument.most is None else "at most 1" if not argument.least else "1"
            raise UsageError(f"{title} has {count} ops as argument {argument.name!r}; it takes {wanted}.")
    for attribute in definition.attributes:
        if not attribute.optional and not op.has_attr(attribute.name):
            raise UsageError(f"{title} lacks the attribute {attribute.name!r} ({attribute.kind}).")
