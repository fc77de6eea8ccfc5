"""One subgraph of a partitioned graph as a graph of its own: the unit that a device runs."""

from __future__ import annotations

from dataclasses import replace

from xmodel.errors import UsageError
from xmodel.graph import Graph, Op, Subgraph, attrs


def part(graph: Graph, name: str) -> Graph:
    """The subgraph `name`, a child of the root; its ops, tensors and attributes are those of `graph`.

    Tensors that come from outside are inputs, called as they are outside; constants come along. The outputs are the
    tensors that are read outside or by nobody. Raises `UsageError` for an unknown name.
    """
    children = graph.root.children if graph.root is not None else ()
    node = next((child for child in children if child.name == name), None)
    if node is None:
        known = ", ".join(child.name for child in children)
        raise UsageError(
            f"Graph {graph.name!r} has no subgraph {name!r}.",
            hint=f"It has {known}." if known else "It is not partitioned: run it as a whole.",
        )
    return enclosed(graph, node)


def enclosed(graph: Graph, node: Subgraph) -> Graph:
    """The ops of `node`, whatever its place in the tree of `graph`, as a graph of their own; see `part`."""
    inside = set(node.all_ops())
    sources = {source for op in inside for source in graph.op(op).input_names} - inside
    ops = [op if op.name in inside or op.is_const else _input(op) for op in graph.ops if op.name in inside | sources]
    feeding = tuple(
        Subgraph(f"subgraph_{op.name}", (op.name,), attrs=attrs(device="USER")) for op in ops if op.name in sources
    )
    leaving = [op.name for op in ops if op.name in inside and not op.is_const and _leaves(graph, op, inside)]
    root = Subgraph("root", children=(*feeding, node))
    return Graph(node.name, tuple(ops), {**graph.attrs, **attrs(return_ops=leaving)}, root)


def _leaves(graph: Graph, op: Op, inside: set[str]) -> bool:
    readers = {reader.name for reader in graph.fanout[op.name]}
    return not readers or not readers <= inside


def _input(op: Op) -> Op:
    tensor = op.output
    kind = "data-fix" if tensor.data_type.startswith("X") else "data"
    return replace(op, type=kind, inputs={}, attrs=attrs(shape=list(tensor.shape), data_type=tensor.data_type))
