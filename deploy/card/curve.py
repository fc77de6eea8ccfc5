"""Temperatures over time as inline SVG, with the card's limits as dashed lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from deploy.card.soak import Curve

_W, _H, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 360, 96, 14, 14, 40
_MOST = 600  # points of a line; more are not seen
COLOURS = ("real", "fake", "good", "soft", "bad", "ink")


def plot(curves: Sequence[Curve]) -> str:
    """The curves of one card against seconds; the page's colours in the order of `COLOURS`."""
    ends = [curve.points[-1][0] for curve in curves]
    seconds = max([*ends, 1.0])
    low = math.floor(min(c for curve in curves for _, c in curve.points) / 10) * 10 - 5
    high = math.ceil(max(max(curve.highest, curve.limit) for curve in curves) / 10) * 10 + 5

    def x(t: float) -> float:
        return _LEFT + (_W - _LEFT - _RIGHT) * t / seconds

    def y(c: float) -> float:
        return _TOP + (_H - _TOP - _BOTTOM) * (high - c) / (high - low)

    ticks = range(math.ceil(low / 10) * 10, high, 10 if high - low <= 90 else 20)
    body = "".join(
        f'<line class="grid" x1="{_LEFT}" y1="{y(t):.1f}" x2="{_W - _RIGHT}" y2="{y(t):.1f}"/>'
        f'<text x="{_LEFT - 6}" y="{y(t) + 4:.1f}" text-anchor="end">{t}{" °C" if t == ticks[-1] else ""}</text>'
        for t in ticks
    )
    body += "".join(
        f'<text x="{x(seconds * n / 4):.1f}" y="{_H - _BOTTOM + 26}" text-anchor="{anchor}">'
        f"{_time(seconds * n / 4, seconds)}</text>"
        for n, anchor in enumerate(("start", "middle", "middle", "middle", "end"))
    )
    for index, curve in enumerate(curves):
        colour = f"var(--{COLOURS[index % len(COLOURS)]})"
        kept = curve.points[:: max(1, -(-len(curve.points) // _MOST))]
        points = " ".join(f"{x(t):.1f},{y(c):.1f}" for t, c in kept)
        body += (
            f'<line class="limit" style="stroke:{colour}" x1="{_LEFT}" y1="{y(curve.limit):.1f}" '
            f'x2="{_W - _RIGHT}" y2="{y(curve.limit):.1f}"/>'
            f'<polyline class="curve" style="stroke:{colour}" points="{points}"/>'
        )
    label = escape(", ".join(curve.name for curve in curves), quote=True)
    return f'<svg class="plot wide" viewBox="0 0 {_W} {_H}" role="img" aria-label="Temperatures: {label}">{body}</svg>'


def _time(seconds: float, whole: float) -> str:
    if whole < 300:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min" if not rest else f"{minutes}:{rest:02}"
