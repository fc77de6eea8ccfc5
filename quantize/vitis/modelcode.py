"""A captured float graph as a Python file that old torch understands, so that the vendor's tool can trace it.

The vendor's Python has torch 1.4 to 2.0 and none of our packages, and cannot load a `torch.export`
program. What it can import is a module file: one layer a line, under its own state-dict path, and a
straight-line `forward`. The file is in Python 3.6 syntax and imports torch alone.
"""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from quantize.execute import parameters
from quantize.vitis.rules import RULES
from quantize.vitis.writer import Writer
from xmodel.errors import UsageError
from xmodel.graph import Array, Graph, Op

_HEAD = '''"""The float network {name}, written by Unmask for the vendor's quantizer: Python 3.6, torch 1.4 on."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Level(nn.Module):
    """A step on the path to a layer."""


def place(root, path, layer):
    """Register `layer` under its dotted `path`."""
    names = path.split(".")
    for name in names[:-1]:
        if name not in root._modules:
            root.add_module(name, Level())
        root = root._modules[name]
    root.add_module(names[-1], layer)


def at(root, path):
    """The layer registered under `path`."""
    for name in path.split("."):
        root = root._modules[name]
    return root
'''
_RESERVED = frozenset({"torch", "nn", "F", "Level", "place", "at", "super"})


@dataclass(frozen=True, slots=True)
class ModelCode:
    """`source` defines class `name`; `state` holds its parameters by state-dict key, in torch layout."""

    name: str
    source: str
    state: Mapping[str, Array]


def model_code(graph: Graph) -> ModelCode:
    """The module file of `graph`, a float graph as captured or with its batch norms folded.

    The class takes the graph's inputs as NCHW tensors in order and returns its outputs as the network
    did; parameter names are the state dict's. Raises `UsageError` naming an op that has no such form,
    and for a network whose name cannot be that of a class.
    """
    if not graph.name.isidentifier() or keyword.iskeyword(graph.name) or graph.name in _RESERVED:
        raise UsageError(
            f"The network's name {graph.name!r} cannot name a Python class, which the vendor's tool needs.",
            hint="Give another with --name.",
        )
    writer = Writer(graph, {name: tensor.numpy() for name, tensor in parameters(graph).items()})
    arguments = [f"x{i}" for i in range(len(graph.inputs))]
    writer.variables |= {op.name: name for op, name in zip(graph.inputs, arguments, strict=True)}
    for op in graph.ops:
        if not op.is_const and op.type != "data":
            _translate(writer, op)
    results = ", ".join(writer.operand(op.name) for op in graph.outputs)
    return ModelCode(graph.name, _source(writer, arguments, results), writer.state)


def _translate(writer: Writer, op: Op) -> None:
    rule = RULES.get(op.type)
    if rule is None:
        raise UsageError(
            f"Op {op.name!r} of type {op.type!r} has no form for the vendor's quantizer.",
            where=str(op.get("__source", "")),
            hint="Use --backend unmask.",
        )
    writer.assign(op, rule(writer, op))


def _source(writer: Writer, arguments: list[str], results: str) -> str:
    name = writer.graph.name
    made = [f"place(self, {path!r}, {code})" for path, code in writer.layers.items()]
    made += [
        f"self.register_buffer({key!r}, torch.zeros({array.shape!r}))"
        for key, array in writer.state.items()
        if "." not in key
    ]
    body = [
        f"class {name}(nn.Module):",
        "    def __init__(self):",
        f"        super({name}, self).__init__()",
        *(f"        {line}" for line in made),
        "",
        f"    def forward({', '.join(['self', *arguments])}):",
        *(f"        {line}" for line in writer.lines),
        f"        return {results}",
    ]
    return _HEAD.format(name=name) + "\n\n" + "\n".join(body) + "\n"


def state_arrays(code: ModelCode) -> dict[str, Any]:
    """`code.state` under names that a .npz archive can hold: p0, p1, ... in its order."""
    return {f"p{index}": array for index, array in enumerate(code.state.values())}
