"""Where fix neurons go: which tensors of a float graph are quantized, by the vendor's grouping rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from xmodel.graph import Graph, Op

# spec: vai_q_pytorch 3.5, QUANTIZABLE_OPS
_QUANTIZABLE = frozenset({
    "data", "conv2d", "depthwise-conv2d", "transposed-conv2d", "transposed-depthwise-conv2d", "matmul",
    "add", "sub", "mul", "div", "concat", "maxpool2d", "avgpool2d", "resize", "pad", "scale", "softmax",
    "hard-sigmoid", "hard-swish", "gelu", "reduction_max", "reduction_sum",
    "nndct_group_norm", "nndct_instance_norm", "nndct_mish", "nndct_prelu", "nndct_sqrt",
})  # fmt: skip
# Glued to their parent when they are its only reader: one fix for the group, at its last member.
_GLUED = frozenset({
    "relu", "relu6", "leaky-relu", "nndct_hardtanh", "reshape", "pixel-shuffle", "strided_slice", "transpose",
})  # fmt: skip
# They move values without changing them: no fix of their own, the one before them holds.
_MEMORY = frozenset({"reshape", "pixel-shuffle", "strided_slice"})


def only_moves(op: Op) -> bool:
    """Whether `op` hands values on under their producer's fix; so does a transpose between layouts."""
    return op.type in _MEMORY or (op.type == "transpose" and op.get("__kind") is None)


@dataclass(frozen=True, slots=True)
class Plan:
    """Names of the activations that get a fix, and of the parameters that do."""

    activations: frozenset[str]
    parameters: frozenset[str]
    fixed_by: Mapping[str, str]  # op -> the activation whose fix holds for its result


def plan(graph: Graph) -> Plan:
    """Place fix neurons on `graph` (float, batch norms folded)."""
    fixed_by: dict[str, str] = {}
    activations: set[str] = set()
    parameters: set[str] = set()
    returned = {op.name for op in graph.outputs}
    for op in graph.ops:
        if op.type not in _QUANTIZABLE:
            continue
        parameters.update(name for name in op.input_names if graph.op(name).is_const)
        end = _group_end(graph, op)
        reader = _only_reader(graph, end)
        if reader is not None and reader.type == "concat" and end.name not in returned:
            fixed_by[op.name] = fixed_by[end.name] = reader.name
        else:
            activations.add(end.name)
            fixed_by[op.name] = fixed_by[end.name] = end.name
    for op in graph.ops:  # a float op that feeds a quantized one is quantized too
        if op.type in _QUANTIZABLE and op.type != "data":
            for name in op.input_names:
                producer = _source(graph, graph.op(name))
                if not producer.is_const and producer.name not in fixed_by and not producer.get("__unquantized"):
                    reader = _only_reader(graph, producer)
                    owner = reader.name if reader is not None and reader.type == "concat" else producer.name
                    fixed_by[producer.name] = owner
                    if owner == producer.name:
                        activations.add(owner)
    for op in graph.ops:
        if op.name not in fixed_by and only_moves(op):
            source = _source(graph, op)
            if source.name in fixed_by:
                fixed_by[op.name] = fixed_by[source.name]
    return Plan(frozenset(activations), frozenset(parameters), MappingProxyType(fixed_by))


def _only_reader(graph: Graph, op: Op) -> Op | None:
    """The op that reads `op` when exactly one does, once (concat([x, x]) reads x twice)."""
    readers = graph.fanout[op.name]
    return readers[0] if len(readers) == 1 and readers[0].input_names.count(op.name) == 1 else None


def _group_end(graph: Graph, op: Op) -> Op:
    """Follow glued readers as long as each is the only one, then step back over those that only move values."""
    end, chain = op, [op]
    while (reader := _only_reader(graph, end)) is not None and reader.type in _GLUED:
        end = reader
        chain.append(end)
    while only_moves(end) and end is not op:
        chain.pop()
        end = chain[-1]
    return end


def _source(graph: Graph, op: Op) -> Op:
    """The op whose values `op` hands on."""
    while only_moves(op):
        op = graph.op(op.inputs["input"][0])
    return op


def keys(graph: Graph) -> Mapping[str, str]:
    """The vendor's node key of every op: `Model::nndct_<type>_<index>`, constants counted first.

    Its float ops are `Model::aten_<type>_<index>`. `__skip` counts nodes of its graph that have no op here.
    """
    nodes = [op for op in graph.ops if op.get("__kind") == "const"]
    nodes += [op for op in graph.ops if op.get("__kind") not in (None, "const")]
    found: dict[str, str] = {}
    index = 0
    for op in nodes:
        index += int(op.get("__skip", 0))
        kind = str(op.get("__kind"))
        found[op.name] = f"{graph.name}::{kind if kind.startswith('aten_') else f'nndct_{kind}'}_{index}"
        index += 1
    return found
