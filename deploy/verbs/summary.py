"""`unmask summary`: what the main job did, in one short table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.console import Json, Output, Quiet


def summary(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Where quantize/, compile/, infer/ and compare/ are.")] = Path("build"),
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """What the main job did, in one short table."""
    from deploy.summary import summarize, tables

    output = Output.of(context, json, quiet)
    found = summarize(folder)
    output.result(found, *tables(found))
