"""Every op type the emulator knows: how it is checked, and the reference function that computes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from runtime.emulator import custom_ops, float_ops, reference, spec
from runtime.emulator.node import Node
from runtime.emulator.spec import Concat, Convolution, Eltwise, HardSigmoid, Pool, Resize, Rules
from xmodel.errors import ArtifactError
from xmodel.graph import Array, Graph, Op

Function = Callable[..., Array]
Spec = Concat | Convolution | Eltwise | HardSigmoid | Pool | Resize

# XIR names arguments; a file may list them in any order. This is the order in which functions take them.
_ARGUMENTS = ("input", "weights", "gamma", "beta", "moving_mean", "moving_var", "scale", "shape", "size", "bias")

_MAKERS = {**float_ops.MAKERS, **custom_ops.MAKERS}

_SPECS: dict[str, Callable[[Node, Rules], Spec]] = {
    "conv2d-fix": spec.convolution,
    "depthwise-conv2d-fix": spec.convolution,
    "transposed-conv2d-fix": spec.convolution,
    "transposed-depthwise-conv2d-fix": spec.convolution,
    "pool-fix": spec.pool,
    "eltwise-fix": spec.eltwise,
    "concat-fix": spec.concat,
    "upsample-fix": spec.resize,
    "downsample-fix": spec.resize,
    "resize-fix": spec.resize,
    "hard-sigmoid-fix": spec.hard_sigmoid,
}

_FUNCTIONS: dict[type[Any], Function] = {
    Convolution: reference.convolution,
    Pool: reference.pool,
    Eltwise: reference.eltwise,
    Concat: reference.concat,
    Resize: lambda parsed, x, *_: reference.resize(parsed, x),
    HardSigmoid: reference.hard_sigmoid,
}

# Operand counts of the integer ops; None is any number.
_OPERANDS: dict[str, tuple[int, int | None]] = {
    "conv2d-fix": (2, 3),
    "depthwise-conv2d-fix": (2, 3),
    "transposed-conv2d-fix": (2, 3),
    "transposed-depthwise-conv2d-fix": (2, 3),
    "eltwise-fix": (1, None),
    "concat-fix": (1, None),
    "const": (0, 0),
    "const-fix": (0, 0),
    "data": (0, 0),
    "data-fix": (0, 0),
    "conv2d": (2, 3),
    "depthwise-conv2d": (2, 3),
    "transposed-conv2d": (2, 3),
    "transposed-depthwise-conv2d": (2, 3),
    "matmul": (2, 3),
    "inner-product": (2, 3),
    "scale": (2, 3),
    "batchnorm": (5, 5),
    "upsample-fix": (1, 2),
    "downsample-fix": (1, 2),
    "resize": (1, 2),
    "reshape": (1, 2),
    "nndct_prelu": (2, 2),
    "nndct_group_norm": (1, 3),
    "nndct_instance_norm": (1, 3),
    "aten::_convolution_mode": (2, 3),
    **dict.fromkeys(("add", "sub", "mul", "div", "max", "min", "concat", "stack"), (1, None)),
}


def known(kind: str) -> bool:
    """Whether the emulator computes ops of type `kind`, or has them as constants and inputs."""
    return kind in _SPECS or kind in _MAKERS or kind in _OPERANDS


def node(graph: Graph, op: Op) -> tuple[Node, tuple[str, ...]]:
    """The op with its input tensors, and the operands' names in the order in which functions take them.

    Raises `ArtifactError` for an op type that the emulator does not know, or a wrong number of inputs.
    """
    if not known(op.type):
        raise ArtifactError(
            f"Op {op.name!r} has type {op.type!r}, which the emulator does not know.",
            where=graph.name,
            hint="Rewrite the network without it, or let it stay on the host.",
        )
    unknown = [name for name in op.inputs if name not in _ARGUMENTS]
    names = tuple(name for argument in _ARGUMENTS for name in op.inputs.get(argument, ()))
    made = Node(op, tuple(graph.op(name).output for name in names))
    made.need(not unknown, f"has unknown arguments {unknown}")
    low, high = _OPERANDS.get(op.type, (1, 1))
    made.need(low <= len(names) <= (len(names) if high is None else high), f"has {len(names)} inputs")
    return made, names


def parse(item: Node, rules: Rules) -> Spec | None:
    """The checked numbers of an integer op, None for every other op."""
    maker = _SPECS.get(item.op.type)
    return None if maker is None else maker(item, rules)


def function(item: Node, parsed: Spec | None) -> Function:
    """The reference function of an op that computes: its arguments are the operands' arrays."""
    if parsed is None:
        return _MAKERS[item.op.type](item)
    chosen = _FUNCTIONS[type(parsed)]
    return lambda *arrays: chosen(parsed, *arrays)
