"""HTML reports: one self-contained file each, everything escaped, nothing loaded from anywhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xmodel.artifact import write_text


def write_html(path: Path, template: str, **values: Any) -> None:
    """Render `deploy/templates/<template>` with `values` and write it to `path` atomically.

    Every value is escaped; SVG made by `deploy.plots` is marked as such in the templates.
    """
    write_text(path, render(template, **values))


def render(template: str, **values: Any) -> str:
    """The page as text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, number=number, seconds=seconds)
    return environment.get_template(template).render(**values)


def percent(value: float | None, digits: int = 1) -> str:
    """A share in [0, 1] for reading; a dash when there is none.

    >>> percent(0.98437)
    '98.4 %'
    """
    return "–" if value is None or not math.isfinite(value) else f"{value * 100:.{digits}f} %"


def number(value: float | None, digits: int = 3) -> str:
    """A number for reading; a dash when there is none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:,.{digits}f}"


def seconds(value: float | None) -> str:
    """A duration for reading.

    >>> seconds(75.2), seconds(0.042)
    ('1 min 15 s', '42 ms')
    """
    if value is None or not math.isfinite(value):
        return "–"
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 60 else f"{int(value // 60)} min {int(value % 60)} s"


def provenance(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Rows for the provenance table: inputs' sha256, arguments, versions."""
    rows = [(f"{name} sha256", str(digest)) for name, digest in record["inputs"].items()]
    rows += [(name, str(value)) for name, value in record["arguments"].items() if value is not None]
    return [*rows, ("versions", ", ".join(f"{k} {v}" for k, v in record["versions"].items()))]
