"""The layers of a quantized network, each cut out as a graph of its own that can be run alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from quantize.execute import forward
from quantize.kernels import NCHW_OPS
from xmodel.graph import Graph, Op, attrs
from xmodel.graph import Tensor as XTensor

_PASSIVE = frozenset({"const", "fix", "stack", "data"})
_NCHW = frozenset(NCHW_OPS.values())


@dataclass(frozen=True, slots=True)
class Layer:
    """One quantized activation and what computes it.

    `fix` quantizes the result of `producer`, which has the same name in the float graph. `ops` are
    the operations between it and the layer's inputs, in order. `part` computes `producer` and `fix`
    from `inputs`: names of quantized tensors (of a `fix`, or of the network's input), each mapped to
    the float graph's op that holds the same tensor unquantized.
    """

    fix: Op
    producer: Op
    ops: tuple[Op, ...]
    inputs: Mapping[str, str]
    part: Graph


def layers(quantized: Graph, float_graph: Graph) -> tuple[Layer, ...]:
    """The layers of `quantized` in execution order.

    A layer is a `fix` of an activation that `float_graph` has too, with everything back to the `fix`
    ops before it: convolution, bias and ReLU are one layer, and so are a concat and the transposed
    convolution that only it reads. A `fix` inside such a group (hard-swish has one) makes no layer.
    """
    fixes = {
        op.name: quantized.op(op.inputs["input"][0])
        for op in quantized.ops
        if op.type == "fix" and op.inputs["input"][0] in float_graph.by_name
    }
    activations = {name: producer for name, producer in fixes.items() if not producer.is_const}
    return tuple(_layer(quantized, quantized.op(name), producer, activations) for name, producer in activations.items())


def _layer(graph: Graph, fix: Op, producer: Op, activations: Mapping[str, Op]) -> Layer:
    stops = activations.keys() - {fix.name}
    names = upstream(graph, [fix.name], stops)
    inputs = {op.name: activations[op.name].name for op in graph.ops if op.name in names and op.name in stops}
    inputs |= {op.name: op.name for op in graph.ops if op.name in names and op.type == "data"}
    ops = tuple(op for op in graph.ops if op.name in names and op.type not in _PASSIVE)
    return Layer(fix, producer, ops, inputs, cut(graph, names, inputs, [producer.name, fix.name]))


def upstream(graph: Graph, ends: Iterable[str], stops: Collection[str] = ()) -> frozenset[str]:
    """`ends` and every op that they depend on, back to `stops`, which are included and not passed."""
    found: set[str] = set()
    waiting = list(ends)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += () if name in stops else graph.op(name).input_names
    return frozenset(found)


def downstream(graph: Graph, starts: Iterable[str]) -> frozenset[str]:
    """Every op that depends on one of `starts`, without these."""
    begun = set(starts)
    found: set[str] = set()
    for op in graph.ops:
        if op.name not in begun and any(name in begun or name in found for name in op.input_names):
            found.add(op.name)
    return frozenset(found)


def cut(graph: Graph, names: Collection[str], given: Collection[str], ends: Iterable[str]) -> Graph:
    """The ops `names` as a graph that returns `ends`; those of them that are `given` become its inputs."""
    ops = [_input(op) if op.name in given else op for op in graph.ops if op.name in names]
    return Graph(graph.name, tuple(ops)).with_attrs(return_ops=list(ends))


def _input(op: Op) -> Op:
    return Op(op.name, "data", {}, attrs(shape=list(op.output.shape)), XTensor(op.name, op.output.shape))


def suffix(graph: Graph, name: str) -> Graph:
    """What remains to be computed of `graph`'s outputs when the result of `name` changes.

    Its inputs are `name` and the tensors of other branches; an output that does not depend on `name`
    is not among its outputs.
    """
    changed = downstream(graph, [name])
    ends = [op.name for op in graph.outputs if op.name in changed or op.name == name]
    varying = {op.name for op in graph.inputs} | downstream(graph, [op.name for op in graph.inputs])
    stops = (varying - changed) | {name}
    names = upstream(graph, ends, stops)
    return cut(graph, names, names & stops, ends)


def as_float(quantized: Graph, name: str, x: Tensor) -> Tensor:
    """The result of `quantized`'s op `name` (a `fix` or what it reads), its axes as in the float graph."""
    return x.permute(0, 2, 3, 1).contiguous() if _moved(quantized, name, x) else x


def as_quantized(quantized: Graph, name: str, x: Tensor) -> Tensor:
    """The reverse of `as_float`."""
    return x.permute(0, 3, 1, 2).contiguous() if _moved(quantized, name, x) else x


def _moved(graph: Graph, name: str, x: Tensor) -> bool:
    """Float ops of the CPU stand between transposes in the vendor's form: their results are N, C, H, W to XIR."""
    op = graph.op(name)
    producer = graph.op(op.inputs["input"][0]) if op.type == "fix" else op
    return x.ndim == 4 and producer.type in _NCHW


def run(graph: Graph, constants: Mapping[str, Tensor], known: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The outputs of a `cut` graph, its inputs taken from `known` (NCHW float32 tensors by op name)."""
    return forward(graph, constants, {op.name: known[op.name] for op in graph.inputs})
