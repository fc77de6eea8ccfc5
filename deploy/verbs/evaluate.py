"""`unmask evaluate`: how good the float network is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.console import Json, Output, Quiet

Model = Annotated[str, typer.Option(help="A registered network: uynet-lite (weights included), uynet.")]
Weights = Annotated[Path | None, typer.Option(help="Checkpoint (.safetensors or .pth); default: the shipped one.")]
Seed = Annotated[int | None, typer.Option(help="Random weights from this seed, to try a size without weights.")]
Crops = Annotated[Path, typer.Option(help="Folder of face crops.")]
Labels = Annotated[Path | None, typer.Option(help="DFDC metadata.json: label by source video.")]
Masks = Annotated[Path | None, typer.Option(help="Folder of true masks; default: `masks` beside the crops' folder.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Use the first N crops only.")]


def evaluate(
    context: typer.Context,
    crops: Crops,
    labels: Annotated[Path, typer.Option(help="DFDC metadata.json: label by source video.")],
    model: Model = "uynet-lite",
    weights: Weights = None,
    seed: Seed = None,
    masks: Masks = None,
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("build/evaluate"),
    limit: Limit = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score the float network on labelled crops."""
    from deploy import tables
    from deploy.detectors import FloatNetwork
    from deploy.evaluate import EvaluateJob, evaluate_stage
    from deploy.judge import demand

    output = Output.of(context, json, quiet)
    job = EvaluateJob(FloatNetwork(model, weights, seed), crops, labels, out, masks, limit)
    report, _ = evaluate_stage(job, output)
    shown = [tables.accuracy_line(report["accuracy"])] if report["accuracy"] else []
    output.result(report, *shown, tables.scores({"float": report}))
    demand(report, labels, output)
