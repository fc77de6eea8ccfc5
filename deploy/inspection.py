"""`inspect`: a network in any form, placed on a target and explained for a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compile.inspect import Inspection, Placed, inspect, is_integer, is_quantized_graph
from deploy.console import Output
from deploy.files import quantized_file
from deploy.sources import ImageOptions, NetworkOptions
from xmodel.errors import UsageError
from xmodel.graph import Graph

if TYPE_CHECKING:
    from rich.table import Table

ASSUMED = (
    "Not quantized yet: fixes are assumed where quantization will put them. Which op runs where does not depend on "
    "their positions, save that relu6 needs fix point 4 or above."
)


@dataclass(frozen=True, slots=True)
class InspectJob:
    """Inspect `file`, or else the network of `network` with images as `images` says, for `target`."""

    target: str
    file: Path | None = None
    network: NetworkOptions = field(default_factory=NetworkOptions)
    images: ImageOptions = field(default_factory=ImageOptions)


def run(job: InspectJob, out: Output) -> tuple[Inspection, bool]:
    """The inspection, and whether its fixes are assumed. Raises `UnmaskError` for what cannot be read or captured."""
    from arch.targets import find

    target = find(job.target)
    graph = _graph(job, out)
    plain = not (is_integer(graph) or is_quantized_graph(graph))
    if plain:
        from quantize.assume import assumed

        graph = assumed(graph)
    return inspect(graph, target), plain


def _graph(job: InspectJob, out: Output) -> Graph:
    options = job.network
    named = any(value is not None for value in (options.model, options.module, options.program))
    if job.file is None:
        if not named:
            raise UsageError(
                "Nothing to inspect was named.", hint="Give a .xmodel, or --model, --module net.py:Net or --program."
            )
        source = options.source(job.images, None)
        out.note(f"Capturing {source.title} …")
        return source.graph()
    if named or options.weights is not None or options.seed is not None or job.images.given:
        raise UsageError("A file and the options of a network exclude each other.", where=str(job.file))
    from xmodel import file

    return file.read(quantized_file(job.file))


def as_data(found: Inspection, assumed: bool) -> dict[str, Any]:
    """For `--json`."""
    return {**found.as_dict(), "assumed": assumed}


def headline(found: Inspection) -> str:
    """How much of it runs on the DPU."""
    own = [op for op in found.ops if op.device != "USER"]
    count = sum(op.device == "DPU" for op in own)
    parts = f"{found.dpu_subgraphs} subgraph{'' if found.dpu_subgraphs == 1 else 's'}"
    return f"{found.model} for {found.target}: {count} of {len(own)} ops run on the DPU, in {parts}."


def placement(found: Inspection) -> Table:
    """Every layer with what is fused into it, its device, and its line of code."""
    from rich.table import Table

    table = Table("layer", "ops", "result", "device", "code")
    for row, types in _by_layer(found.ops):
        table.add_row(
            short(row.name, found.model), " + ".join(types), "x".join(map(str, row.shape[1:])), row.device, row.source
        )
    return table


def _by_layer(ops: Sequence[Placed]) -> Iterator[tuple[Placed, list[str]]]:
    """The first op of each layer with the types of all of its ops, in order."""
    layers: dict[str, list[Placed]] = {}
    for op in ops:
        layers.setdefault(op.layer, []).append(op)
    for members in layers.values():
        named = next((op for op in members if op.name == op.layer), members[0])
        yield named, [op.type for op in members]


def explanations(found: Inspection) -> list[str]:
    """A paragraph for each op with a reason, what it breaks, what to write instead, who takes it."""
    from arch.targets import find
    from compile.rules import short_name

    told: list[str] = []
    for op in found.problems:
        lines = [f"{short(op.name, found.model)} ({op.becomes}{', ' + op.source if op.source else ''})", f"  {op.rule}"]
        if op.rewrite:
            lines.append(f"  instead: {op.rewrite}")
        if op.takers:
            lines.append(f"  taken by: {', '.join(short_name(find(name)) for name in op.takers)}")
        told.append("\n".join(lines))
    return told


def subgraphs(found: Inspection) -> Table:
    """The predicted subgraphs, in order."""
    from rich.table import Table

    table = Table("predicted subgraph", "device", "ops")
    for part in found.subgraphs:
        name = short(part.name.removeprefix("subgraph_"), found.model)
        table.add_row(name, part.device, ", ".join(f"{n} {kind}" for kind, n in part.ops.items()))
    return table


def variants(found: Inspection) -> Table:
    """How each design of the same kind would cut the network."""
    from rich.table import Table

    table = Table("design", "DPU subgraphs", "ops on its host")
    for item in found.variants:
        table.add_row(item.target, str(item.dpu_subgraphs), str(item.cpu_layers))
    return table


def short(name: str, model: str) -> str:
    """An op's name without the model's, which the vendor's scheme puts before it twice.

    >>> short("Net__Net_Conv2d_first__12", "Net")
    'Conv2d_first__12'
    """
    return name.removeprefix(f"{model}__").removeprefix(f"{model}_")
