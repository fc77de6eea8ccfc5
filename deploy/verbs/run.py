"""`unmask run`: any .xmodel on .npy inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from deploy.console import Json, Output, Quiet
from deploy.kernels import Kernels


def run(
    context: typer.Context,
    model: Annotated[Path, typer.Argument(help="Any .xmodel: quantized or compiled.")],
    input_: Annotated[list[str], typer.Option("--input", help="[NAME=]x.npy, int8 or float32; once an input.")],
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("build/run"),
    dump: Annotated[bool, typer.Option("--dump", help="Write every intermediate tensor as well.")] = False,
    kernels: Kernels = "auto",
    layout: Annotated[Literal["nhwc", "nchw"], typer.Option(help="Of 4-D inputs and outputs.")] = "nhwc",
    subgraph: Annotated[str | None, typer.Option(help="Run only this subgraph of a compiled file.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run any .xmodel on .npy inputs, on the emulator.

    Writes one .npy a tensor, int8 and dequantized, and tensors.json.
    """
    from rich.table import Table

    from deploy.run_stage import RunJob, run_model

    output = Output.of(context, json, quiet)
    listing = run_model(RunJob(model, tuple(input_), out, dump, kernels, layout, subgraph))
    table = Table("tensor", "shape", "type", "fix point", "file")
    for item in listing:
        shape = "x".join(map(str, item["shape"]))
        fix_point = "–" if item["fix_point"] is None else str(item["fix_point"])
        table.add_row(item["name"], shape, item["dtype"], fix_point, item["file"])
    output.result({"out": str(out), "tensors": listing}, table)
