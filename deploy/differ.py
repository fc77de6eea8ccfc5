"""`unmask xmodel diff`: two files side by side, as data and as text, what matters most first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from deploy.tables import columns
from xmodel import artifact, file
from xmodel.diff import Change, Difference, Weights, diff

MOST_ROWS = 40  # of each kind that are listed on a terminal; JSON has all


def compare(a: Path, b: Path) -> tuple[dict[str, Any], Difference]:
    """What differs between two files, for JSON and as it is. Raises `UsageError` or `ArtifactError`."""
    found = diff(file.read(a), file.read(b))
    same = a.stat().st_size == b.stat().st_size and artifact.sha256(a) == artifact.sha256(b)
    return {"a": str(a), "b": str(b), "same_bytes": same, **found.data()}, found


def texts(found: Difference, same_bytes: bool) -> list[str]:
    """The difference for a person: a line that sums up, then a table for each kind."""
    if found.equal:
        names = f"; {len(found.renamed)} ops are named otherwise" if found.renamed else ""
        return [f"Equal in content{', and byte for byte' if same_bytes else ''}{names}."]
    counts = {
        "positions": len(found.positions),
        "weights": len(found.weights),
        "structure": len(found.structure),
        "attributes": len(found.attributes),
        "ops only in A": len(found.only_a),
        "ops only in B": len(found.only_b),
    }
    shown = ["Different: " + ", ".join(f"{n} {name}" for name, n in counts.items() if n) + "."]
    shown += _table("fix positions", found.positions)
    shown += _section("weights", [("op", "differ", "of", "largest"), *map(_weights, found.weights)])
    shown += _table("structure", found.structure)
    shown += _table("attributes", found.attributes)
    shown += _section("only in A", [("op",), *((name,) for name in found.only_a)])
    shown += _section("only in B", [("op",), *((name,) for name in found.only_b)])
    shown += _section("renamed", [("A", "B"), *found.renamed.items()])
    return shown


def _weights(item: Weights) -> tuple[str, ...]:
    if not item.of:
        return item.name, "", "", "cannot be compared"
    largest = "not finite" if item.largest is None else f"{item.largest:g}"
    return item.name, f"{item.count:,}", f"{item.of:,}", f"{largest} LSB" if item.grid else largest


def _table(title: str, changes: Sequence[Change]) -> Iterator[str]:
    return _section(title, [("op", "what", "A", "B"), *((c.name, c.what, _value(c.a), _value(c.b)) for c in changes)])


def _section(title: str, rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A heading and rows, the first of which names the columns; nothing without others."""
    if len(rows) > 1:
        yield f"\n{title}"
        yield columns(rows[0], rows[1 : 1 + MOST_ROWS], right=("differ", "of"))
        if len(rows) > 1 + MOST_ROWS:
            yield f"… and {len(rows) - 1 - MOST_ROWS} more; --json lists all."


def _value(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else text[:59] + "…"
