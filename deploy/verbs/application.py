"""`unmask exec`: an unmodified VART application on the emulator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.console import Output
from deploy.kernels import Kernels

# Everything after APP is the application's, options included.
SETTINGS = {"allow_interspersed_args": False}


def exec_(
    context: typer.Context,
    app: Annotated[
        Path,
        typer.Argument(metavar="APP", help="A Python program written for VART: a file, or a folder with __main__.py."),
    ],
    arguments: Annotated[list[str] | None, typer.Argument(metavar="ARGS", help="Its own arguments, untouched.")] = None,
    kernels: Kernels = "auto",
) -> None:
    """Run an unmodified VART program on the emulator.

    Its modules xir, vart and vitis_ai_library are Unmask's; the exit code is its own.
    """
    from deploy.application import run

    raise typer.Exit(run(app, arguments or [], kernels, Output.of(context, json=False, quiet=False).note))
