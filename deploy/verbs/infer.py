"""`unmask infer`: a folder of crops → masks, scores and a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from deploy.console import Json, Output, Quiet
from deploy.kernels import Kernels
from deploy.verbs.evaluate import Crops, Labels, Limit, Masks

VitisPython = Annotated[
    Path | None,
    typer.Option(help="The Python that has the vendor's xir and vart, for the card; default: it is looked for."),
]
Device = Annotated[
    Literal["auto", "card", "emulator"],
    typer.Option(help="Where the network runs; auto: the card where it can be used."),
]
Threads = Annotated[int | None, typer.Option(min=1, max=64, help="Runner threads; default: up to 4.")]


def infer(
    context: typer.Context,
    crops: Crops,
    model: Annotated[Path, typer.Argument(help="Compiled .xmodel, or the folder that holds it.")] = Path(
        "build/compile"
    ),
    labels: Labels = None,
    masks: Masks = None,
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("build/infer"),
    device: Device = "auto",
    vitis_python: VitisPython = None,
    threads: Threads = None,
    kernels: Kernels = "auto",
    limit: Limit = None,
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Go on where an interrupted run was, or start again.")
    ] = True,
    compat: Annotated[
        Literal["deepynet"] | None,
        typer.Option(help="Imitate another program's arithmetic, flaws included, to compare with its numbers."),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Judge every crop of a folder: masks, scores, report.

    An interrupted run goes on where it was when the same command is given again, and its results are those of a run
    that was never stopped. Exit 1 when some inputs could not be read; the results of the others are kept.
    """
    from deploy import tables
    from deploy.infer import InferJob, infer_stage
    from deploy.judge import demand

    output = Output.of(context, json, quiet)
    job = InferJob(model, crops, out, labels, masks, device, threads, kernels, limit, resume, compat, vitis_python)
    report, ran = infer_stage(job, output)
    if report["compat"]:
        output.warn(tables.compat_line(report["compat"]))
    counts, speed = report["counts"], report["speed"]
    lines = [
        f"{counts['read']} of {counts['inputs']} crops judged on the {speed['device']}: "
        f"{counts['fake']} fake, {counts['real']} real "
        f"({speed['fps']:.1f} crops/s, {'now' if ran else 'up to date'})"
    ]
    if report["accuracy"]:
        lines.append(tables.accuracy_line(report["accuracy"]))
    if ran and speed["crops"]:
        lines.append(tables.bottleneck_line(speed))
    scored = [tables.scores({"deployed": report})] if report["accuracy"] or report["masks"] else []
    output.result(report, "\n".join(lines), *scored, f"Report: {out / 'report.html'}")
    demand(report, labels, output)
