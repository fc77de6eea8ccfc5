"""The roofline: every layer's useful operations a second against its operations per byte of DDR, as inline SVG.

The axes are logarithmic. A dot below the roof is a layer whose work the array pads; its area is the layer's share of
the time. The bytes of the picture depend on the numbers alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

_W, _H, _LEFT, _TOP, _PLOT_W, _PLOT_H = 640, 360, 52, 14, 560, 296
_X = (-1, 4)  # powers of ten of operations per byte
_Y = (-2, 2)  # powers of ten of TOPS


def roofline(layers: Sequence[Mapping[str, Any]], usable_tops: float, ddr_gb_s: float) -> str:
    """`layers` are rows of `deploy.estimates` with known `seconds`; the roof is min(usable, bandwidth * intensity)."""
    whole = sum(row["seconds"] for row in layers) or 1.0
    roof = [10 ** (_X[0] + i * (_X[1] - _X[0]) / 200) for i in range(201)]
    line = " ".join(f"{_x(i):.1f},{_y(min(usable_tops, ddr_gb_s * i / 1e3)):.1f}" for i in roof)
    dots = "".join(_dot(row, whole) for row in layers if row["workload"] and row["seconds"])
    return (
        f'<svg class="plot wide" viewBox="0 0 {_W} {_H}" role="img" aria-label="roofline">{_grid()}'
        f'<polyline class="line" points="{line}"/>{dots}'
        f'<text x="{_LEFT + _PLOT_W - 4}" y="{_y(usable_tops) - 6:.1f}" text-anchor="end">'
        f"{usable_tops:g} TOPS usable</text>"
        f'<text x="{_x(3.0):.1f}" y="{_y(3 * ddr_gb_s / 1e3) - 10:.1f}" text-anchor="end">{ddr_gb_s:g} GB/s</text>'
        f'<text class="axis" x="{_LEFT + _PLOT_W / 2}" y="{_H - 6}" text-anchor="middle">'
        "useful operations per byte moved</text>"
        f'<text class="axis" x="12" y="{_TOP + _PLOT_H / 2}" text-anchor="middle" '
        f'transform="rotate(-90 12 {_TOP + _PLOT_H / 2})">useful TOPS, at best</text></svg>'
    )


def _dot(row: Mapping[str, Any], whole: float) -> str:
    x, y = _x(row["workload"] / row["ddr_bytes"]), _y(row["workload"] / row["seconds"] / 1e12)
    radius = 3 + 22 * math.sqrt(row["seconds"] / whole)
    return f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>'


def _grid() -> str:
    parts = []
    for power in range(_X[0], _X[1] + 1):
        x = _x(10.0**power)
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{_TOP + _PLOT_H}"/>')
        parts.append(f'<text x="{x:.1f}" y="{_TOP + _PLOT_H + 16}" text-anchor="middle">{10.0**power:,g}</text>')
    for power in range(_Y[0], _Y[1] + 1):
        y = _y(10.0**power)
        parts.append(f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{_LEFT + _PLOT_W}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g}</text>')
    return "".join(parts)


def _x(value: float) -> float:
    return _LEFT + _PLOT_W * _place(value, _X)


def _y(value: float) -> float:
    return _TOP + _PLOT_H * (1 - _place(value, _Y))


def _place(value: float, span: tuple[int, int]) -> float:
    """Where `value` lies on a logarithmic axis, from 0 to 1, cut off at both ends."""
    power = math.log10(value) if value > 0 else span[0]
    return min(max((power - span[0]) / (span[1] - span[0]), 0.0), 1.0)
