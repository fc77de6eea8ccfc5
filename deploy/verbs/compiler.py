"""`unmask compile`: a quantized graph becomes a deployable one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from deploy.console import Json, Output, Quiet
from xmodel.errors import UsageError

_FOLDER = Path("build/quantize")
_EMULATOR = (
    "The file is for the emulator: it carries no machine code, so a card cannot run it. --backend vitis compiles for "
    "the card, where the vendor's compiler is installed."
)


def compile_(
    context: typer.Context,
    quantized: Annotated[
        Path | None, typer.Argument(help=f"<Name>_int.xmodel, or the folder that holds it; default: {_FOLDER}.")
    ] = None,
    xmodel: Annotated[Path | None, typer.Option("-x", "--xmodel", help="The same, as vai_c_xir spells it.")] = None,
    target: Annotated[
        str,
        typer.Option(
            "-a", "--arch", "--target", help="Name, alias, fingerprint or arch.json; default: the VCK5000's 8PE."
        ),
    ] = "",
    out: Annotated[Path, typer.Option("-o", "--output_dir", "--out", help="Output folder.")] = Path("build/compile"),
    name: Annotated[
        str | None, typer.Option("-n", "--net_name", "--name", help="Name of the .xmodel; default: the model's.")
    ] = None,
    options: Annotated[
        str | None, typer.Option("-e", "--options", help="The vendor's options as JSON, such as input_shape.")
    ] = None,
    backend: Annotated[
        Literal["auto", "unmask", "vitis"],
        typer.Option(
            help="vitis: vai_c_xir, whose file runs on a card; unmask: for the emulator; auto: vitis if found."
        ),
    ] = "auto",
    vitis_compiler: Annotated[
        str | None, typer.Option(help="vai_c_xir: its path or folder, or docker:IMAGE; default: searched for.")
    ] = None,
    golden: Annotated[
        bool, typer.Option("--golden", help="Embed an image and every tensor it leads to, for `unmask xmodel verify`.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a quantized graph deployable on a target.

    Lowers to integer ops and partitions, or has the vendor's compiler do it; writes NAME.xmodel, meta.json,
    md5sum.txt and a report with estimates. vai_c_xir's own spelling of the options is understood.
    """
    from rich.table import Table

    from arch.targets import DEFAULT
    from compile.options import parse_options
    from deploy.compile_stage import CompileJob, compile_stage

    output = Output.of(context, json, quiet)
    if quantized is not None and xmodel is not None:
        raise UsageError(f"Two files to compile were named: {quantized} and, with -x, {xmodel}.")
    source = quantized or xmodel or _FOLDER
    job = CompileJob(source, target or DEFAULT, out, name, golden, backend, vitis_compiler, parse_options(options))
    report = compile_stage(job, output)
    table = Table("subgraph", "device", "ops")
    for item in report["subgraphs"]:
        table.add_row(item["name"], item["device"], ", ".join(f"{n} {kind}" for kind, n in item["ops"].items()))
    state = f"{report['seconds']:.1f} s" if report["ran"] else "up to date"
    output.result(
        report,
        f"Compiled for {report['target']} ({state}): {report['xmodel']}",
        table,
        *(f"Note: {note}" for note in report["notes"]),
        *([_EMULATOR] if report["emulator_only"] else [f"Compiled by {report['compiler']}."]),
        f"Report: {out / 'compile_report.html'}",
    )
