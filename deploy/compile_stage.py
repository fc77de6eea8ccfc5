"""Stage `compile`: a quantized graph becomes a deployable one for a target, with a report of what runs where."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.console import Output
from deploy.files import quantized_file
from deploy.report import provenance, write_html
from xmodel import artifact
from xmodel.graph import Graph

REPORT, PAGE = "compile_report.json", "compile_report.html"


@dataclass(frozen=True, slots=True)
class CompileJob:
    """Compile `quantized` (a file, or the folder of the quantize stage) for `target` into `out`/`name`.xmodel."""

    quantized: Path
    target: str
    out: Path
    name: str | None = None


def compile_stage(job: CompileJob, out: Output) -> dict[str, Any]:
    """Run the stage unless it is up to date; returns its report, with `ran` saying which."""
    from arch.targets import find

    source = quantized_file(job.quantized)
    target = find(job.target)
    name = job.name or source.stem.removesuffix("_int")
    wanted = artifact.record("compile", {source.name: artifact.sha256(source)}, {"target": target.name, "name": name})

    def work() -> list[str]:
        from compile.pipeline import compile_graph, summarize, write_package
        from xmodel import file

        out.note(f"Compiling {source} for {target.name} …")
        start = time.perf_counter()
        compiled = compile_graph(file.read(source), target, _md5(source))
        files = write_package(compiled, job.out, name)
        report = {
            "model": name,
            "target": target.name,
            "batch": target.batch,
            "xmodel": str(job.out / f"{name}.xmodel"),
            "subgraphs": _subgraphs(compiled),
            "summary": summarize(compiled, target).as_dict(),
            "seconds": time.perf_counter() - start,
        }
        artifact.write_json(job.out / REPORT, report)
        write_html(job.out / PAGE, "compile.html.j2", r=report, provenance=provenance(wanted), record=wanted)
        return [*files, REPORT, PAGE]

    ran = artifact.run_stage(job.out, wanted, work)
    return {**artifact.read_json(job.out / REPORT), "ran": ran}


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _subgraphs(graph: Graph) -> list[dict[str, Any]]:
    children = graph.root.children if graph.root else ()
    return [
        {
            "name": child.name,
            "device": str(child.get("device", "")),
            "ops": dict(sorted(Counter(graph.op(name).type for name in child.all_ops()).items())),
        }
        for child in children
    ]
