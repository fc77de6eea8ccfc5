"""`unmask doctor`: do this machine, its card, the vendor's software and a model fit together?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.console import Json, Output, Quiet


def doctor(
    context: typer.Context,
    model: Annotated[Path | None, typer.Argument(help="An .xmodel that is to run.")] = None,
    saved: Annotated[
        Path | None, typer.Option("--from", help="A folder of saved tool output instead of this machine.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="PCI address of the card, where there are several.")] = None,
    vitis_python: Annotated[Path | None, typer.Option(help="The vendor's Python. [searched for]")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Do machine, card, vendor's software and model fit together?

    Names the one release of Vitis AI that fits (with XRT, shell, xclbin and DPU variant), and each mismatch with its
    symptom and its remedy. Exit 0: nothing is wrong, 1: something is.
    """
    from deploy.doctor.diagnose import diagnose
    from deploy.doctor.texts import data, texts
    from xmodel.errors import ExitCode

    output = Output.of(context, json, quiet)
    found, verdict, rows = diagnose(model, saved, device, vitis_python)
    output.result(data(found, verdict, rows), *texts(found, verdict, rows))
    if not verdict.fits:
        raise typer.Exit(int(ExitCode.GATE))
