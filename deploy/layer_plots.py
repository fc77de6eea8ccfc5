"""Plots of the quantization report as inline SVG: signal to noise along the network, and small histograms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_W, _H, _LEFT, _TOP, _BOTTOM = 1000, 300, 44, 12, 34
_HIST_W, _HIST_H = 192, 44


def draw(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`sqnr`: the chart; `activations` and `parameters`: per layer a histogram, and one per parameter."""
    return {
        "sqnr": sqnr(layers),
        "activations": [histogram(layer["histogram"], layer["saturated_count"]) for layer in layers],
        "parameters": [
            [histogram(p["histogram"], p["saturated_count"]) for p in layer["parameters"]] for layer in layers
        ],
    }


def sqnr(layers: Sequence[Mapping[str, Any]]) -> str:
    """Ratios in dB over the layers, `sqnr` (accumulated) and `sqnr_isolated`; a gap where there is none."""
    values = [v for layer in layers for v in (layer["sqnr"], layer["sqnr_isolated"]) if v is not None]
    if not values:
        return ""
    low: int = min(0, 10 * math.floor(min(values) / 10))
    high: int = max(10 * math.ceil(max(values) / 10), low + 10)

    def y(value: float) -> float:
        return _TOP + (_H - _TOP - _BOTTOM) * (high - value) / (high - low)

    def x(index: int) -> float:
        return _LEFT + (_W - _LEFT - 8) * (index + 0.5) / len(layers)

    step = 10 * max(1, (high - low) // 80)
    grid = "".join(
        f'<line class="grid" x1="{_LEFT}" y1="{y(t):.1f}" x2="{_W - 8}" y2="{y(t):.1f}"/>'
        f'<text x="{_LEFT - 6}" y="{y(t) + 4:.1f}" text-anchor="end">{t}</text>'
        for t in range(low, high + 1, step)
    )
    every = max(1, len(layers) // 20)
    ticks = "".join(
        f'<text x="{x(i):.1f}" y="{_H - 18}" text-anchor="middle">{i + 1}</text>' for i in range(0, len(layers), every)
    )
    body = "".join(
        _curve([(x(i), y(layer[key]), layer) for i, layer in enumerate(layers) if layer[key] is not None], key, name)
        for key, name in (("sqnr_isolated", "isolated"), ("sqnr", "accumulated"))
    )
    return (
        f'<svg class="chart" viewBox="0 0 {_W} {_H}" role="img" aria-label="signal to noise by layer">{grid}{ticks}'
        f'{body}<text class="axis" x="{_W / 2}" y="{_H - 3}" text-anchor="middle">layer, in execution order</text>'
        f'<text class="axis" x="12" y="{_H / 2}" text-anchor="middle" transform="rotate(-90 12 {_H / 2})">dB</text>'
        "</svg>"
    )


def _curve(points: Sequence[tuple[float, float, Mapping[str, Any]]], key: str, name: str) -> str:
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5"><title>{escape(layer["title"])}: {layer[key]:.1f} dB {name}</title>'
        "</circle>"
        for x, y, layer in points
    )
    return f'<g class="{name}"><polyline points="{line}"/>{dots}</g>'


def histogram(counts: Sequence[int], saturated: int = 0) -> str:
    """Counts over the int8 range -128..127 on a logarithmic scale; a mark at an end that holds saturated values."""
    top = math.log1p(max(counts, default=0)) or 1.0
    width = _HIST_W / max(1, len(counts))
    bars = "".join(
        f"M{i * width:.4g} {_HIST_H}v-{max(1.0, (_HIST_H - 2) * math.log1p(n) / top):.3g}h{width:.4g}V{_HIST_H}z"
        for i, n in enumerate(counts)
        if n
    )
    ends = [x for x, n in ((0.0, counts[0]), (_HIST_W - 3.0, counts[-1])) if saturated and n] if counts else []
    marks = "".join(f'<rect class="end" x="{x:g}" y="0" width="3" height="{_HIST_H}"/>' for x in ends)
    return (
        f'<svg class="hist" viewBox="0 0 {_HIST_W} {_HIST_H + 1}" role="img" aria-label="histogram over int8">'
        f'{marks}<path d="{bars}"/><line x1="0" y1="{_HIST_H + 0.5}" x2="{_HIST_W}" y2="{_HIST_H + 0.5}"/>'
        f'<line x1="{_HIST_W / 2}" y1="0" x2="{_HIST_W / 2}" y2="{_HIST_H}"/></svg>'
    )
