"""The soak as one HTML page: the verdict, the curve, the head-room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploy.card.curve import COLOURS, plot
from deploy.card.soak import NEAR, Soak
from deploy.report import write_html
from xmodel.artifact import versions


def write_soak_page(path: Path, found: Soak, model: str, device: str) -> None:
    """Write the report to `path`, atomically."""
    write_html(path, "soak.html.j2", **view(found, model, device))


def view(found: Soak, model: str, device: str) -> dict[str, Any]:
    """What the template shows."""
    by_card = {
        card: [c for c in found.curves if c.card == card] for card in dict.fromkeys(c.card for c in found.curves)
    }
    return {
        "s": found,
        "headline": headline(found),
        "model": model,
        "device": device,
        "plots": [(card, own, plot(own)) for card, own in by_card.items()],
        "colours": COLOURS,
        "near": f"{NEAR:g}",
        "record": {"versions": versions()},
    }


def headline(found: Soak) -> str:
    """The outcome in a few words."""
    if found.reached:
        return "Limits reached"
    if not found.passed:
        return "Soak not completed"
    return "Limits came near" if found.near else "Cool enough"
