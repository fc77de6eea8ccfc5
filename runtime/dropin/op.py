"""`xir.Op`: one operation of a graph, its inputs by argument, its readers and its output tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from runtime.dropin.attributes import Attributed
from runtime.dropin.defaults import defaults
from runtime.dropin.tensor import Tensor
from xmodel.definitions import definitions
from xmodel.errors import UsageError
from xmodel.graph import Attr

if TYPE_CHECKING:
    from runtime.dropin.graph import Graph
    from runtime.dropin.subgraph import Subgraph


class Op(Attributed):
    """An operation. Made by `Graph.create_op` and `Graph.deserialize` alone; equal when it is the same object."""

    def __init__(self, graph: Graph, name: str, kind: str, attrs: Mapping[str, Attr], output: Tensor) -> None:
        super().__init__(attrs)
        self._graph, self._name, self._type = graph, name, kind
        self.inputs: dict[str, list[Op]] = {}
        self.home: Subgraph | None = None  # the leaf that holds it
        self._output = output
        output.producer = self

    def _title(self) -> str:
        return f"Op {self._name!r} of type {self._type!r}"

    def _changed(self) -> None:
        self._graph.touch()

    def _kind(self, name: str) -> str | None:
        definition = definitions().get(self._type)
        known = definition.attributes if definition is not None else ()
        defined = next((attribute.kind for attribute in known if attribute.name == name), None)
        return defined or super()._kind(name)

    def _defaults(self) -> Mapping[str, Attr]:
        return defaults(self._type)

    def get_name(self) -> str:
        """The op's name, unique in its graph."""
        return self._name

    def get_type(self) -> str:
        """The op's type: "conv2d-fix"."""
        return self._type

    def get_graph(self) -> Graph:
        """The graph that holds the op."""
        return self._graph

    def get_input_num(self, arg_name: str | None = None) -> int:
        """How many ops it reads, all in all or as argument `arg_name`."""
        if arg_name is not None:
            return len(self.inputs.get(arg_name, ()))
        return sum(len(ops) for ops in self.inputs.values())

    def get_input_ops(self) -> dict[str, list[Op]]:
        """The ops it reads, by argument."""
        return {name: list(ops) for name, ops in self.inputs.items()}

    def get_input_ops_by_name(self, arg_name: str) -> list[Op]:
        """The ops behind argument `arg_name`, none when it is absent."""
        return list(self.inputs.get(arg_name, ()))

    def get_input_op(self, arg_name: str = "input", idx: int = 0) -> Op:
        """The op number `idx` behind argument `arg_name`. Raises `UsageError` where there is none."""
        ops = self.inputs.get(arg_name, [])
        if not 0 <= idx < len(ops):
            raise UsageError(
                f"{self._title()} has {len(ops)} ops as argument {arg_name!r}; number {idx} was asked for.",
                hint=f"Its arguments are {sorted(self.inputs)}.",
            )
        return ops[idx]

    def set_input_ops(self, arg_name: str, ops: Sequence[Op]) -> None:
        """Read `ops` as argument `arg_name`."""
        self.inputs[arg_name] = [self._own(op) for op in ops]
        self._graph.touch()

    def replace_input_ops(self, op_old: Op, op_new: Op) -> None:
        """Read `op_new` wherever `op_old` is read."""
        self._own(op_new)
        for ops in self.inputs.values():
            ops[:] = [op_new if op is op_old else op for op in ops]
        self._graph.touch()

    def _own(self, op: Op) -> Op:
        if not isinstance(op, Op) or op.get_graph() is not self._graph:
            shown = f"{op.get_name()!r} of graph {op.get_graph().get_name()!r}" if isinstance(op, Op) else repr(op)
            raise UsageError(f"{self._title()} cannot read {shown}: it is no op of the same graph.")
        return op

    def get_fanout_num(self) -> int:
        """How many ops read the output."""
        return len(self.get_fanout_ops())

    def get_fanout_ops(self) -> list[Op]:
        """The ops that read the output, each once."""
        return self._graph.readers(self)

    def get_input_tensor(self, arg_name: str = "input", idx: int = 0) -> Tensor:
        """The output tensor of `get_input_op(arg_name, idx)`."""
        return self.get_input_op(arg_name, idx).get_output_tensor()

    def get_input_tensors(self, arg_name: str | None = None) -> list[Tensor]:
        """The tensors it reads, argument by argument, or those of one argument."""
        if arg_name is not None:
            return self.get_input_tensors_by_name(arg_name)
        return [op.get_output_tensor() for ops in self.inputs.values() for op in ops]

    def get_input_tensors_by_name(self, arg_name: str) -> list[Tensor]:
        """The tensors behind argument `arg_name`."""
        return [op.get_output_tensor() for op in self.inputs.get(arg_name, ())]

    def get_input_tensor_by_name(self, arg_name: str, idx: int = 0) -> Tensor:
        """The same as `get_input_tensor`."""
        return self.get_input_tensor(arg_name, idx)

    def get_output_tensor(self) -> Tensor:
        """The tensor that the op makes."""
        return self._output

    def replace_output_tensor(self, tensor: Tensor) -> None:
        """Make `tensor` the op's output."""
        self._output.producer = None
        self._output = tensor
        tensor.producer = self
        self._graph.touch()

    def infer_shape(self) -> None:
        """Set the output's dimensions and type to what the inputs and attributes make. Raises `UsageError`."""
        from runtime.dropin.infer import infer

        self._output.reshape(*infer(self))

    def __repr__(self) -> str:
        return f"xir.Op{{name: {self._name}, type: {self._type}}}"
