"""`unmask card check`: is the card healthy?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.console import Json, Output, Quiet
from xmodel.errors import UsageError

app = typer.Typer(help="The accelerator card.", no_args_is_help=True)

Device = Annotated[str | None, typer.Option(help="PCI address of one card, such as 0000:65:00.1. [every card]")]
From = Annotated[
    Path | None, typer.Option("--from", help="Folder (or file) of saved tool output, instead of this machine.")
]


@app.callback()
def _card() -> None:
    """The accelerator card."""


@app.command("check")
def check(
    context: typer.Context,
    device: Device = None,
    quick: Annotated[bool, typer.Option("--quick", help="Seconds: leave out `xbutil validate`.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Also the AI Engine and built-in tests, and load.")] = False,
    source: From = None,
    save: Annotated[Path | None, typer.Option(help="New folder for what the tools said.")] = None,
    mask: Annotated[bool, typer.Option("--mask", help="Save without serial numbers, host names, MACs.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write the report to this file.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Is the card healthy?

    Bus, drivers, tools, shell, firmware, link, clocks, memory, supplies, temperatures, and XRT's own tests, each held
    against its limit. Exit 0: healthy; 1: a check failed; 3: no card or no working tools.
    """
    from deploy.card.check import CheckJob
    from deploy.card.check import check as run
    from deploy.card.judge import demand
    from deploy.card.live import Depth
    from deploy.card.show import shown
    from deploy.card_setup.host import this_host

    output = Output.of(context, json, quiet)
    if quick and full:
        raise UsageError("--quick and --full exclude each other.", hint="Give one of them, or neither.")
    if mask and save is None:
        raise UsageError("--mask is about what --save writes.", hint="Give --save FOLDER too.")
    depth = Depth.QUICK if quick else Depth.FULL if full else Depth.NORMAL
    judgement = run(CheckJob(device, depth, source, save, mask, html), output)
    output.result(judgement.data(), *shown(judgement))
    demand(judgement, this_host().packages)
    output.note(judgement.sentence)
