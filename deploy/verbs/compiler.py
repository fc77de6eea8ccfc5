"""`unmask compile`: a quantized graph becomes a deployable one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.console import Json, Output, Quiet


def compile_(
    context: typer.Context,
    quantized: Annotated[Path, typer.Argument(help="<Name>_int.xmodel, or the folder that holds it.")] = Path(
        "build/quantize"
    ),
    target: Annotated[str, typer.Option(help="Name, alias or fingerprint; default: the VCK5000's 8PE.")] = "",
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("build/compile"),
    name: Annotated[str | None, typer.Option(help="Name of the .xmodel; default: the model's.")] = None,
    golden: Annotated[
        bool, typer.Option("--golden", help="Embed an image and every tensor it leads to, for `unmask xmodel verify`.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a quantized graph deployable on a target.

    Lowers to integer ops and partitions; writes NAME.xmodel, meta.json and md5sum.txt.
    """
    from rich.table import Table

    from arch.targets import DEFAULT
    from deploy.compile_stage import CompileJob, compile_stage

    output = Output.of(context, json, quiet)
    report = compile_stage(CompileJob(quantized, target or DEFAULT, out, name, golden), output)
    table = Table("subgraph", "device", "ops")
    for item in report["subgraphs"]:
        table.add_row(item["name"], item["device"], ", ".join(f"{n} {kind}" for kind, n in item["ops"].items()))
    state = f"{report['seconds']:.1f} s" if report["ran"] else "up to date"
    output.result(
        report,
        f"Compiled for {report['target']} ({state}): {report['xmodel']}",
        table,
        f"Report: {out / 'compile_report.html'}",
    )
