"""`unmask quantize`: float weights and calibration crops become an int8 graph."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.console import Json, Output, Quiet
from deploy.verbs.evaluate import Labels, Limit, Model, Seed, Weights


def quantize(
    context: typer.Context,
    calib: Annotated[Path, typer.Option(help="Folder of calibration crops, 100 to 1000 of them.")],
    model: Model = "uynet-lite",
    weights: Weights = None,
    seed: Seed = None,
    labels: Labels = None,
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("build/quantize"),
    batch_size: Annotated[
        int, typer.Option(min=1, help="Crops a calibration batch; larger ones give steadier positions.")
    ] = 32,
    limit: Limit = None,
    evaluate: Annotated[int, typer.Option(min=0, help="Compare float and quantized on so many of the crops.")] = 16,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Calibrate a network to power-of-two int8.

    Writes <Name>_int.xmodel, quant_info.json, bias_corr.npz and a report.
    """
    from deploy import tables
    from deploy.detectors import FloatNetwork
    from deploy.judge import demand
    from deploy.quantize_stage import QuantizeJob, quantize_stage

    output = Output.of(context, json, quiet)
    job = QuantizeJob(FloatNetwork(model, weights, seed), calib, out, labels, limit, batch_size, evaluate)
    report, ran = quantize_stage(job, output)
    state = f"{report['seconds']:.1f} s" if ran else "up to date"
    compared = report["comparison"]
    shown = [tables.scores(compared["forms"]), tables.agreement(compared["agreement"])] if compared else []
    output.result(
        report,
        f"Quantized {report['network']} on {report['images']} images ({state}): {report['xmodel']}",
        *shown,
        tables.layers(report["layers"], worst=5),
        f"Report: {out / 'quant_report.html'}",
    )
    demand({**report, "missing_labels": [], "accuracy": None}, labels, output)
