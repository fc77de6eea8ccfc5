"""Well-formedness: what every graph must satisfy before another stage, or libxir, may rely on it."""

from __future__ import annotations

import math
from collections.abc import Mapping

from xmodel.definitions import Definition, definitions
from xmodel.errors import ArtifactError
from xmodel.graph import Attrs, Graph, Op, Subgraph

# protobuf reads 100 nested messages; the deepest attribute inside a subgraph takes 6 of them.
MAX_DEPTH = 90

_MAX_DIM = (1 << 31) - 1
_MAX_ELEMENTS = 1 << 40
_FIX_ATTRS = {"fix_point": "int32", "bit_width": "int32", "if_signed": "bool", "round_mode": "string"}
_SUBGRAPH_ATTRS = {
    "device": "string",
    "dpu_name": "string",
    "dpu_fingerprint": "uint64",
    "runner": "map_string_2_string",
}


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


def check(graph: Graph) -> Graph:
    """`graph` itself when another stage and libxir may rely on it, not only on its `structure`.

    Tensor names are unique and shapes possible; ops carry the arguments and attributes of their
    type, in their kinds; quantized tensors carry a fix position; constants fill their shape; the
    subgraph tree, if there is one, covers every op. Raises `ArtifactError`.
    """
    structure(graph)
    tensors: set[str] = set()
    for op in graph.ops:
        _op(op)
        if op.output.name in tensors:
            raise ArtifactError(f"Two tensors are named {op.output.name!r}.")
        tensors.add(op.output.name)
    _kinds(f"Graph {graph.name!r}", graph.attrs, {"return_ops": "string_vec"})
    if graph.root is not None:
        _cover(graph, graph.root)
    return graph


def _op(op: Op) -> None:
    definition = definitions().get(op.type)
    if definition is None:
        _unknown(op)
    else:
        _defined(op, definition)
    _tensor(op)
    if op.is_const:
        _constant(op)


def _unknown(op: Op) -> None:
    """libxir learns a type it does not know from these two attributes (measured, release 2.5)."""
    for name, kind in (("shape", "int32_vec"), ("data_type", "string")):
        if name not in op.attrs:
            raise ArtifactError(f"Op {op.name!r} of the unknown type {op.type!r} needs the attribute {name!r}.")
        _kinds(f"Op {op.name!r}", op.attrs, {name: kind})


def _defined(op: Op, definition: Definition) -> None:
    where = f"Op {op.name!r} of type {op.type!r}"
    for argument in definition.arguments:
        count = len(op.inputs.get(argument.name, ()))
        if count < argument.least or (argument.most is not None and count > argument.most):
            wanted = "at least 1" if argument.most is None else "at most 1" if not argument.least else "1"
            raise ArtifactError(f"{where} has {count} ops as argument {argument.name!r}; it takes {wanted}.")
    for attribute in definition.attributes:
        if not attribute.optional and attribute.name not in op.attrs:
            raise ArtifactError(f"{where} lacks the attribute {attribute.name!r} ({attribute.kind}).")
    _kinds(where, op.attrs, {attribute.name: attribute.kind for attribute in definition.attributes})


def _kinds(where: str, attrs: Attrs, wanted: Mapping[str, str]) -> None:
    for name, kind in wanted.items():
        if name in attrs and attrs[name].kind != kind:
            raise ArtifactError(f"{where} has the attribute {name!r} as {attrs[name].kind}; it must be {kind}.")


def _tensor(op: Op) -> None:
    tensor, where = op.output, f"Tensor {op.output.name!r} of op {op.name!r}"
    if any(not 0 < size <= _MAX_DIM for size in tensor.shape) or math.prod(tensor.shape) > _MAX_ELEMENTS:
        raise ArtifactError(f"{where} has the impossible shape {list(tensor.shape)}.")
    _kinds(where, tensor.attrs, _FIX_ATTRS)
    if tensor.data_type.startswith("X"):
        # Release 1.4's compiler inserts shifters that carry nothing but the position.
        needed = ("fix_point",) if op.type == "eltwise-fix" else tuple(_FIX_ATTRS)
        missing = [name for name in needed if name not in tensor.attrs]
        if missing:
            raise ArtifactError(f"{where} is {tensor.data_type} but lacks the attribute {missing[0]!r}.")


def _constant(op: Op) -> None:
    """A constant fills its shape, or it is empty and its data lies in a parameter blob (`ddr_addr`)."""
    tensor = op.output
    if tuple(op.get("shape")) != tensor.shape:
        raise ArtifactError(f"Constant {op.name!r} has shape {list(op.get('shape'))}, its tensor {list(tensor.shape)}.")
    if len(op.get("data")) or "ddr_addr" not in tensor.attrs:
        op.array()


def _cover(graph: Graph, root: Subgraph) -> None:
    """Every op is in the tree; nodes have ops or children; libxir aborts on the ones refused here."""
    missing = graph.by_name.keys() - set(root.all_ops())
    if missing:
        raise ArtifactError(f"Op {min(missing)!r} is in no subgraph.")
    stack = [root]
    while stack:
        node = stack.pop()
        if bool(node.ops) == bool(node.children) and graph.ops:
            raise ArtifactError(f"Subgraph {node.name!r} must have either ops or children.")
        _kinds(f"Subgraph {node.name!r}", node.attrs, _SUBGRAPH_ATTRS)
        if node.get("device") == "DPU":
            for name in ("dpu_name", "dpu_fingerprint"):
                if name not in node.attrs:
                    raise ArtifactError(f"The DPU subgraph {node.name!r} lacks the attribute {name!r}.")
        stack.extend(node.children)
