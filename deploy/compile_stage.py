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
from deploy.roofline import roofline
from xmodel import artifact
from xmodel.graph import Graph

REPORT, PAGE = "compile_report.json", "compile_report.html"


@dataclass(frozen=True, slots=True)
class CompileJob:
    """Compile `quantized` (a file, or the folder of the quantize stage) for `target` into `out`/`name`.xmodel.

    `golden` embeds a run of the quantized file's golden image, or of noise where it has none.
    """

    quantized: Path
    target: str
    out: Path
    name: str | None = None
    golden: bool = False


def compile_stage(job: CompileJob, out: Output) -> dict[str, Any]:
    """Run the stage unless it is up to date; returns its report, with `ran` saying which."""
    from arch.targets import find

    source = quantized_file(job.quantized)
    target = find(job.target)
    name = job.name or source.stem.removesuffix("_int")
    arguments = {"target": target.name, "name": name, **({"golden": True} if job.golden else {})}
    wanted = artifact.record("compile", {source.name: artifact.sha256(source)}, arguments)

    def work() -> list[str]:
        from compile.pipeline import compile_graph, summarize, write_package
        from deploy.estimates import estimate
        from xmodel import file

        out.note(f"Compiling {source} for {target.name} …")
        start = time.perf_counter()
        quantized = file.read(source)
        compiled = compile_graph(quantized, target, _md5(source))
        if job.golden:
            compiled = _with_golden(quantized, compiled, out)
        files = write_package(compiled, job.out, name)
        report = {
            "model": name,
            "target": target.name,
            "batch": target.batch,
            "xmodel": str(job.out / f"{name}.xmodel"),
            "subgraphs": _subgraphs(compiled),
            "summary": summarize(compiled, target).as_dict(),
            "estimate": estimate(compiled, target),
            "seconds": time.perf_counter() - start,
        }
        artifact.write_json(job.out / REPORT, report)
        rows, picture = provenance(wanted), _picture(report["estimate"])
        write_html(job.out / PAGE, "compile.html.j2", r=report, provenance=rows, record=wanted, roofline=picture)
        return [*files, REPORT, PAGE]

    ran = artifact.run_stage(job.out, wanted, work)
    return {**artifact.read_json(job.out / REPORT), "ran": ran}


def _with_golden(quantized: Graph, compiled: Graph, out: Output) -> Graph:
    from deploy.golden import against, carried, record

    out.note("Recording the golden run with the emulator's reference …")
    recorded = record(compiled, *carried(quantized, compiled))
    if differing := against(quantized, recorded)["differing"]:
        out.warn(f"{len(differing)} tensors are not the quantized graph's, the first {differing[0]}.")
    return recorded


def _picture(estimate: dict[str, Any]) -> str:
    """The roofline, or nothing for a target whose speed is not known."""
    if estimate["usable_tops"] is None or estimate["ddr_gb_s"] is None or not estimate["layers"]:
        return ""
    return roofline(estimate["layers"], estimate["usable_tops"], estimate["ddr_gb_s"])


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
