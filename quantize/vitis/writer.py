"""The old-torch module while it is written: its layers, the lines of `forward`, which variable holds what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from xmodel.errors import UsageError
from xmodel.graph import Array, Graph, Op

NCHW = (0, 2, 3, 1)  # where each NHWC axis lies in a torch tensor


def usual_order(rank: int) -> tuple[int, ...]:
    """The torch axis of each XIR axis, for a tensor that lies as torch's layers want it."""
    return NCHW if rank == 4 else tuple(range(rank))


@dataclass
class Writer:
    """The file while it is written: layers by path, lines of `forward`, tensors by variable name."""

    graph: Graph
    constants: Mapping[str, Array]
    layers: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    orders: dict[str, tuple[int, ...]] = field(default_factory=dict)  # op -> see `order`; only where it is unusual
    state: dict[str, Array] = field(default_factory=dict)

    def layer(self, path: str, code: str, state: Mapping[str, Array]) -> str:
        """Register a layer, or find the equal one (shared weights): the expression that reaches it."""
        candidate, count = path, 1
        while not self._free(candidate, code, state):
            count += 1
            candidate = f"{path}_{count}"
        self.layers[candidate] = code
        self.state |= {f"{candidate}.{name}": array for name, array in state.items()}
        return f"at(self, {candidate!r})"

    def _free(self, path: str, code: str, state: Mapping[str, Array]) -> bool:
        if path in self.layers:
            equal = (np.array_equal(self.state[f"{path}.{name}"], array) for name, array in state.items())
            return bool(state) and self.layers[path] == code and all(equal)
        steps = path.split(".")
        above = {".".join(steps[:i]) for i in range(1, len(steps))}
        return not above & set(self.layers) and not any(other.startswith(path + ".") for other in self.layers)

    def plain(self, op: Op, code: str) -> str:
        """A layer without parameters, named after its kind and its place, unlike any of the network's own."""
        name = f"{op.type.replace('-', '_')}_{len(self.lines)}"
        while name in self._own_names:
            name += "_"
        return self.layer(name, code, {})

    @cached_property
    def _own_names(self) -> frozenset[str]:
        return frozenset(str(op.get("__param")).split(".")[0] for op in self.graph.ops if op.get("__param"))

    def input(self, op: Op, index: int = 0) -> str:
        """The variable, or number, that an op's `input` argument stands for."""
        return self.operand(op.inputs["input"][index])

    def operand(self, name: str) -> str:
        """A computed tensor's variable; a constant with one value as that number, any other as a buffer."""
        if name in self.variables:
            if self.order(name) != usual_order(len(self.graph.op(name).output.shape)):
                raise UsageError(f"Op {name!r} gives its axes in an order that only a reshape may read.")
            return self.variables[name]
        array = self.constants[name]
        if array.size and np.all(array == array.reshape(-1)[0]) and np.isfinite(array.reshape(-1)[0]):
            return repr(float(array.reshape(-1)[0]))
        buffer = f"const_{len(self.state)}"
        self.state[buffer] = array
        self.variables[name] = f"self.{buffer}"
        return self.variables[name]

    def order(self, name: str) -> tuple[int, ...]:
        """The torch axis in which each XIR axis of op `name`'s result lies."""
        return self.orders.get(name, usual_order(len(self.graph.op(name).output.shape)))

    def assign(self, op: Op, expression: str) -> None:
        """A line of `forward` that computes `op`; none for an op that only renames axes."""
        if expression in self.variables.values():
            self.variables[op.name] = expression
            return
        self.variables[op.name] = f"t{len(self.lines)}"
        source = ascii(f"  # {op.get('__source')}")[1:-1] if op.get("__source") else ""
        self.lines.append(f"{self.variables[op.name]} = {expression}{source}")

    def path(self, name: str, suffix: str, op: Op) -> str:
        """A layer's path from the state-dict key of its parameter, `down1.0.weight` → `down1.0`."""
        target = str(self.graph.op(name).get("__param", ""))
        path = target.removesuffix(suffix).strip(".")
        return path if path else f"{op.type.replace('-', '_')}_{len(self.lines)}"
