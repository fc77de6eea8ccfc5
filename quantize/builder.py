"""Builder: collects XIR float ops while a program is read, keeping torch's NCHW and XIR's NHWC apart."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from xmodel.definitions import definitions
from xmodel.errors import UsageError
from xmodel.graph import Array, Graph, Op, Tensor, attrs, const

Scope = tuple[tuple[str, str], ...]


def sanitize(name: str) -> str:
    """XIR names by the vendor's rule: every character that is not [0-9A-Za-z] becomes "_"."""
    return re.sub(r"[^0-9A-Za-z]", "_", name)


def nhwc(shape: Sequence[int]) -> tuple[int, ...]:
    """NCHW to NHWC for rank 4; other ranks stay."""
    return (shape[0], shape[2], shape[3], shape[1]) if len(shape) == 4 else tuple(shape)


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of the program: the op that makes it, its torch shape (batch 1).

    `flat` is the (C, H, W) that a 2-D value was flattened from while its element order still
    matters: XIR flattens NHWC, so a Linear that reads it needs its weights re-ordered.
    """

    op: str
    shape: tuple[int, ...]
    flat: tuple[int, int, int] | None = None


@dataclass
class Builder:
    """State of one capture; `finish` turns it into an immutable `Graph`."""

    model: str
    ops: list[Op] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)
    by_name: dict[str, Op] = field(default_factory=dict)
    parts: dict[str, tuple[Value | None, ...]] = field(default_factory=dict)  # nodes with several results
    parameters: dict[str, tuple[str, torch.Tensor]] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    def bind_parameter(self, node: torch.fx.Node, target: str, tensor: torch.Tensor) -> None:
        """Remember a parameter, buffer or constant; it becomes an op where it is used."""
        self.parameters[node.name] = (target, tensor)

    def add_input(self, node: torch.fx.Node, index: int) -> None:
        """A network input as a `data` op."""
        shape = self.shape_of(node)
        name = self.unique(f"{self.model}__input_{index}")
        out = nhwc(shape)
        values = attrs(shape=list(out), data_type="FLOAT32", __kind="input")
        self.ops.append(Op(name, "data", {}, values, Tensor(name, out)))
        self.values[node.name] = Value(name, shape)

    def shape_of(self, node: torch.fx.Node) -> tuple[int, ...]:
        """The torch shape of a node's single tensor, its batch dimension set to 1."""
        value = node.meta.get("val")
        if not isinstance(value, torch.Tensor):
            raise UsageError(f"Node {node.name!r} does not produce one tensor of known shape.")
        try:
            return (1, *(int(d) for d in value.shape[1:]))
        except Exception as error:  # a symbolic size without a value
            raise UsageError(
                f"Node {node.name!r} has the dynamic shape {tuple(value.shape)}.",
                hint="Export the program with fixed sizes; only the batch may be dynamic.",
            ) from error

    def unique(self, name: str) -> str:
        """`name`, or `name_2`, ... when it is taken."""
        candidate, count = name, 1
        while candidate in self.used:
            count += 1
            candidate = f"{name}_{count}"
        self.used.add(candidate)
        return candidate

    def value(self, node: Any, where: str) -> Value:
        """The value of an argument that must be a computed tensor."""
        if isinstance(node, torch.fx.Node) and node.name in self.values:
            return self.values[node.name]
        raise UsageError(f"An operand of {where} is not a tensor computed by the network: {node}.")

    def tensor(self, node: Any) -> torch.Tensor | None:
        """The parameter, buffer or constant behind an argument, or None."""
        found = self.parameters.get(node.name) if isinstance(node, torch.fx.Node) else None
        return None if found is None else found[1]

    def parameter(self, node: torch.fx.Node, array: Array) -> str:
        """A `const` op for a parameter in its XIR layout; each use gets its own (shared weights are decoupled)."""
        target = self.parameters[node.name][0]
        return self.constant(f"{self.model}__{sanitize(target)}", array, target)

    def constant(self, name: str, array: Array, target: str) -> str:
        """A `const` op named `name`; `target` is its state-dict key."""
        op = const(self.unique(name), np.ascontiguousarray(array, np.float32))
        self.ops.append(op.with_attrs(__param=target))
        return op.name

    def op_name(self, node: torch.fx.Node, scope: Scope) -> str:
        """`Model__Model_Class_attr__Class_attr__node`, as the vendor names ops."""
        path = [self.model, *(f"{cls}[{attr}]" for cls, attr in scope[1:]), node.name]
        return self.unique(sanitize(f"{self.model}::" + "/".join(path)))

    def add(
        self,
        node: torch.fx.Node,
        scope: Scope,
        source: str,
        type_: str,
        kind: str,
        inputs: dict[str, tuple[str, ...]],
        shape: tuple[int, ...],
        /,
        flat: tuple[int, int, int] | None = None,
        dims: tuple[int, ...] | None = None,
        **values: Any,
    ) -> Value:
        """Append an op of XIR type `type_` whose result has the torch shape `shape`; returns that result.

        `kind` is the vendor's node type used in quant_info keys, "" for an op that is no node of its graph.
        `dims` is the XIR shape where that is not the NHWC of `shape`.
        """
        name = self.op_name(node, scope)
        bound = {arg: names for arg, names in inputs.items() if names}
        meta = {**({"__kind": kind} if kind else {}), **({"__source": source} if source else {})}
        placed = dims or nhwc(shape)
        if type_ not in definitions():  # libxir learns a type that it does not know from these two
            values |= {"shape": list(placed), "data_type": "FLOAT32"}
        op = Op(name, type_, bound, attrs(**values, **meta), Tensor(name, placed))
        self.ops.append(op)
        self.by_name[name] = op
        return Value(name, shape, flat)

    def finish(self, outputs: list[torch.fx.Node]) -> Graph:
        """The graph, with its outputs in the order the network returns them."""
        names: list[str] = []
        for node in outputs:
            value = self.value(node, "the network's output")
            if value.flat is not None:
                raise UsageError(
                    f"The network returns a tensor flattened from (C, H, W) = {value.flat}.",
                    hint="Return the 4-D tensor and flatten it on the host.",
                )
            names.append(value.op)
        graph = Graph(self.model, tuple(self.ops)).with_attrs(return_ops=names)
        return graph if not self.notes else graph.with_attrs(__notes=list(self.notes))
