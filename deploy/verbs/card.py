"""`unmask card`: is a card there?"""

from __future__ import annotations

import typer

from deploy.console import Json, Output, Quiet

app = typer.Typer(help="The accelerator card.", no_args_is_help=True)


@app.callback()
def _card() -> None:
    """The accelerator card."""


@app.command("check")
def check(context: typer.Context, json: Json = False, quiet: Quiet = False) -> None:
    """Is a card there, and do its tools answer?

    Looks for the PCIe device, xbutil and xbmgmt; the card's health is not tested.
    Exit 0: present; 3: no card or no working tools.
    """
    from rich.table import Table

    from deploy.card import presence as card

    out = Output.of(context, json, quiet)
    checks = card.check()
    table = Table("check", "status", "seen")
    for item in checks:
        table.add_row(item.name, str(item.status), item.seen)
    out.result(card.as_data(checks), table)
    card.demand(checks)
    out.note("The card is present and its tools answer. This does not test link, power, memory or temperature.")
