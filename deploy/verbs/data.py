"""`unmask fetch` and `unmask samples`: where weights and crops come from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.console import Json, Output, Quiet


def fetch(
    context: typer.Context,
    what: Annotated[
        list[str] | None, typer.Argument(help="weights, calib, unseen, face-model; nothing: the first three.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder they come to.")] = Path("build/fetched"),
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Bring the published weights and data, or a face model.

    Sizes and sha256 are recorded on the first fetch and verified ever after.
    """
    from model.fetch import fetch as bring

    output = Output.of(context, json, quiet)
    found = bring(what or [], out)
    lines = [f"{item.name}: {item.path} ({'fetched' if item.new else 'already there, verified'})" for item in found]
    output.result({item.name: {"path": str(item.path), "new": item.new} for item in found}, "\n".join(lines))


def samples(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder they come to.")] = Path("build/samples"),
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make the offline sample set.

    Crops of one portrait, genuine and forged, with labels and true masks.
    """
    from model.samples import make_samples

    output = Output.of(context, json, quiet)
    made = make_samples(out)
    counts = {name: len(list((out / name).glob("*.png"))) for name in ("calib", "unseen", "masks")}
    output.result(
        {"out": str(out), "made": made, **counts},
        f"{'Made' if made else 'Up to date:'} {counts['calib']} calibration and {counts['unseen']} unseen crops in "
        f"{out}. A demonstration set of one person: it shows that the pipeline works, not how good a detector is.",
    )
