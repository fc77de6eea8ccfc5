"""What each ATen operator becomes in XIR: the table of them, and the translation of one exported node."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch

from quantize import aten_layers as layers
from quantize.aten_elementwise import ELEMENTWISE
from quantize.aten_layout import LAYOUT
from quantize.builder import Builder, Scope
from quantize.call import Call
from xmodel.errors import UsageError

_LARGEST_CONSTANT = 1 << 26  # elements that a program may compute from nothing

TABLE: dict[str, Callable[[Call], None]] = {
    "conv2d.default": layers.conv2d,
    "conv2d.padding": layers.conv2d,
    "conv_transpose2d.input": layers.conv_transpose2d,
    "linear.default": layers.linear,
    "batch_norm.default": layers.batch_norm,
    "group_norm.default": layers.group_norm,
    "instance_norm.default": layers.instance_norm,
    "max_pool2d.default": layers.max_pool2d,
    "avg_pool2d.default": layers.avg_pool2d,
    "adaptive_avg_pool2d.default": layers.adaptive_avg_pool2d,
    "adaptive_max_pool2d.default": layers.adaptive_max_pool2d,
    **ELEMENTWISE,
    **LAYOUT,
}


def translate(builder: Builder, node: torch.fx.Node, scope: Scope, source: str) -> None:
    """Append to `builder` what `node` becomes. Raises `UsageError` naming an operator that has no XIR form."""
    if node.target is operator.getitem:
        return _pick(builder, node)
    if not hasattr(node.target, "_schema"):
        raise UsageError(f"{node.target} in node {node.name!r} is not an ATen operator.")
    if _is_constant(builder, node):
        return _evaluate(builder, node)
    call = Call(builder, node, scope, source)
    handler = TABLE.get(str(node.target).removeprefix("aten."))
    if handler is None:
        raise call.refuse(
            "this operator has no DPU form in Unmask.", "Replace it by one of: " + ", ".join(sorted(_NAMES)) + "."
        )
    return handler(call)


def _pick(builder: Builder, node: torch.fx.Node) -> None:
    """One of the results of a node that has several."""
    source, index = node.args
    found = builder.parts.get(source.name, ()) if isinstance(source, torch.fx.Node) else ()
    value = found[index] if isinstance(index, int) and index < len(found) else None
    if value is not None:
        builder.values[node.name] = value
    elif node.users:
        raise UsageError(f"Result {index} of {source} is not available.", hint="Indices of a maximum have no XIR form.")


def _is_constant(builder: Builder, node: torch.fx.Node) -> bool:
    """Whether `node` depends on parameters and numbers alone."""
    return all(argument.name in builder.parameters for argument in node.all_input_nodes)


def _evaluate(builder: Builder, node: torch.fx.Node) -> None:
    """Compute a node that no input reaches; its value is a parameter like any other."""
    shape = getattr(node.meta.get("val"), "shape", (math.inf,))
    if not all(isinstance(size, int) for size in shape) or math.prod(shape) > _LARGEST_CONSTANT:
        raise UsageError(f"Node {node.name!r} computes a constant of shape {tuple(shape)}, which is too large.")

    def known(argument: torch.fx.Node) -> torch.Tensor:
        return builder.parameters[argument.name][1]

    target: Any = node.target
    result = target(*torch.fx.map_arg(node.args, known), **torch.fx.map_arg(node.kwargs, known))
    if not isinstance(result, torch.Tensor):
        raise UsageError(f"Node {node.name!r} computes a constant that is not a tensor.")
    builder.parameters[node.name] = (node.name, result)


_NAMES = {name.split(".")[0].rstrip("_") for name in TABLE}
