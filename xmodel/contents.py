"""What is in a graph, as plain data: its tensors, its subgraph tree, its attributes, and totals."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from xmodel import golden
from xmodel.file import OP_DEFS
from xmodel.graph import Attrs, Graph, Op, Subgraph, Tensor

# Said in their own words elsewhere in a description.
_OWN = {OP_DEFS, *golden.ATTRS}


def contents(graph: Graph) -> dict[str, Any]:
    """`graph` for JSON: `kind` (compiled, quantized or float), `inputs`, `outputs`, `totals`, `attributes`, `golden`,
    `subgraphs` (the root's tree, None without one) and `ops` in topological order.

    Sizes are bytes; a tensor's is that of its shape, a constant's what the file holds. Byte strings appear as their
    length and md5.
    """
    device = {name: str(part.get("device", "")) for part in _parts(graph) for name in part.all_ops()}
    return {
        "name": graph.name,
        "kind": kind(graph),
        "inputs": [_tensor(op.output) for op in graph.inputs],
        "outputs": [_tensor(op.output) for op in graph.outputs],
        "totals": _totals(graph),
        "attributes": {name: plain(attr.value) for name, attr in sorted(graph.attrs.items()) if name not in _OWN},
        "golden": golden.summary(graph),
        "subgraphs": None if graph.root is None else _subgraph(graph, graph.root),
        "ops": [_op(op, device.get(op.name, "")) for op in graph.ops],
    }


def kind(graph: Graph) -> str:
    """ "compiled" for a graph of integer ops, "quantized" for one of float ops and `fix`, else "float"."""
    types = {op.type for op in graph.ops}
    if "upload" in types or any(name.endswith("-fix") for name in types):
        return "compiled"
    return "quantized" if "fix" in types else "float"


def plain(value: Any) -> Any:
    """An attribute's value for JSON; a byte string is told by its length and md5."""
    match value:
        case memoryview() | bytes():
            return {"bytes": len(value), "md5": hashlib.md5(value, usedforsecurity=False).hexdigest()}
        case tuple() | list():
            return [plain(item) for item in value]
        case Mapping():
            return {str(name): plain(value[name]) for name in sorted(value)}
    return value


def fix_point(graph: Graph, op: Op) -> int | None:
    """The fix position of an op's tensor: its own, or for a float constant that of the `fix` that reads it."""
    found: Any = op.output.get("fix_point")
    if op.type == "fix":
        found = op.get("fix_point")
    elif op.is_const and found is None:
        found = next((reader.get("fix_point") for reader in graph.fanout[op.name] if reader.type == "fix"), None)
    return found if isinstance(found, int) else None


def tensor_bytes(tensor: Tensor) -> int:
    """The size of a tensor's data, from its shape and the bits of its type."""
    bits = re.search(r"[0-9]+$", tensor.data_type)
    return (math.prod(tensor.shape) * int(bits[0] if bits else 0) + 7) // 8


def _parts(graph: Graph) -> Iterable[Subgraph]:
    return graph.root.children if graph.root is not None else ()


def _tensor(tensor: Tensor) -> dict[str, Any]:
    position = tensor.get("fix_point")
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "data_type": tensor.data_type,
        "fix_point": position if isinstance(position, int) else None,
    }


def _op(op: Op, device: str) -> dict[str, Any]:
    tensor = _tensor(op.output)
    if op.type == "fix":
        tensor["fix_point"] = plain(op.get("fix_point"))
    return {
        "name": op.name,
        "type": op.type,
        "inputs": {argument: list(names) for argument, names in op.inputs.items()},
        "tensor": tensor.pop("name"),
        **tensor,
        "bytes": len(op.data) if op.is_const else tensor_bytes(op.output),
        "device": device,
        "attributes": {name: plain(attr.value) for name, attr in sorted(op.attrs.items()) if name != "data"},
    }


def _totals(graph: Graph) -> dict[str, Any]:
    constants = [op for op in graph.ops if op.is_const]
    computed = [op for op in graph.ops if not op.is_const and not _of_const(graph, op)]
    parts = [part for part in _parts(graph) if part.get("device") == "DPU"]
    return {
        "ops": len(graph.ops),
        "op_types": dict(sorted(Counter(op.type for op in graph.ops).items())),
        "constants": len(constants),
        "parameters": sum(math.prod(op.output.shape) for op in constants),
        "constant_bytes": sum(len(op.data) for op in constants),
        "blob_bytes": sum(_blob(part) for part in parts),
        "tensor_bytes": sum(tensor_bytes(op.output) for op in computed),
        "largest_tensor_bytes": max((tensor_bytes(op.output) for op in computed), default=0),
        "subgraphs": dict(sorted(Counter(str(part.get("device", "")) for part in _parts(graph)).items())),
        "workload": _sum(parts, "workload"),
        "workload_on_arch": _sum(parts, "workload_on_arch"),
    }


def _of_const(graph: Graph, op: Op) -> bool:
    """A `fix` of a constant puts parameters on their grid once; it makes no tensor an image."""
    return op.type == "fix" and all(graph.op(name).is_const for name in op.input_names)


def _blob(part: Subgraph) -> int:
    blobs = part.get("reg_id_to_parameter_value")
    return (
        sum(len(data) for data in blobs.values() if isinstance(data, bytes | memoryview))
        if isinstance(blobs, Mapping)
        else 0
    )


def _sum(parts: Iterable[Subgraph], name: str) -> int:
    return sum(value for part in parts if isinstance(value := part.get(name), int))


def _subgraph(graph: Graph, node: Subgraph) -> dict[str, Any]:
    children = [_subgraph(graph, child) for child in node.children]
    types = Counter(graph.op(name).type for name in node.ops)
    for child in children:
        types.update(child["op_types"])
    return {
        "name": node.name,
        "device": str(node.get("device", "")),
        "op_count": types.total(),
        "op_types": dict(sorted(types.items())),
        "attributes": _attributes(node.attrs),
        "ops": list(node.ops),
        "children": children,
    }


def _attributes(attrs: Attrs) -> dict[str, Any]:
    return {name: plain(attr.value) for name, attr in sorted(attrs.items())}
