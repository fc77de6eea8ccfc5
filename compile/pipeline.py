"""The compile stage: a quantized graph becomes a deployable one for a target, and a package of files."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from arch.targets import Target
from compile.estimate import cost, total
from compile.lower import lower
from compile.partition import partition
from compile.rules import reasons
from xmodel import artifact, file, golden
from xmodel.check import check
from xmodel.errors import ArtifactError
from xmodel.graph import Graph, Subgraph

EMULATOR_ONLY = "unmask_emulator_only"
VERSION = "unmask_version"


@dataclass(frozen=True, slots=True)
class CpuOp:
    """An op that the DPU does not run, and the rule it breaks."""

    name: str
    type: str
    reason: str


@dataclass(frozen=True, slots=True)
class Summary:
    """What a compiled graph holds: workloads in operations an image, parameters in padded bytes on the device.

    `ops` counts the ops of each device, constants left out. The work is that of the DPU subgraphs.
    """

    target: str
    subgraphs: int
    dpu_subgraphs: int
    ops: dict[str, int]
    cpu_ops: tuple[CpuOp, ...]
    workload: int
    workload_on_arch: int
    parameter_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def compile_graph(graph: Graph, target: Target, source_md5: str = "") -> Graph:
    """`graph` (the quantizer's: float ops and `fix`) lowered, placed and partitioned for `target`.

    The result holds its parameters and no machine code, which graph attribute `unmask_emulator_only` says; the
    source's graph attributes stay, save a golden run, which is the source's own; its `return_ops` name the ops of the
    compiled graph. `source_md5` is the hex digest of the source file. Raises `ArtifactError` for a graph that is not
    a quantized one.
    """
    if any(op.type.endswith("-fix") or op.type == "upload" for op in graph.ops):
        raise ArtifactError(
            f"Graph {graph.name!r} holds integer ops: it is compiled already.",
            hint="Compile the _int.xmodel that quantization wrote.",
        )
    if not any(op.type == "fix" for op in graph.ops):
        raise ArtifactError(
            f"Graph {graph.name!r} holds no fix ops: it is not the output of a quantizer.",
            hint="Compile the _int.xmodel that quantization wrote.",
        )
    lowered = lower(golden.strip(graph), {name.upper() for name in target.conv.activations})
    compiled = check(partition(lowered, target, reasons(lowered, target)))
    return _described(compiled, source_md5)


def _described(graph: Graph, source_md5: str) -> Graph:
    version = "unknown"
    with suppress(metadata.PackageNotFoundError):
        version = metadata.version("unmask")
    values: dict[str, Any] = {EMULATOR_ONLY: True, VERSION: version}
    if source_md5:
        values["files_md5sum"] = {f"{graph.name}_int.xmodel": source_md5}
    if graph.get("origin") is None:
        values["origin"] = "pytorch"
    return graph.with_attrs(**values)


def summarize(graph: Graph, target: Target) -> Summary:
    """The summary of a compiled `graph`, with the rule that each op on the CPU breaks on `target`."""
    parts = dpu_subgraphs(graph)
    broken = reasons(graph, target)
    device = {name: str(part.get("device")) for part in _parts(graph) for name in part.all_ops()}
    ops = [op for op in graph.ops if not op.is_const]
    left = [op for op in ops if device.get(op.name) == "CPU"]
    idle = "it only moves data between ops of the CPU"
    work = total(cost(graph, graph.op(name), target.parallel) for part in parts for name in part.all_ops())
    return Summary(
        target=target.name,
        subgraphs=len(_parts(graph)),
        dpu_subgraphs=len(parts),
        ops=dict(sorted(Counter(device.get(op.name, "") for op in ops).items())),
        cpu_ops=tuple(CpuOp(op.name, op.type, broken.get(op.name, idle)) for op in left),
        workload=work.workload,
        workload_on_arch=work.workload_on_arch,
        parameter_bytes=work.parameter_bytes,
    )


def dpu_subgraphs(graph: Graph) -> tuple[Subgraph, ...]:
    """The subgraphs that run on the DPU, in order."""
    return tuple(part for part in _parts(graph) if part.get("device") == "DPU")


def _parts(graph: Graph) -> tuple[Subgraph, ...]:
    return graph.root.children if graph.root is not None else ()


def meta(graph: Graph, filename: str) -> dict[str, Any]:
    """The content of meta.json for a compiled graph with a DPU subgraph, in the vendor's keys.

    For a file of ours `compiler` says in addition what it is not.
    """
    parts = dpu_subgraphs(graph)
    values = {
        "lib": parts[0].get("runner", {}).get("run", ""),
        "filename": filename,
        "kernel": [part.name for part in parts],
        "target": parts[0].get("dpu_name"),
    }
    if graph.get(EMULATOR_ONLY):
        values["compiler"] = f"unmask {graph.get(VERSION)}: for the emulator, no machine code"
    return values


def write_package(graph: Graph, out: Path, name: str) -> list[str]:
    """Write `name`.xmodel, meta.json and md5sum.txt of a compiled graph into `out`; returns the file names.

    md5sum.txt holds the xmodel's digest alone. Raises `ArtifactError` for a graph without a DPU subgraph,
    `UnavailableError` when `out` cannot be written.
    """
    if not dpu_subgraphs(graph):
        raise ArtifactError(
            f"Graph {graph.name!r} has no DPU subgraph: nothing of it runs on the target.",
            hint="Look at the reason given for each op, or compile for another target.",
        )
    model = out / f"{name}.xmodel"
    file.write(model, graph)
    artifact.write_text(out / "meta.json", json.dumps(meta(graph, model.name), indent=4) + "\n")
    with model.open("rb") as stream:
        digest = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    artifact.write_text(out / "md5sum.txt", digest + "\n")
    return [model.name, "meta.json", "md5sum.txt"]
