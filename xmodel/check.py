"""Well-formedness: what every graph must satisfy before another stage, or libxir, may rely on it."""

from __future__ import annotations

from xmodel.errors import ArtifactError
from xmodel.graph import Graph, Subgraph

# protobuf reads 100 nested messages; the deepest attribute inside a subgraph takes 6 of them.
MAX_DEPTH = 90


def structure(graph: Graph) -> Graph:
    """`graph` itself when its names and its tree hold together.

    Op names are unique, inputs exist and come earlier, the subgraph tree names existing ops, each
    once. Raises `ArtifactError`.
    """
    seen: set[str] = set()
    for op in graph.ops:
        if op.name in seen:
            raise ArtifactError(f"Two ops are named {op.name!r}.")
        for name in op.input_names:
            if name not in seen:
                reason = "comes later" if name in graph.by_name else "does not exist"
                raise ArtifactError(f"Op {op.name!r} reads op {name!r}, which {reason}.")
        seen.add(op.name)
    if graph.root is not None:
        _tree(graph.root, seen)
    return graph


def _tree(root: Subgraph, known: set[str]) -> None:
    placed: set[str] = set()
    stack = [(root, 1)]
    while stack:
        node, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise ArtifactError(f"The subgraphs are nested more than {MAX_DEPTH} deep.")
        for name in node.ops:
            if name not in known:
                raise ArtifactError(f"Subgraph {node.name!r} names op {name!r}, which does not exist.")
            if name in placed:
                raise ArtifactError(f"Op {name!r} is in two places of the subgraph tree.")
            placed.add(name)
        stack.extend((child, depth + 1) for child in node.children)
