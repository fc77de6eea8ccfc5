"""Small clean-ups of a captured graph: reshapes of reshapes, ops that nothing needs."""

from __future__ import annotations

from dataclasses import replace

from xmodel.graph import Graph, Op


def join_reshapes(graph: Graph) -> Graph:
    """A reshape that only another reshape reads is part of that one (two squeezes in a row are one op).

    The vendor's node numbering still counts both: `__skip` on the one that stays.
    """
    joined: dict[str, Op] = {}
    gone: set[str] = set()
    returned = set(graph.get("return_ops", ()))
    for op in graph.ops:
        if op.type != "reshape":
            continue
        before = graph.op(op.inputs["input"][0])
        if before.type != "reshape" or len(graph.fanout[before.name]) != 1 or before.name in returned:
            continue
        before = joined.get(before.name, before)
        source = graph.op(before.inputs["input"][0])
        if len(op.output.shape) == 2 and not _same_order(source.output.shape):
            continue  # from 4-D straight to 2-D means flattening an image, in its own order
        skip = int(before.get("__skip", 0)) + int(op.get("__skip", 0)) + 1
        joined[op.name] = replace(op, inputs={"input": (source.name,)}).with_attrs(__skip=skip)
        gone.add(before.name)
    return graph.with_ops(joined.get(op.name, op) for op in graph.ops if op.name not in gone) if joined else graph


def _same_order(shape: tuple[int, ...]) -> bool:
    """Whether an NHWC (or other) tensor has the elements in the same order as its NCHW form."""
    return len(shape) != 4 or shape[3] == 1 or shape[1] * shape[2] == 1


def drop_unused(graph: Graph) -> Graph:
    """Remove ops that no output depends on; inputs stay."""
    needed: set[str] = {op.name for op in graph.outputs} | {op.name for op in graph.inputs}
    for op in reversed(graph.ops):
        if op.name in needed:
            needed.update(op.input_names)
    return graph.with_ops(op for op in graph.ops if op.name in needed)
