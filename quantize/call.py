"""One ATen operator being translated: its arguments by name, its place in the user's code, the op it becomes."""

from __future__ import annotations

from typing import Any, cast

import torch

from quantize.builder import Builder, Scope, Value
from xmodel.errors import UsageError
from xmodel.graph import Array


class Call:
    """One node being translated: its arguments by schema name and where it came from."""

    def __init__(self, builder: Builder, node: torch.fx.Node, scope: Scope, source: str) -> None:
        self.b, self.node, self.scope, self.source = builder, node, scope, source
        schema = cast(Any, node.target)._schema
        self.mutates = bool(schema.is_mutable)
        self.args: dict[str, Any] = {}
        for index, arg in enumerate(schema.arguments):
            given = node.args[index] if index < len(node.args) else node.kwargs.get(arg.name)
            present = index < len(node.args) or arg.name in node.kwargs
            self.args[arg.name] = given if present else arg.default_value

    def __getitem__(self, name: str) -> Any:
        return self.args[name]

    @property
    def where(self) -> str:
        """Op and source line, for messages."""
        return f"{self.node.target} ({self.source or '/'.join(a for _, a in self.scope if a) or self.node.name})"

    @property
    def shape(self) -> tuple[int, ...]:
        """The torch shape of the result, batch 1."""
        return self.b.shape_of(self.node)

    def refuse(self, what: str, hint: str = "") -> UsageError:
        """An error that names this op and its place in the user's code."""
        return UsageError(f"{self.where}: {what}", hint=hint)

    def note(self, what: str) -> None:
        """Something that the report should tell about this op."""
        self.b.notes.append(f"{self.where}: {what}")

    def first(self) -> Value:
        """The first argument, a tensor."""
        return self.value(next(iter(self.args)))

    def value(self, name: str) -> Value:
        """A tensor argument."""
        return self.b.value(self[name], self.where)

    def image(self, name: str) -> Value:
        """A tensor argument of rank 4, (N, C, H, W)."""
        value = self.value(name)
        if len(value.shape) != 4:
            raise self.refuse(f"it reads a tensor of shape {value.shape}; (N, C, H, W) is needed.")
        return value

    def array(self, name: str) -> Array | None:
        """A parameter argument as float32 in torch layout; None when it was not given."""
        if self[name] is None:
            return None
        tensor = self.b.tensor(self[name])
        if tensor is None:
            raise self.refuse(f"its {name} is computed by the network, not a parameter.")
        array: Array = tensor.to(torch.float32).cpu().numpy()
        return array

    def emit(self, type_: str, kind: str, inputs: dict[str, tuple[str, ...]], /, **values: Any) -> Value:
        """Append the op that this node becomes; the node's name then stands for its result."""
        value = self.part(type_, kind, inputs, self.shape, **values)
        self.b.values[self.node.name] = value
        if self.mutates:  # in place: the operand's name now means the result
            self.b.values[cast(torch.fx.Node, self.node.args[0]).name] = value
        return value

    def part(
        self, type_: str, kind: str, inputs: dict[str, tuple[str, ...]], shape: tuple[int, ...], /, **values: Any
    ) -> Value:
        """Append an op that makes one of this node's results, of torch shape `shape`."""
        return self.b.add(self.node, self.scope, self.source, type_, kind, inputs, shape, **values)

    def skip(self, value: Value) -> None:
        """This node computes nothing at inference: its result is `value`."""
        self.b.values[self.node.name] = value


def pair(value: Any) -> tuple[int, int]:
    """torch's (h, w), from an int or a list of one or two."""
    if isinstance(value, int):
        return (value, value)
    items = [int(v) for v in value]
    return (items[0], items[-1])


def window(kernel: Any, stride: Any, padding: Any) -> dict[str, Any]:
    """XIR's kernel and stride [w, h] and pad [left, right, top, bottom] from torch's (h, w)."""
    (kh, kw), (sh, sw), (ph, pw) = pair(kernel), pair(stride), pair(padding)
    return {"kernel": [kw, kh], "stride": [sw, sh], "pad": [pw, pw, ph, ph]}
