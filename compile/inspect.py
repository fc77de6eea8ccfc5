"""Inspection: where every op of a network will run on a target, and what keeps it from the DPU. Nothing is written.

Takes a quantized graph (float ops and `fix`) or a compiled one; the placement is that of `compile_graph`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from arch.targets import Target, targets
from compile.edit import redirect
from compile.fold import check_shapes
from compile.lower import lower
from compile.partition import Group, devices, group
from compile.rules import explain, reasons, short_name
from xmodel.check import check
from xmodel.errors import ArtifactError
from xmodel.graph import Graph, Op

IDLE = "it only moves data between ops of the CPU"
_GATES = {"HSIGMOID", "HSWISH"}
_GATED = ("hard-sigmoid", "hard-swish")


@dataclass(frozen=True, slots=True)
class Placed:
    """One op of the inspected graph.

    `device` is "USER", "DPU" or "CPU"; `layer` the op, of type `becomes`, that it turns into or is fused into; `rule`,
    `rewrite` and `takers` (target names) say why it is not on the DPU; `source` is its line of PyTorch code, ""
    where unknown.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    device: str
    layer: str
    becomes: str
    rule: str = ""
    rewrite: str = ""
    takers: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """A predicted subgraph: its device, the name that it will carry, how many ops of each type."""

    device: str
    name: str
    ops: dict[str, int]


@dataclass(frozen=True, slots=True)
class Variant:
    """How another design of the same kind would cut the network; `cpu_layers` counts what computes on its host."""

    target: str
    dpu_subgraphs: int
    cpu_layers: int


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a target makes of a network; `variants` holds every design of its kind, the target itself included."""

    model: str
    target: str
    batch: int
    ops: tuple[Placed, ...]
    subgraphs: tuple[Part, ...]
    variants: tuple[Variant, ...]
    notes: tuple[str, ...] = ()

    @property
    def dpu_subgraphs(self) -> int:
        """How many subgraphs run on the DPU."""
        return sum(part.device == "DPU" for part in self.subgraphs)

    @property
    def problems(self) -> tuple[Placed, ...]:
        """The ops that have a reason not to run on the DPU."""
        return tuple(op for op in self.ops if op.rule)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "dpu_subgraphs": self.dpu_subgraphs}


def inspect(graph: Graph, target: Target) -> Inspection:
    """Place every op of `graph` on `target`. Raises `ArtifactError` for a float graph or a damaged one."""
    lowered = Lowered(graph)
    integer = lowered.on(target)
    device = devices(integer, reasons(integer, target))
    return Inspection(
        model=graph.name,
        target=target.name,
        batch=target.batch,
        ops=tuple(_rows(graph if is_quantized_graph(graph) else integer, integer, device, target)),
        subgraphs=tuple(_part(integer, found) for found in group(integer, device)),
        variants=tuple(_variant(lowered.on(t), t) for t in targets() if t.type == target.type),
        notes=tuple(graph.get("__notes", ())),
    )


class Lowered:
    """One graph, lowered for several targets; they differ only in the gates that they compute behind a convolution."""

    def __init__(self, graph: Graph) -> None:
        """Raises `ArtifactError` for a graph that is neither quantized nor compiled."""
        self.graph = graph
        self._integer = is_integer(graph)
        if not self._integer and not is_quantized_graph(graph):
            raise ArtifactError(
                f"Graph {graph.name!r} holds neither fix ops nor integer ops: it is not quantized.",
                hint="Give the _int.xmodel that quantization wrote, or a network with --model, --module or --program.",
            )
        self._gated = any(op.type in _GATED for op in graph.ops)
        self._done: dict[frozenset[str], Graph] = {}

    def on(self, target: Target) -> Graph:
        """The integer graph for `target`, without transfers."""
        gates = frozenset(_GATES & {name.upper() for name in target.conv.activations}) if self._gated else frozenset()
        if gates not in self._done:
            self._done[gates] = without_transfers(self.graph) if self._integer else lower(self.graph, gates)
        return self._done[gates]


def is_integer(graph: Graph) -> bool:
    """True for a lowered or compiled graph."""
    return any(op.type.endswith("-fix") or op.type in ("upload", "download") for op in graph.ops)


def is_quantized_graph(graph: Graph) -> bool:
    """True for the output of a quantizer: float ops and `fix`."""
    return not is_integer(graph) and any(op.type == "fix" for op in graph.ops)


def without_transfers(graph: Graph) -> Graph:
    """A compiled `graph` without uploads and downloads: as it was before it was cut."""
    names: dict[str, str] = {}
    ops: list[Op] = []
    for op in check_shapes(check(graph)).ops:
        if op.type in ("upload", "download") and op.input_names:
            source = op.input_names[0]
            names[op.name] = names.get(source, source)
        else:
            ops.append(redirect(op, names))
    returned = [names.get(name, name) for name in graph.get("return_ops", ())]
    bare = replace(graph, root=None).with_ops(ops)
    return bare.with_attrs(return_ops=returned) if returned else bare


def _rows(graph: Graph, integer: Graph, device: Mapping[str, str], target: Target) -> Iterator[Placed]:
    homes = _layers(graph, integer)
    told: set[str] = set()
    for op in graph.ops:
        if op.is_const or op.type in ("fix", "fix2float", "float2fix"):
            continue
        layer = homes.get(op.name)
        if layer is None:
            continue
        place = device[layer.name]
        row = Placed(op.name, op.type, op.output.shape, place, layer.name, layer.type, source=_source(graph, op))
        if place == "CPU" and layer.name not in told and (layer.name == op.name or layer.name not in graph.by_name):
            told.add(layer.name)
            broken = explain(integer, layer, target)
            rule, rewrite, takers = (broken.rule, broken.rewrite, broken.takers) if broken else (IDLE, "", ())
            row = replace(row, rule=rule, rewrite=rewrite, takers=tuple(t.name for t in takers))
        yield row


def _source(graph: Graph, op: Op) -> str:
    """The op's line of code; helpers that the quantizer wrote have that of the op they serve."""
    readers = [o for reader in graph.fanout[op.name] for o in (reader, *graph.fanout[reader.name])]
    sources = [o for name in op.input_names for o in (graph.op(name), *map(graph.op, graph.op(name).input_names))]
    near = [op, *(o for o in (*readers, *sources) if o.type != "fix")]
    return next((str(found) for other in near if (found := other.get("__source"))), "")


def _layers(graph: Graph, integer: Graph) -> dict[str, Op]:
    """The op of `integer` that each op of `graph` becomes or is fused into; ops that vanish are left out."""
    made = {op.name.removesuffix("(TransferMatMulToConv2d)"): op for op in integer.ops if not op.is_const}
    # A fused op carries the tensor of the fix that ended its chain.
    tensors = {op.output.name.removesuffix("(MoveReshape)"): op for op in integer.ops if not op.is_const}
    found: dict[str, Op] = {}
    for op in reversed(graph.ops):
        home = made.get(op.name) or (tensors.get(op.name) if op.type == "fix" else None)
        if home is None:
            home = next((found[reader.name] for reader in graph.fanout[op.name] if reader.name in found), None)
        if home is not None:
            found[op.name] = home
    return found


def _part(graph: Graph, found: Group) -> Part:
    types = Counter(graph.op(name).type for name in found.ops)
    return Part(found.device, f"subgraph_{found.ops[0]}", dict(sorted(types.items())))


def _variant(graph: Graph, target: Target) -> Variant:
    broken = reasons(graph, target)
    device = devices(graph, broken)
    casts = ("fix2float", "float2fix", "fix")
    host = sum(place == "CPU" and graph.op(name).type not in casts for name, place in device.items())
    return Variant(short_name(target), sum(part.device == "DPU" for part in group(graph, device)), host)
