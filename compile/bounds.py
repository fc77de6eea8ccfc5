"""How fast a target could at best be on a compiled graph: bounds by arithmetic, DDR and PCIe. Estimates, not promises.

No instruction is timed here. Each bound assumes that one resource is busy all the time and nothing else costs any:
what a card reaches lies below. `FORMULAS` says how each is computed, in words for a report.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from arch.targets import Target, targets
from compile.estimate import Cost, cost, total
from compile.inspect import without_transfers
from compile.partition import MOVES, partition
from compile.rules import reasons
from xmodel.graph import Graph, Op, Subgraph, Tensor

FORMULAS = {
    "compute": "usable operations a second of all engines / operations on the array for one image",
    "ddr": "DDR bytes a second / (parameters / batch + inputs + outputs + every map that does not fit an engine's "
    "feature memory, once written and once a reader)",
    "pcie": "PCIe bytes a second of one direction / the larger of inputs and outputs of the DPU, in int8",
}
LABEL = (
    "Estimates: upper bounds, computed from the graph and published figures of the card. Nothing here was measured. "
    "Published networks do 6 to 46 trillion operations a second on 8PE, whose bound is 60."
)
_SILENT = (*MOVES, "upload", "download")


@dataclass(frozen=True, slots=True)
class Layer:
    """A super-layer on the DPU, for one image: its work, padded parameter bytes, and bytes of maps read and written.

    `streamed` is the part of `map_bytes` that belongs to maps too large for an engine's feature memory.
    """

    name: str
    types: tuple[str, ...]
    shape: tuple[int, ...]
    work: Cost
    map_bytes: int
    streamed: int

    def seconds(self, target: Target) -> tuple[float, float] | None:
        """(computing, moving everything through DDR) one image at best; None for a target of unknown speed."""
        if target.usable_ops is None or target.memory is None:
            return None
        moved = self.map_bytes + self.work.parameter_bytes / target.batch
        return self.work.workload_on_arch / target.usable_ops, moved / target.memory.ddr_bandwidth


@dataclass(frozen=True, slots=True)
class Bounds:
    """Frames a second that a target cannot exceed on a graph; `work` is that of its DPU subgraphs for one image."""

    target: str
    batch: int
    dpu_subgraphs: int
    work: Cost
    compute: float
    ddr: float
    pcie: float

    @property
    def fps(self) -> float:
        """The lowest of the three."""
        return min(self.compute, self.ddr, self.pcie)

    @property
    def limit(self) -> str:
        """Which one that is."""
        return min(("compute", "ddr", "pcie"), key=lambda name: float(getattr(self, name)))


def layers(graph: Graph, target: Target) -> tuple[Layer, ...]:
    """The super-layers of a compiled graph's DPU subgraphs, in order; those that only move data are left out."""
    return tuple(layer for part in _dpu(graph) for node in part.children if (layer := _layer(graph, node, target)))


def bounds(graph: Graph, target: Target) -> Bounds | None:
    """The bounds of `graph`, compiled for `target`; None when the target's speed is not known or no DPU has work."""
    found, parts = layers(graph, target), _dpu(graph)
    work = total(layer.work for layer in found)
    if target.usable_ops is None or target.memory is None or not work.workload_on_arch:
        return None
    inputs, outputs = (sum(_transfers(graph, parts, kind)) for kind in ("upload", "download"))
    moved = work.parameter_bytes / target.batch + inputs + outputs + sum(layer.streamed for layer in found)
    return Bounds(
        target=target.name,
        batch=target.batch,
        dpu_subgraphs=len(parts),
        work=work,
        compute=target.usable_ops / work.workload_on_arch,
        ddr=target.memory.ddr_bandwidth / moved,
        pcie=target.memory.pcie_bandwidth / max(inputs, outputs, 1),
    )


def variants(graph: Graph, target: Target) -> tuple[Bounds, ...]:
    """The bounds of every design of `target`'s kind on the compiled `graph`, each with its own partition."""
    bare = without_transfers(graph)
    sisters = [t for t in targets() if t.type == target.type]
    found = (bounds(partition(bare, sister, reasons(bare, sister)), sister) for sister in sisters)
    return tuple(item for item in found if item is not None)


def _dpu(graph: Graph) -> list[Subgraph]:
    children = graph.root.children if graph.root is not None else ()
    return [part for part in children if part.get("device") == "DPU"]


def _layer(graph: Graph, node: Subgraph, target: Target) -> Layer | None:
    ops = [graph.op(name) for name in node.all_ops() if not graph.op(name).is_const]
    if not ops or all(op.type in _SILENT for op in ops):
        return None
    inside = {op.name for op in ops}
    read = dict.fromkeys(n for op in ops for n in op.input_names if n not in inside and not graph.op(n).is_const)
    maps = [graph.op(name).output for name in read]
    maps += [op.output for op in ops if any(reader.name not in inside for reader in graph.fanout[op.name])]
    held = math.inf if target.memory is None else target.memory.feature_bytes
    return Layer(
        name=next((op.name for op in ops if op.type not in _SILENT), ops[0].name),
        types=tuple(op.type for op in ops),
        shape=ops[-1].output.shape,
        work=total(cost(graph, op, target.parallel) for op in ops),
        map_bytes=sum(map(_bytes, maps)),
        streamed=sum(_bytes(tensor) for tensor in maps if _lines(tensor, target) > held),
    )


def _transfers(graph: Graph, parts: list[Subgraph], kind: str) -> Iterator[int]:
    ops: Iterator[Op] = (graph.op(name) for part in parts for name in part.all_ops())
    return (_bytes(op.output) for op in ops if op.type == kind)


def _bytes(tensor: Tensor) -> int:
    return math.prod(tensor.shape[1:])


def _lines(tensor: Tensor, target: Target) -> int:
    """Bytes on the chip, where a pixel takes whole lines of as many channels as the array reads at once."""
    step = target.parallel.input_channels
    return math.prod(tensor.shape[1:-1]) * -(-tensor.shape[-1] // step) * step
