"""Lowering: the quantizer's float graph with fixes becomes a graph of integer ops that gives the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

import numpy as np

from compile import fold, normalize
from compile.edit import drop_unread, free_name, position, quantization, rebuild, redirect
from compile.fuse import fuse
from xmodel.check import check
from xmodel.graph import Graph, Op, Tensor, attrs, const

Pass = Callable[[Graph], Graph]

_PREPARE: tuple[Pass, ...] = (
    fold.name_outputs,
    fold.fold_parameters,
    fold.densify_groups,
    fold.fold_shapes,
    normalize.activate_before_concat,
    normalize.settle_relu6,
    normalize.fix_concat_inputs,
    normalize.hoist_fixes,
    normalize.fix_concat_inputs,
    normalize.pin_layout,
    fold.fix_inputs,
)


def lower(graph: Graph, activations: Collection[str] = ("HSIGMOID", "HSWISH")) -> Graph:
    """The integer graph of a quantizer graph (float XIR ops and `fix`), checked after every pass.

    Ops with an integer form end in `-fix` and carry int8 tensors named as the fixes were; the others stay float
    between `fix2float` and `float2fix`. Every graph output is float again, behind a `fix2float` where it was int8.
    `activations`: which of HSIGMOID and HSWISH the target computes behind a convolution. The numeric result of
    every int8 tensor is the quantizer's, save where the device's own arithmetic differs from it (bias finer than
    half an accumulator step, sums of more than two fractional bits). Raises `ArtifactError` for a damaged graph.
    """
    graph = fold.check_shapes(check(graph))
    for step in (*_PREPARE, lambda g: fuse(g, activations), join_reshapes, keep_float_fixes, cast_borders):
        graph = check(step(graph))
    return graph


def join_reshapes(graph: Graph) -> Graph:
    """A reshape of a reshape is one, and none when it restores the shape: linear layers follow each other directly."""
    ops: list[Op] = []
    names: dict[str, str] = {}
    done: dict[str, Op] = {}
    for old in graph.ops:
        op = redirect(old, names)
        if op.type == "reshape-fix":
            root = done[op.inputs["input"][0]]
            while root.type == "reshape-fix":
                root = done[root.inputs["input"][0]]
            if root.output.shape == op.output.shape and op.name not in graph.get("return_ops", ()):
                names[op.name] = root.name
                continue
            op = replace(op, inputs={"input": (root.name,)})
        done[op.name] = op
        ops.append(op)
    return drop_unread(rebuild(graph, ops, names))


def keep_float_fixes(graph: Graph) -> Graph:
    """A rounding that only float ops or the host read stays a float fix: a cast to int8 and back would be two ops."""
    return graph.with_ops(
        Op(op.name, "fix", op.inputs, op.attrs, Tensor(op.output.name, op.output.shape))
        if op.type == "float2fix" and not any(takes_int8(reader) for reader in graph.fanout[op.name])
        else op
        for op in graph.ops
    )


def cast_borders(graph: Graph) -> Graph:
    """Float ops and graph outputs read int8 tensors through a fix2float: one per tensor, named as the vendor does.

    Constants become float again instead.
    """
    casts: dict[str, Op] = {}
    ops: list[Op] = []
    outputs = set(graph.get("return_ops", ()))
    for op in graph.ops:
        if op.output.data_type == "XINT8":
            if op.name in outputs or any(not takes_int8(reader) for reader in graph.fanout[op.name]):
                casts[op.name] = _to_float(graph, op)
        elif not takes_int8(op):
            op = redirect(op, {name: casts[name].name for name in op.input_names if name in casts})
        ops.append(op)
    graph = rebuild(graph, [*ops, *casts.values()])
    returned = [casts[name].name if name in casts else name for name in graph.get("return_ops", ())]
    return graph.with_attrs(return_ops=returned)


def takes_int8(op: Op) -> bool:
    """True for ops that read int8 tensors: the integer ops and the cast to float."""
    return op.type.endswith("-fix") or op.type in ("fix2float", "upload", "download")


def _to_float(graph: Graph, op: Op) -> Op:
    name = free_name(graph, f"{op.output.name}_")
    if op.is_const:
        return const(name, np.ldexp(op.array().astype(np.float32), -position(op)))
    values = attrs(**quantization(position(op)))
    return Op(name, "fix2float", {"input": (op.name,)}, values, Tensor(name, op.output.shape))
