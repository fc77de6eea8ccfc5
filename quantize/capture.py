"""Capture: a `torch.export` program becomes a `Graph` of XIR float ops in NHWC."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from quantize import aten
from quantize.builder import Builder
from xmodel.errors import UsageError
from xmodel.graph import Graph


def export_program(module: torch.nn.Module, example: torch.Tensor) -> ExportedProgram:
    """Export `module` in eval mode for one (1, C, H, W) float32 example; `module` is not changed.

    Raises `UsageError` when the module cannot be traced.
    """
    if module.training:
        raise UsageError("The module is in training mode.", hint="Call module.eval() before quantizing it.")
    try:
        with torch.no_grad():
            return torch.export.export(module, (example,))
    except Exception as error:  # torch.export raises many unrelated types
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(
            f"torch.export cannot capture {type(module).__name__}: {first}",
            hint="Remove data-dependent control flow from forward().",
        ) from error


def capture(program: ExportedProgram, name: str) -> Graph:
    """The float graph of `program`, called `name`: batch 1, NHWC, parameters as `const` ops.

    Op names follow the vendor's scheme (model, then class[attribute] for each enclosing module),
    ending in the exported node's name. Raises `UsageError` naming any op that has no XIR form.
    """
    builder = Builder(name)
    tensors: Mapping[str, torch.Tensor] = {**program.state_dict, **program.constants}
    targets = {
        spec.arg.name: spec.target
        for spec in program.graph_signature.input_specs
        if spec.kind != InputKind.USER_INPUT and spec.target is not None
    }
    users = [n for n in program.graph.nodes if n.op == "placeholder" and n.name not in targets]
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in targets:
            builder.bind_parameter(node, targets[node.name], tensors[targets[node.name]].detach())
        elif node.op == "placeholder":
            builder.add_input(node, users.index(node))
        elif node.op == "call_function":
            aten.translate(builder, node, scope(node), source(node))
        elif node.op == "output":
            return builder.finish(_flat(node.args[0]))
    raise UsageError(f"The program of {name!r} has no output.")


def _flat(value: Any) -> list[torch.fx.Node]:
    if isinstance(value, list | tuple):
        return [node for item in value for node in _flat(item)]
    if not isinstance(value, torch.fx.Node):
        raise UsageError("The network returns a value that is not a tensor.")
    return [value]


def scope(node: torch.fx.Node) -> tuple[tuple[str, str], ...]:
    """The enclosing modules of `node`, outermost first, as (class name, attribute name)."""
    stack = node.meta.get("nn_module_stack") or {}
    levels: list[tuple[str, str]] = []
    parent = ""
    for path, cls in stack.values():
        class_name = (cls if isinstance(cls, str) else cls.__name__).rsplit(".", 1)[-1]
        relative = path[len(parent) + 1 :] if parent and path.startswith(parent + ".") else path
        levels.append((class_name, relative))
        parent = path
    return tuple(levels)


def source(node: torch.fx.Node) -> str:
    """The user's source line of `node` as "folder/file.py:12", or "" when the program carries none."""
    frames = re.findall(r'File "([^"]+)", line (\d+)', node.meta.get("stack_trace") or "")
    own = [(Path(file), line) for file, line in frames if "torch/nn/" not in file.replace("\\", "/")]
    return f"{own[-1][0].parent.name}/{own[-1][0].name}:{own[-1][1]}" if own else ""
