"""Which op of the vendor's .xmodel is which of our float graph: the same network under other names.

The vendor names ops by its own trace; parameters carry the same names in both. So our graph is written as
the vendor writes one, and an op is found by its type, the parameters it reads and the ops before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from quantize.approximate import approximate
from quantize.export import quantized_graph
from quantize.plan import plan
from xmodel.graph import Graph, Op

_KEPT = ("__source", "__kind", "__key")


def align(float_graph: Graph, vendor: Graph) -> tuple[Graph, Graph, tuple[str, ...]]:
    """(the float graph under the vendor's names, the vendor's graph with our outputs' order, source lines and
    node keys, names of our ops that have no counterpart).

    Where there are such ops the first is the vendor's own graph without its `fix` ops: activations are then
    compared with those of the quantized weights in float.
    """
    prepared = approximate(float_graph)
    placed = plan(prepared)
    same = quantized_graph(prepared, placed, dict.fromkeys((*placed.activations, *placed.parameters), 0), {})
    names = _counterparts(same, vendor)
    wanted = set(same.by_name) - set(names)
    missing = tuple(op.name for op in float_graph.ops if not op.is_const and op.name in wanted)
    own = {theirs: same.op(ours) for ours, theirs in names.items()}
    told = vendor.with_ops(_annotated(op, own.get(op.name)) for op in vendor.ops)
    if all(op.name in names for op in same.outputs):
        told = told.with_attrs(return_ops=[names[op.name] for op in same.outputs])
    if missing:
        return _without_fixes(told), told, missing
    renamed = float_graph.with_ops(_renamed(op, names) for op in float_graph.ops)
    return renamed.with_attrs(return_ops=[names.get(op.name, op.name) for op in float_graph.outputs]), told, missing


def _without_fixes(graph: Graph) -> Graph:
    """`graph` with every `fix` replaced by what it reads."""
    source = {op.name: op.inputs["input"][0] for op in graph.ops if op.type == "fix"}
    ops = [_renamed(op, source) for op in graph.ops if op.type != "fix"]
    return graph.with_ops(ops).with_attrs(return_ops=[source.get(op.name, op.name) for op in graph.outputs])


def _renamed(op: Op, names: Mapping[str, str]) -> Op:
    name = names.get(op.name, op.name)
    inputs = {arg: tuple(names.get(n, n) for n in ops) for arg, ops in op.inputs.items()}
    return replace(op, name=name, inputs=inputs, output=replace(op.output, name=name))


def _annotated(op: Op, own: Op | None) -> Op:
    kept = {} if own is None else {name: attr for name, attr in own.attrs.items() if name in _KEPT}
    return replace(op, attrs={**op.attrs, **kept}) if kept else op


def _counterparts(same: Graph, vendor: Graph) -> dict[str, str]:
    """Our op's name → the vendor's, first come first served among ops that look the same."""
    shared = set(same.by_name) & {op.name for op in vendor.ops if op.is_const or op.type == "data"}
    waiting: dict[tuple[object, ...], list[str]] = {}
    for op in vendor.ops:
        waiting.setdefault(_look(vendor, op, shared, {}), []).append(op.name)
    names: dict[str, str] = {}
    for op in same.ops:
        found = waiting.get(_look(same, op, shared, names))
        if found:
            names[op.name] = found.pop(0)
    return names


def _look(graph: Graph, op: Op, shared: set[str], names: Mapping[str, str]) -> tuple[object, ...]:
    """What identifies an op: for a parameter or an input its name, else its type and what it reads.

    Constants that only one graph names (a factor, a size) say nothing.
    """
    if op.is_const or op.type == "data":
        return (op.type, op.name)
    read = (name for name in op.input_names if name in shared or not _bare(graph.op(name)))
    place = tuple(op.get("begin", ()))  # slices of one tensor differ in nothing else
    return (op.type, place, *(names.get(name, name) for name in read))


def _bare(op: Op) -> bool:
    return op.is_const or op.type == "stack"
