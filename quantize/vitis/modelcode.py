"""A captured float graph as a Python file that old torch understands, so that the vendor's tool can trace it.

The vendor's Python has torch 1.4 to 2.0 and none of our packages, and cannot load a `torch.export`
program. What it can import is a module file: one layer a line, under its own state-dict path, and a
straight-line `forward`. The file is in Python 3.6 syntax and imports torch alone.
"""

from __future__ import annotations

import keyword
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quantize.execute import parameters
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


@dataclass
class _Writer:
    """The file while it is written: layers by path, lines of `forward`, tensors by variable name."""

    graph: Graph
    constants: Mapping[str, Array]
    layers: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
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
        """A layer without parameters, named after its kind and its place in the graph."""
        return self.layer(f"{op.type.replace('-', '_')}_{len(self.lines)}", code, {})

    def input(self, op: Op, index: int = 0) -> str:
        """The variable, or number, that an op's `input` argument stands for."""
        return self.operand(op.inputs["input"][index])

    def operand(self, name: str) -> str:
        """A computed tensor's variable; a constant with one value as that number, any other as a buffer."""
        if name in self.variables:
            return self.variables[name]
        array = self.constants[name]
        if array.size and np.all(array == array.reshape(-1)[0]) and np.isfinite(array.reshape(-1)[0]):
            return repr(float(array.reshape(-1)[0]))
        buffer = f"const_{len(self.state)}"
        self.state[buffer] = array
        self.variables[name] = f"self.{buffer}"
        return self.variables[name]

    def path(self, name: str, suffix: str, op: Op) -> str:
        """A layer's path from the state-dict key of its parameter, `down1.0.weight` → `down1.0`."""
        target = str(self.graph.op(name).get("__param", ""))
        path = target.removesuffix(suffix).strip(".")
        return path if path else f"{op.type.replace('-', '_')}_{len(self.lines)}"


def model_code(graph: Graph) -> ModelCode:
    """The module file of `graph` (from `quantize.capture.capture`, batch norms not yet folded).

    The class takes the graph's inputs as NCHW tensors in order and returns its outputs as the network
    did; parameter names are the state dict's. Raises `UsageError` naming an op that has no such form,
    and for a network whose name cannot be that of a class.
    """
    if not graph.name.isidentifier() or keyword.iskeyword(graph.name) or graph.name in _RESERVED:
        raise UsageError(
            f"The network's name {graph.name!r} cannot name a Python class, which the vendor's tool needs.",
            hint="Give another with --name.",
        )
    writer = _Writer(graph, {name: tensor.numpy() for name, tensor in parameters(graph).items()})
    arguments = [f"x{i}" for i in range(len(graph.inputs))]
    writer.variables |= {op.name: name for op, name in zip(graph.inputs, arguments, strict=True)}
    for op in graph.ops:
        if not op.is_const and op.type != "data":
            _translate(writer, op)
    results = ", ".join(writer.operand(op.name) for op in graph.outputs)
    return ModelCode(graph.name, _source(writer, arguments, results), writer.state)


def _translate(writer: _Writer, op: Op) -> None:
    rule = _RULES.get(op.type)
    if rule is None:
        raise UsageError(
            f"Op {op.name!r} of type {op.type!r} has no form for the vendor's quantizer.",
            where=str(op.get("__source", "")),
            hint="Use --backend unmask.",
        )
    expression, variable = rule(writer, op), f"t{len(writer.lines)}"
    source = f"  # {op.get('__source')}".replace("\n", " ").replace("\r", " ") if op.get("__source") else ""
    writer.lines.append(f"{variable} = {expression}{ascii(source)[1:-1]}")
    writer.variables[op.name] = variable


def _source(writer: _Writer, arguments: list[str], results: str) -> str:
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


def _hw(op: Op, name: str) -> tuple[int, int]:
    width, height = (int(v) for v in op.get(name))
    return (height, width)


def _padded(op: Op, x: str, value: float = 0.0) -> tuple[str, tuple[int, int]]:
    """The operand and torch's symmetric padding; an asymmetric one becomes a pad of its own."""
    left, right, top, bottom = (int(v) for v in op.get("pad"))
    if (left, top) == (right, bottom):
        return x, (top, left)
    number = repr(value) if math.isfinite(value) else f"float({str(value)!r})"
    return f"F.pad({x}, ({left}, {right}, {top}, {bottom}), 'constant', {number})", (0, 0)


def _with_bias(writer: _Writer, op: Op, weight: Array) -> dict[str, Array]:
    bias = {"bias": writer.constants[op.inputs["bias"][0]]} if "bias" in op.inputs else {}
    return {"weight": weight, **bias}


def _conv(writer: _Writer, op: Op) -> str:
    name = op.inputs["weights"][0]
    weight = writer.constants[name]
    kernel, stride, dilation = tuple(weight.shape[2:]), _hw(op, "stride"), _hw(op, "dilation")
    bias = "bias" in op.inputs
    x = writer.input(op)
    if op.type.startswith("transposed"):
        groups = weight.shape[0] if "depthwise" in op.type else int(op.get("group", 1))
        left, right, top, bottom = (int(v) for v in op.get("pad"))
        if (left, top) != (right, bottom):
            raise UsageError(f"Op {op.name!r} has the padding {list(op.get('pad'))}, which torch cannot express.")
        channels = f"{weight.shape[0]}, {weight.shape[1] * groups}"
        code = f"nn.ConvTranspose2d({channels}, {kernel}, {stride}, {(top, left)}, 0, {groups}, {bias}, {dilation})"
    else:
        groups = weight.shape[0] if "depthwise" in op.type else int(op.get("group", 1))
        x, padding = _padded(op, x)
        channels = f"{weight.shape[1] * groups}, {weight.shape[0]}"
        code = f"nn.Conv2d({channels}, {kernel}, {stride}, {padding}, {dilation}, {groups}, {bias})"
    return f"{writer.layer(writer.path(name, 'weight', op), code, _with_bias(writer, op, weight))}({x})"


def _matmul(writer: _Writer, op: Op) -> str:
    name = op.inputs["input"][1]
    if name not in writer.constants:
        raise UsageError(f"Op {op.name!r} multiplies two computed matrices, which the vendor's DPU flow cannot do.")
    weight = writer.constants[name]
    code = f"nn.Linear({weight.shape[1]}, {weight.shape[0]}, {'bias' in op.inputs})"
    layer = writer.layer(writer.path(name, "weight", op), code, _with_bias(writer, op, weight))
    return f"{layer}({writer.input(op)})"


def _batch_norm(writer: _Writer, op: Op) -> str:
    names = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_var"}
    state = {name: writer.constants[op.inputs[arg][0]] for name, arg in names.items()}
    rank = len(writer.graph.op(op.inputs["input"][0]).output.shape)
    kind = "BatchNorm2d" if rank == 4 else "BatchNorm1d"
    code = f"nn.{kind}({state['weight'].size}, {float(op.get('epsilon'))!r})"
    path = writer.path(op.inputs["gamma"][0], "weight", op)
    return f"{writer.layer(path, code, state)}({writer.input(op)})"


def _max_pool(writer: _Writer, op: Op) -> str:
    x, padding = _padded(op, writer.input(op), -math.inf)
    ceil = op.get("pad_mode") == "CEIL"
    code = f"nn.MaxPool2d({_hw(op, 'kernel')}, {_hw(op, 'stride')}, {padding}, ceil_mode={ceil})"
    return f"{writer.plain(op, code)}({x})"


def _avg_pool(writer: _Writer, op: Op) -> str:
    left, right, top, bottom = (int(v) for v in op.get("pad"))
    if (left, top) != (right, bottom):
        raise UsageError(f"Op {op.name!r} averages over the padding {list(op.get('pad'))}, which torch cannot express.")
    if op.get("__kind") == "adaptive_avg_pool2d":
        _, height, width, _ = op.output.shape
        code = f"nn.AdaptiveAvgPool2d({(height, width)})"
    else:
        ceil, include = op.get("pad_mode") == "CEIL", bool(op.get("count_include_pad", True))
        window = f"{_hw(op, 'kernel')}, {_hw(op, 'stride')}, {(top, left)}"
        code = f"nn.AvgPool2d({window}, ceil_mode={ceil}, count_include_pad={include})"
    return f"{writer.plain(op, code)}({writer.input(op)})"


def _concat(writer: _Writer, op: Op) -> str:
    axis, rank = int(op.get("axis")), len(op.output.shape)
    torch_axis = {0: 0, 1: 2, 2: 3, 3: 1}[axis] if rank == 4 else axis
    return f"torch.cat([{', '.join(writer.operand(name) for name in op.inputs['input'])}], {torch_axis})"


def _reshape(writer: _Writer, op: Op) -> str:
    if len(op.output.shape) != 2:
        raise UsageError(f"Op {op.name!r} reshapes to {list(op.output.shape)}; the vendor's DPU flow only flattens.")
    return f"torch.flatten({writer.input(op)}, 1)"


def _resize(writer: _Writer, op: Op) -> str:
    source, target = writer.graph.op(op.inputs["input"][0]).output.shape[1:3], op.output.shape[1:3]
    scale = [after / before for before, after in zip(source, target, strict=True)]
    whole = all(factor == int(factor) for factor in scale)
    size = f"scale_factor={tuple(scale)}" if whole else f"size={tuple(target)}"
    align = f", align_corners={bool(op.get('align_corners'))}" if op.get("mode") == "BILINEAR" else ""
    return f"F.interpolate({writer.input(op)}, {size}, mode={str(op.get('mode')).lower()!r}{align})"


def _leaky(writer: _Writer, op: Op) -> str:
    slope = float(op.get("alpha"))
    return f"{writer.plain(op, f'nn.LeakyReLU({slope!r})')}({writer.input(op)})"


def _layer(code: str) -> Callable[[_Writer, Op], str]:
    return lambda writer, op: f"{writer.plain(op, code)}({writer.input(op)})"


def _call(function: str) -> Callable[[_Writer, Op], str]:
    return lambda writer, op: f"{function}({writer.input(op)})"


def _infix(sign: str) -> Callable[[_Writer, Op], str]:
    return lambda writer, op: f"{writer.input(op)} {sign} {writer.input(op, 1)}"


# The tool turns an nn.ReLU6 module into ReLU, and capture has done so already: what is still relu6 is the function.
_RULES: Mapping[str, Callable[[_Writer, Op], str]] = {
    "conv2d": _conv,
    "depthwise-conv2d": _conv,
    "transposed-conv2d": _conv,
    "transposed-depthwise-conv2d": _conv,
    "matmul": _matmul,
    "batchnorm": _batch_norm,
    "relu": _layer("nn.ReLU()"),
    "relu6": _call("F.relu6"),
    "leaky-relu": _leaky,
    "sigmoid": _layer("nn.Sigmoid()"),
    "tanh": _layer("nn.Tanh()"),
    "softmax": _layer("nn.Softmax(dim=1)"),
    "maxpool2d": _max_pool,
    "avgpool2d": _avg_pool,
    "add": _infix("+"),
    "sub": _infix("-"),
    "mul": _infix("*"),
    "concat": _concat,
    "reshape": _reshape,
    "resize": _resize,
}


def state_arrays(code: ModelCode) -> dict[str, Any]:
    """`code.state` under names that a .npz archive can hold: p0, p1, ... in its order."""
    return {f"p{index}": array for index, array in enumerate(code.state.values())}
