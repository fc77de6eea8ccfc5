"""`unmask compare`: what quantization and compilation cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.console import Json, Output, Quiet
from deploy.verbs.evaluate import Crops, Labels, Limit, Masks, Model, Seed, Weights


def compare(
    context: typer.Context,
    crops: Crops,
    model: Model = "uynet-lite",
    weights: Weights = None,
    seed: Seed = None,
    quantized: Annotated[Path, typer.Option(help="<Name>_int.xmodel or its folder.")] = Path("build/quantize"),
    compiled: Annotated[Path, typer.Option(help="Compiled .xmodel or its folder.")] = Path("build/compile"),
    labels: Labels = None,
    masks: Masks = None,
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("build/compare"),
    min_agreement: Annotated[float, typer.Option(min=0, max=1, help="Gate: share of equal labels.")] = 0.98,
    limit: Limit = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Float against quantized and compiled, on the same crops.

    Exit 1 when fewer than --min-agreement of the labels agree.
    """
    from deploy import tables
    from deploy.compare_stage import CompareJob, compare_stage, demand_agreement
    from deploy.detectors import FloatNetwork
    from deploy.judge import demand

    output = Output.of(context, json, quiet)
    network = FloatNetwork(model, weights, seed)
    job = CompareJob(network, quantized, compiled, crops, out, labels, masks, min_agreement, limit)
    report, _ = compare_stage(job, output)
    verdict = "passed" if report["passed"] else "failed"
    output.result(
        report,
        tables.scores(report["forms"]),
        tables.agreement(report["agreement"]),
        *([tables.layers(report["layers"])] if report["layers"] else []),
        f"Labels equal, float and {report['last']}: {report['gate']:.2%} of {report['crops']} "
        f"(at least {min_agreement:.2%} demanded: {verdict})",
        f"Report: {out / 'compare.html'}",
    )
    demand_agreement(report)
    demand({**report, "accuracy": report["labelled"]}, labels, output)
