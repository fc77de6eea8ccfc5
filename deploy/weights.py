"""How a file's constants use their range: a histogram each, as inline SVG for a page."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from compile.decode.parameters import with_parameters
from xmodel.contents import fix_point
from xmodel.errors import ArtifactError
from xmodel.graph import Array, Graph, Op

BINS = 64
MOST = 400  # constants that are drawn, the largest; each takes about a kilobyte of the page
_STEP = 1 << 20  # values looked at together: memory stays small beside the file
_MAX_POSITION = 64  # beyond, a fix position is a damaged file's


@dataclass(frozen=True, slots=True)
class Spread:
    """The values of one constant. `low` and `high` are the ends of the histogram, `least` and `most` of the values.

    On a fix grid all four are steps (int8: -128 to 127) and `used` is the share of the 256 steps between `least` and
    `most`; without one they are real and `used` is None. `saturated`: values at -128 or 127.
    """

    name: str
    shape: tuple[int, ...]
    fix_point: int | None
    low: float
    high: float
    least: float
    most: float
    used: float | None
    zeros: int
    saturated: int
    bins: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many values."""
        return math.prod(self.shape)

    @property
    def svg(self) -> str:
        """The histogram: counts upwards, the range in use as a line below."""
        top = max(self.bins) or 1
        width = 256 / len(self.bins)
        bars = "".join(
            f"M{i * width:g} 64V{64 - max(60 * n / top, 1):.1f}h{width:g}V64z" for i, n in enumerate(self.bins) if n
        )
        span = (self.high - self.low) or 1
        left, right = ((value - self.low) / span * 256 for value in (self.least, self.most))
        used = f'x="{left:.1f}" width="{max(right - left, 1):.1f}"'
        return (
            '<svg class="bins" viewBox="0 0 256 72" preserveAspectRatio="none" role="img" aria-label="histogram">'
            f'<path d="{bars}"/><rect class="all" y="67" width="256" height="4"/><rect {used} y="67" height="4"/></svg>'
        )


def plots(graph: Graph) -> tuple[list[Spread], list[str]]:
    """The spread of each constant in the graph's order, and a sentence for each group of constants left out."""
    notes: list[str] = []
    try:
        graph = with_parameters(graph)
    except ArtifactError as error:
        notes.append(f"{error.where}: {error.what}" if error.where else error.what)
    constants = [op for op in graph.ops if op.is_const]
    largest = {op.name for op in sorted(constants, key=lambda op: -math.prod(op.output.shape))[:MOST]}
    if len(constants) > MOST:
        notes.append(f"{len(constants) - MOST} smaller constants are not drawn.")
    return list(_spreads(graph, [op for op in constants if op.name in largest], notes)), notes


def _spreads(graph: Graph, ops: list[Op], notes: list[str]) -> Iterator[Spread]:
    for op in ops:
        try:
            yield spread(graph, op)
        except ArtifactError as error:
            notes.append(error.what)


def spread(graph: Graph, op: Op) -> Spread:
    """The spread of a constant's values. Raises `ArtifactError` when it holds none or they do not fit its shape."""
    values = op.array().reshape(-1)
    position = fix_point(graph, op)
    if op.output.data_type == "XINT8":
        return _on_grid(op, values, position, 0)
    if position is not None and abs(position) <= _MAX_POSITION:
        return _on_grid(op, values, position, position)
    finite = [piece[np.isfinite(piece)].astype(np.float64) for piece in _pieces(values)]
    least = min((float(piece.min()) for piece in finite if len(piece)), default=0.0)
    most = max((float(piece.max()) for piece in finite if len(piece)), default=0.0)
    ends = (least, most) if least < most else (least - 0.5, least + 0.5)
    bins = sum((np.histogram(piece, BINS, ends)[0] for piece in finite), np.zeros(BINS, np.int64))
    zeros = sum(int((piece == 0).sum()) for piece in finite)
    return Spread(op.name, op.output.shape, None, *ends, least, most, None, zeros, 0, tuple(map(int, bins)))


def _on_grid(op: Op, values: Array, position: int | None, scale: int) -> Spread:
    """`values` are steps of 2**-`scale`."""
    counts = np.zeros(256, np.int64)
    for piece in _pieces(values):
        steps = np.nan_to_num(np.rint(np.ldexp(piece.astype(np.float64), scale)))
        counts += np.bincount(np.clip(steps, -128, 127).astype(np.int64) + 128, minlength=256)
    found = np.flatnonzero(counts)
    least, most = int(found[0]) - 128, int(found[-1]) - 128
    bins = counts.reshape(BINS, -1).sum(axis=1)
    saturated, used = int(counts[0] + counts[-1]), (most - least + 1) / 256
    return Spread(
        op.name, op.output.shape, position, -128, 127, least, most, used, int(counts[128]), saturated,
        tuple(map(int, bins)),
    )  # fmt: skip


def _pieces(values: Array) -> Iterator[Array]:
    return (values[start : start + _STEP] for start in range(0, len(values), _STEP))
