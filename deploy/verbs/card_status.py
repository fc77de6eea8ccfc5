"""`unmask card status`: what the card's sensors read, live, and under load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.console import Json, Output, Quiet
from deploy.devices import Device as Runs
from deploy.verbs.card import Device, From
from xmodel.errors import UsageError


def status(
    context: typer.Context,
    device: Device = None,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until Ctrl-C.")] = False,
    interval: Annotated[float, typer.Option(min=0.2, max=3600, help="Seconds from one sample to the next.")] = 2.0,
    csv: Annotated[Path | None, typer.Option(help="Write every sample to this file.")] = None,
    source: From = None,
    soak: Annotated[float | None, typer.Option(min=1, max=864000, help="Run --model for so many seconds.")] = None,
    model: Annotated[Path | None, typer.Option(help="Compiled .xmodel for --soak, or its folder.")] = None,
    run_on: Annotated[Runs, typer.Option("--on", help="Where --soak runs the network.")] = "card",
    threads: Annotated[int | None, typer.Option(min=1, max=64, help="Runner threads of --soak.")] = None,
    html: Annotated[Path, typer.Option(help="Report of --soak.")] = Path("build/card/soak.html"),
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Temperatures, power, rails, clocks and link against their limits.

    With --soak the network runs meanwhile, and the report has the temperatures' curve. Exit 1: a limit was reached in
    a soak, or it was not completed; 3: no card or no working tools.
    """
    from deploy.card.status import StatusJob
    from deploy.card.status import status as run

    output = Output.of(context, json, quiet)
    if source is not None and (watch or soak is not None):
        raise UsageError("Saved output does not change: --from goes neither with --watch nor with --soak.")
    if (soak is None) != (model is None):
        raise UsageError(
            "--soak and --model belong together.", hint="unmask card status --soak 600 --model build/compile"
        )
    if soak is None or model is None:
        run(StatusJob(device, watch, interval, csv, source), output)
        return
    if watch:
        raise UsageError("--soak shows its own progress.", hint="Leave --watch out, or give --csv and follow the file.")
    from deploy.card.soak_job import SoakJob, soak_job

    soak_job(SoakJob(model, soak, interval, device, run_on, threads, csv, html), output)
