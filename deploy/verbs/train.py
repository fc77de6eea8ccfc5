"""`unmask train`: float training."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stderr
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.console import Json, Output, Quiet
from xmodel.errors import UsageError

if TYPE_CHECKING:
    from model.train import Phase


def train(
    context: typer.Context,
    data: Annotated[Path, typer.Option(help="Folder with real/ and, optionally, fake/, or a CSV: file, label.")],
    out: Annotated[Path, typer.Option(help="Checkpoint, metrics and weights.")] = Path("build/train"),
    cache: Annotated[Path | None, typer.Option(help="Where found faces are remembered.")] = None,
    width: Annotated[int, typer.Option(min=1, help="Channels of the first level: 16 light, 64 published.")] = 16,
    phase: Annotated[
        list[str] | None, typer.Option(help="SIDE:BATCH:STEPS, once a phase, the last at the network's size.")
    ] = None,
    rate: Annotated[float, typer.Option(min=0, help="Learning rate.")] = 3e-3,
    seed: Annotated[int, typer.Option(help="Of weights, order and forgeries.")] = 1,
    workers: Annotated[int, typer.Option(min=0, help="Processes that make batches.")] = 1,
    threads: Annotated[int | None, typer.Option(min=1, help="Of torch.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    wandb: Annotated[bool, typer.Option("--wandb", help="Log to Weights & Biases.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train U-YNet on genuine and self-blended faces.

    Goes on where an interrupted run stopped.
    """
    from model import train as training
    from xmodel.artifact import read_json

    output = Output.of(context, json, quiet)
    settings = training.TrainSettings(
        data,
        out,
        cache,
        width=width,
        rate=rate,
        seed=seed,
        workers=workers,
        threads=threads,
        device=device,
        wandb=wandb,
    )
    if phase:
        settings = replace(settings, phases=_phases(phase))
    with redirect_stderr(io.StringIO()) if output.quiet else nullcontext():
        weights = training.train(settings)
    metrics = read_json(out / "metrics.json")
    output.result(
        {"weights": str(weights), "metrics": metrics}, f"Trained: {weights}; metrics in {out / 'metrics.csv'}"
    )


def _phases(texts: Sequence[str]) -> tuple[Phase, ...]:
    from model.train import Phase

    try:
        phases = tuple(Phase(*map(int, text.split(":"))) for text in texts)
        if all(phase.size > 0 and phase.count > 0 and phase.steps >= 0 for phase in phases):
            return phases
    except (TypeError, ValueError):
        pass
    raise UsageError(f"These are no training phases: {', '.join(texts)}.", hint="Example: --phase 64:24:4000")
