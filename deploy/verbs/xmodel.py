"""`unmask xmodel`: look into .xmodel files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.console import Json, Output, Quiet
from deploy.kernels import Kernels

app = typer.Typer(help="Look into .xmodel files.", no_args_is_help=True)

Model = Annotated[Path, typer.Argument(help="Any .xmodel: quantized or compiled, ours or the vendor's.")]


@app.callback()
def _xmodel() -> None:
    """Look into .xmodel files."""


@app.command("show")
def show(
    context: typer.Context,
    model: Model,
    html: Annotated[Path | None, typer.Option(help="Also write a page with weight histograms here.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """What is in a file: subgraphs, ops, sizes, fix points.

    --html adds a histogram of every constant and the range it uses.
    """
    from deploy.show import show as found_in
    from deploy.show import texts

    output = Output.of(context, json, quiet)
    found = found_in(model, html)
    output.result(found, *texts(found), *([f"Page: {html}"] if html else []))


@app.command("diff")
def diff(
    context: typer.Context,
    a: Annotated[Path, typer.Argument(help="An .xmodel.")],
    b: Annotated[Path, typer.Argument(help="Another one.")],
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """What differs between two files, what matters most first.

    Fix positions, weights, structure, attributes, ops that only one has. Ops are paired by name without its numbers
    and by structure. Exit 0: equal in content; 1: different.
    """
    from deploy.differ import compare, texts
    from xmodel.errors import ExitCode

    output = Output.of(context, json, quiet)
    data, found = compare(a, b)
    output.result(data, *texts(found, data["same_bytes"]))
    if not found.equal:
        raise typer.Exit(int(ExitCode.GATE))


@app.command("verify")
def verify(
    context: typer.Context,
    model: Model,
    kernels: Kernels = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Replay a file's golden run and compare every tensor.

    For files made with --golden. On a mismatch: the first op that diverges, where, both values, and what explains it.
    Exit 0: all equal; 1: a mismatch; 4: no golden run, or a damaged file.
    """
    from deploy.verify import demand
    from deploy.verify import verify as verdict

    output = Output.of(context, json, quiet)
    report = verdict(model, kernels)
    said = "equal" if report["equal"] else f"{len(report['diverging'])} diverging"
    output.result(
        report, f"{report['compared']} tensors of {report['images']} image(s) on the {report['backend']}: {said}."
    )
    demand(report)
