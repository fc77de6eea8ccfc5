"""`unmask card setup`: the steps from an empty host to a model on the card."""

from __future__ import annotations

from typing import Annotated

import typer

from deploy.console import Json, Output, Quiet


def setup(
    context: typer.Context,
    release: Annotated[str | None, typer.Option(help="Of Vitis AI: 1.4.1, 2.0, 2.5, 3.0. [the card's last]")] = None,
    variant: Annotated[str | None, typer.Option(help="DPU variant, any spelling. [8PE]")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the steps; look at nothing.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The steps that make this host and a container ready for the card.

    Prints the commands for this host; without --dry-run also tells which steps are done already. Runs nothing as
    root and changes nothing.
    """
    from deploy.card_setup.host import this_host
    from deploy.card_setup.progress import chosen, states
    from deploy.card_setup.steps import steps
    from deploy.card_setup.texts import data, lines

    output = Output.of(context, json, quiet)
    host = this_host()
    picked, overlay = chosen(release, variant, host)
    found = steps(picked, overlay, host)
    known = {} if dry_run else states(found)
    head = f"Vitis AI {picked.version} for the {picked.card.name} with {overlay.target}, on {host.system}:"
    listed = {"release": picked.version, "variant": overlay.target, "steps": data(found, known)}
    output.result(listed, head, *lines(found, known))
    if host.card is not None and host.card != picked.card:
        output.warn(f"The card here is a {host.card.name}; Vitis AI {picked.version} is for the {picked.card.name}.")
