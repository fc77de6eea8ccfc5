"""Plots as inline SVG that follow the page's colours, so that a report is one file and readable in the dark."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

_W, _H, _LEFT, _TOP, _SIDE = 340, 320, 46, 12, 260  # picture, and the square that holds the data


def roc(fpr: Sequence[float], tpr: Sequence[float], auc: float) -> str:
    """The ROC curve, rates in [0, 1], with its area in the corner."""
    points = [(x, y) for x, y in zip(fpr, tpr, strict=True) if math.isfinite(x) and math.isfinite(y)]
    line = " ".join(f"{_x(x):.1f},{_y(y):.1f}" for x, y in points)
    area = f"{_x(0):.1f},{_y(0):.1f} {line} {_x(1):.1f},{_y(0):.1f}"
    body = (
        f'<polygon class="area" points="{area}"/>'
        f'<line class="chance" x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}"/>'
        f'<polyline class="line" points="{line}"/>'
        f'<text class="big" x="{_x(0.96)}" y="{_y(0.08)}" text-anchor="end">AUC {_number(auc)}</text>'
    )
    return _square(body, "genuine crops called fake", "fakes found", "ROC curve")


def scatter(xs: Sequence[float], ys: Sequence[float], x_title: str, y_title: str, limit: int = 2000) -> str:
    """Points with both coordinates in [0, 1], at most `limit` of them, over the diagonal."""
    keep = range(0, len(xs), max(1, -(-len(xs) // limit)))
    dots = "".join(f'<circle class="dot" cx="{_x(xs[i]):.1f}" cy="{_y(ys[i]):.1f}" r="3"/>' for i in keep)
    line = f'<line class="chance" x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}"/>'
    return _square(line + dots, x_title, y_title, f"{y_title} against {x_title}")


def histogram(groups: Sequence[tuple[str, Sequence[float]]], x_title: str, bins: int = 20) -> str:
    """Counts of values in [0, 1], one colour a group (CSS class names), side by side in each bin."""
    counts = [(name, np.histogram(np.asarray(values), bins, (0.0, 1.0))[0]) for name, values in groups if len(values)]
    top = max((int(c.max()) for _, c in counts), default=1) or 1
    width = _SIDE / bins / max(len(counts), 1)
    bars = [
        f'<rect class="{name}" x="{_x(b / bins) + g * width:.1f}" y="{_y(int(n) / top):.1f}" '
        f'width="{max(width - 1, 1):.1f}" height="{_SIDE * int(n) / top:.1f}"/>'
        for g, (name, c) in enumerate(counts)
        for b, n in enumerate(c)
        if n
    ]
    middle = f'<line class="chance" x1="{_x(0.5)}" y1="{_y(0)}" x2="{_x(0.5)}" y2="{_y(1)}"/>'
    return _square("".join(bars) + middle, x_title, "crops", "distribution of scores", y_ticks=(0, top))


def _square(
    body: str, x_title: str, y_title: str, label: str, y_ticks: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
) -> str:
    top = max(y_ticks) or 1
    grid = "".join(
        f'<line class="grid" x1="{_x(0)}" y1="{_y(t / top):.1f}" x2="{_x(1)}" y2="{_y(t / top):.1f}"/>'
        f'<text x="{_LEFT - 6}" y="{_y(t / top) + 4:.1f}" text-anchor="end">{t:g}</text>'
        for t in y_ticks
    )
    ticks = "".join(
        f'<text x="{_x(t):.1f}" y="{_TOP + _SIDE + 16}" text-anchor="middle">{t:g}</text>'
        for t in (0.0, 0.25, 0.5, 0.75, 1.0)
    )
    middle = _TOP + _SIDE / 2
    return (
        f'<svg class="plot" viewBox="0 0 {_W} {_H}" role="img" aria-label="{label}">{grid}{ticks}{body}'
        f'<text class="axis" x="{_x(0.5)}" y="{_H - 8}" text-anchor="middle">{x_title}</text>'
        f'<text class="axis" x="12" y="{middle}" text-anchor="middle" '
        f'transform="rotate(-90 12 {middle})">{y_title}</text></svg>'
    )


def _x(value: float) -> float:
    return _LEFT + _SIDE * value


def _y(value: float) -> float:
    return _TOP + _SIDE * (1 - value)


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "not defined"
