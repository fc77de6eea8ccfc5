"""Which op of the vendor's .xmodel is which of our float graph: the same network under other names.

The vendor names ops by its own trace; parameters carry the same names in both. So an op is found by its
type, the parameters it reads and the ops before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from xmodel.graph import Graph, Op

_HELPER = "_i0"  # the vendor writes an average pool or hard-sigmoid `x` as `x_i0` and a `mul` called `x`


def align(float_graph: Graph, vendor: Graph) -> tuple[Graph, Graph, tuple[str, ...]]:
    """(the float graph under the vendor's names, the vendor's graph with our outputs' order, source lines and
    node kinds, names of our ops that have no counterpart)."""
    names = _counterparts(float_graph, vendor)
    missing = tuple(op.name for op in float_graph.ops if not op.is_const and op.name not in names)
    renamed = float_graph.with_ops(_renamed(op, names) for op in float_graph.ops)
    renamed = renamed.with_attrs(return_ops=[names.get(op.name, op.name) for op in float_graph.outputs])
    own = {theirs: float_graph.op(ours) for ours, theirs in names.items()}
    told = vendor.with_ops(_annotated(op, own.get(op.name)) for op in vendor.ops)
    fixes = {op.inputs["input"][0]: op.name for op in vendor.ops if op.type == "fix"}
    if not any(op.name in missing for op in float_graph.outputs):
        returned = [names[op.name] for op in float_graph.outputs]
        told = told.with_attrs(return_ops=[fixes.get(name, name) for name in returned])
    return renamed, told, missing


def _renamed(op: Op, names: Mapping[str, str]) -> Op:
    name = names.get(op.name, op.name)
    inputs = {arg: tuple(names.get(n, n) for n in ops) for arg, ops in op.inputs.items()}
    return replace(op, name=name, inputs=inputs, output=replace(op.output, name=name))


def _annotated(op: Op, own: Op | None) -> Op:
    kept = {} if own is None else {name: attr for name, attr in own.attrs.items() if name in ("__source", "__kind")}
    return replace(op, attrs={**op.attrs, **kept}) if kept else op


def _counterparts(float_graph: Graph, vendor: Graph) -> dict[str, str]:
    """Our op's name → the vendor's, first come first served among ops that look the same."""
    waiting: dict[tuple[object, ...], list[str]] = {}
    for op in vendor.ops:
        if op.type not in ("fix", "stack") and not op.name.endswith(_HELPER):
            waiting.setdefault(_look(vendor, op, {}), []).append(op.name)
    names: dict[str, str] = {}
    for op in float_graph.ops:
        found = waiting.get(_look(float_graph, op, names))
        if found:
            names[op.name] = found.pop(0)
    return names


def _look(graph: Graph, op: Op, names: Mapping[str, str]) -> tuple[object, ...]:
    """What identifies an op: for a constant or an input its name, else its type and what it reads."""
    if op.is_const or op.type == "data":
        return (op.type, op.name)
    helper = graph.by_name.get(op.name + _HELPER)
    body = op if helper is None else helper
    read = [names.get(source, source) for source in (_source(graph, name) for name in body.input_names)]
    return (body.type, *(name for name in read if graph.by_name.get(name) is None or not _bare(graph.op(name))))


def _source(graph: Graph, name: str) -> str:
    op = graph.op(name)
    return op.inputs["input"][0] if op.type == "fix" else name


def _bare(op: Op) -> bool:
    """True for what only one of the two graphs has: a shape, a scale factor."""
    return op.type == "stack"
