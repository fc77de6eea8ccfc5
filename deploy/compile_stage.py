"""Stage `compile`: a quantized graph becomes a deployable one for a target, with a report of what runs where."""

from __future__ import annotations

import hashlib
import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from deploy.console import Output
from deploy.files import quantized_file
from deploy.report import provenance, write_html
from deploy.roofline import roofline
from xmodel import artifact
from xmodel.errors import UsageError
from xmodel.graph import Graph

if TYPE_CHECKING:
    from arch.targets import Target
    from compile.vitis.find import Compiler

Backend = Literal["auto", "unmask", "vitis"]
REPORT, PAGE = "compile_report.json", "compile_report.html"


@dataclass(frozen=True, slots=True)
class CompileJob:
    """Compile `quantized` (a file, or the folder of the quantize stage) for `target` into `out`/`name`.xmodel.

    `golden` embeds a run of the quantized file's golden image, or of noise where it has none.
    `backend` "auto" takes the vendor's compiler where there is one: `compiler`, or what a search finds. `options` are
    those of the vendor's `-e`.
    """

    quantized: Path
    target: str
    out: Path
    name: str | None = None
    golden: bool = False
    backend: Backend = "auto"
    compiler: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)


def compile_stage(job: CompileJob, out: Output) -> dict[str, Any]:
    """Run the stage unless it is up to date; returns its report, with `ran` saying which."""
    from arch.targets import find

    source = quantized_file(job.quantized)
    target = find(job.target)
    name = _name(job.name or source.stem.removesuffix("_int"))
    compiler = _compiler(job)
    wanted = _record(job, source, target.name, name, compiler)

    def work() -> list[str]:
        from compile.pipeline import summarize
        from deploy.estimates import estimate

        out.note(f"Compiling {source} for {target.name} with {compiler or 'unmask'} …")
        start = time.perf_counter()
        files, compiled, notes = (
            _own(job, source, target, name, out)
            if compiler is None
            else _vendor(job, source, target, name, compiler, out)
        )
        report: dict[str, Any] = {
            "model": name,
            "target": target.name,
            "batch": target.batch,
            "xmodel": str(job.out / f"{name}.xmodel"),
            "backend": "unmask" if compiler is None else "vitis",
            "compiler": None if compiler is None else str(compiler),
            "emulator_only": compiler is None,
            "notes": notes,
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


def _name(text: str) -> str:
    if not re.fullmatch(r"\w[^/\x00-\x1f\x7f]{0,199}", text):
        raise UsageError(
            f"{text!r} cannot be the name of a file.", hint="Begin with a letter or a digit, and leave out slashes."
        )
    return text


def _compiler(job: CompileJob) -> Compiler | None:
    """The vendor's compiler that is to be used, None for our own."""
    from compile.vitis.find import candidates, find

    if job.backend == "unmask":
        if job.compiler is not None:
            raise UsageError("--vitis-compiler names a compiler that --backend unmask does not use.")
        return None
    wanted = job.backend == "vitis" or job.compiler is not None
    found = find(job.compiler) if wanted else next(candidates(), None)
    if found is not None and job.golden:
        raise UsageError(
            f"A golden run cannot be embedded in what {found} writes.",
            hint="Leave --golden out, or use --backend unmask.",
        )
    return found


def _record(job: CompileJob, source: Path, target: str, name: str, compiler: Compiler | None) -> dict[str, Any]:
    inputs = {source.name: artifact.sha256(source)}
    arguments: dict[str, Any] = {"target": target, "name": name, "backend": str(compiler or "unmask")}
    if compiler is not None and not compiler.image:
        inputs["compiler"] = artifact.sha256(compiler.program)
    arguments |= {"options": dict(job.options)} if job.options else {}
    arguments |= {"golden": True} if job.golden else {}
    return artifact.record("compile", inputs, arguments)


def _own(job: CompileJob, source: Path, target: Target, name: str, out: Output) -> tuple[list[str], Graph, list[str]]:
    """(files, compiled graph, notes) of our own compiler."""
    from compile.options import apply_options
    from compile.pipeline import compile_graph, write_package
    from xmodel import file

    graph, notes = apply_options(file.read(source), job.options)
    compiled = compile_graph(graph, target, _md5(source))
    if job.golden:
        compiled = _with_golden(graph, compiled, out)
    return write_package(compiled, job.out, name), compiled, notes


def _vendor(
    job: CompileJob, source: Path, target: Target, name: str, compiler: Compiler, out: Output
) -> tuple[list[str], Graph, list[str]]:
    """(files, compiled graph, notes) of the vendor's compiler."""
    from compile.inspect import inspect
    from compile.pipeline import dpu_subgraphs
    from compile.vitis.backend import VitisJob, compile_with_vitis
    from xmodel import file

    made = compile_with_vitis(VitisJob(source, target, job.out, name, job.options), compiler, out.note)
    predicted, found = inspect(file.read(source), target).dpu_subgraphs, len(dpu_subgraphs(made.graph))
    notes = list(made.notes)
    if predicted != found:
        notes.append(f"`unmask inspect` predicts {predicted} DPU subgraphs; the vendor's compiler made {found}.")
    return made.files, made.graph, notes


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
