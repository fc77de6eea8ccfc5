"""`unmask inspect`: which ops run on which target, and why not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.console import Json, Output, Quiet
from deploy.verbs.evaluate import Seed


def inspect(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(help="A quantized or compiled .xmodel, or the folder that holds <Name>_int.xmodel."),
    ] = None,
    target: Annotated[str, typer.Option(help="Name, alias or fingerprint; default: the VCK5000's 8PE.")] = "",
    model: Annotated[str | None, typer.Option(help="Instead: a registered network, uynet-lite or uynet.")] = None,
    module: Annotated[
        str | None, typer.Option(help="Instead: net.py:Class. The file is run, so name only code that you trust.")
    ] = None,
    program: Annotated[
        Path | None, typer.Option(help="Instead: a torch.export program, model.pt2. No code in it is run.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="Checkpoint for --model or --module; not needed.")] = None,
    seed: Seed = None,
    name: Annotated[str | None, typer.Option(help="Name of the network; default: the class's.")] = None,
    input_size: Annotated[
        tuple[int, int] | None, typer.Option(help="Height and width of the images, for --module.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say where every op will run, and why.

    What keeps an op from the DPU comes with numbers, a rewrite and the designs that take it. Works before
    quantization as well as after, and without any tool of the vendor.
    """
    from arch.targets import DEFAULT
    from deploy import inspection
    from deploy.sources import ImageOptions, NetworkOptions

    output = Output.of(context, json, quiet)
    network = NetworkOptions(model, module, program, weights, seed, name)
    job = inspection.InspectJob(target or DEFAULT, file, network, ImageOptions(input_size))
    found, assumed = inspection.run(job, output)
    output.result(
        inspection.as_data(found, assumed),
        inspection.placement(found),
        *inspection.explanations(found),
        inspection.subgraphs(found),
        inspection.variants(found),
        *(f"Note: {note}" for note in found.notes),
        *([inspection.ASSUMED] if assumed else []),
        inspection.headline(found),
    )
