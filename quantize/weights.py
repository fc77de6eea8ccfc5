"""How a layer's parameters fit their int8 grids: range, channels, shifts, and what equalization could do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from quantize.analyze import bins, decibel, levels
from quantize.calibrate import WEIGHTED
from quantize.equalize import PASS_THROUGH, pairs, rows
from quantize.fold import CONVOLUTIONS
from quantize.layers import Layer
from quantize.plan import only_moves
from xmodel.graph import Array, Graph, Op


@dataclass(frozen=True, slots=True)
class Parameter:
    """A quantized constant of a layer. `spread` and what follows are None without output channels."""

    name: str
    op: str  # that reads it
    role: str  # "weights", "bias" or "operand"
    fix_point: int
    used: float  # share of the int8 range that the largest value takes, 0 to 1
    saturated: int
    count: int
    sqnr_db: float  # of the exported values against the float graph's; a bias holds its correction too
    histogram: tuple[int, ...]
    spread: float | None  # the widest output channel's range as a multiple of the median channel's
    widest: int | None  # which channel that is
    typical: float | None  # share of the int8 range that the median channel takes


@dataclass(frozen=True, slots=True)
class Shifts:
    """The DPU's shifts of one weighted op: cut = w + i - o, bias = w + i - b (None without a bias)."""

    op: str
    input_point: int
    cut: int
    bias: int | None


def layer_parameters(quantized: Graph, float_graph: Graph, layer: Layer) -> list[Parameter]:
    """Every quantized constant that `layer` reads, in reading order."""
    found: list[Parameter] = []
    for op in layer.ops:
        for arg, names in op.inputs.items():
            for name in names:
                fix = quantized.op(name)
                source = quantized.op(fix.inputs["input"][0]) if fix.type == "fix" else None
                if source is not None and source.is_const and source.name in float_graph.by_name:
                    role = _role(op, arg)
                    found.append(_parameter(op, role, fix, source, float_graph.op(source.name).array()))
    return found


def _role(op: Op, arg: str) -> str:
    if op.type == "matmul" and arg == "input":
        return "weights"
    return arg if arg in ("weights", "bias") else "operand"


def _parameter(op: Op, role: str, fix: Op, constant: Op, original: Array) -> Parameter:
    position = int(fix.get("fix_point"))
    stored = constant.array().astype(np.float64)
    exact = original.astype(np.float64)
    counts = levels(torch.from_numpy(np.array(constant.array(), np.float32)), position)
    scaled = np.abs(exact) * 2.0**position
    spread, widest, typical = _channels(op, exact) if role == "weights" else (None, None, None)
    step = 2.0**-position
    return Parameter(
        name=constant.name,
        op=op.name,
        role=role,
        fix_point=position,
        used=_reach(stored, step),
        saturated=int(np.count_nonzero(scaled >= np.where(exact < 0, 128.5, 127.5))),
        count=int(stored.size),
        sqnr_db=decibel(float(np.square(exact).sum()), float(np.square(stored - exact).sum())),
        histogram=bins(counts),
        spread=spread,
        widest=widest,
        typical=None if typical is None else min(1.0, typical / (127 * step)),
    )


def _reach(values: Array, step: float) -> float:
    return float(min(1.0, max(-values.min(initial=0.0) / (128 * step), values.max(initial=0.0) / (127 * step))))


def _channels(op: Op, weights: Array) -> tuple[float | None, int | None, float | None]:
    """(widest over median, the widest channel, the median range) of the output channels that are not zero."""
    ranges = np.abs(rows(op, weights)).max(axis=1)
    alive = ranges[ranges > 0]
    if not alive.size:
        return None, None, None
    median = float(np.median(alive))
    return float(ranges.max()) / median, int(ranges.argmax()), median


def layer_shifts(quantized: Graph, layer: Layer) -> list[Shifts]:
    """The shifts of every weighted op of `layer` whose input, weights and result all have positions."""
    found: list[Shifts] = []
    output = int(layer.fix.get("fix_point"))
    for op in layer.ops:
        if op.type not in WEIGHTED:
            continue
        weights = _position(quantized, op.inputs["input"][1] if op.type == "matmul" else op.inputs["weights"][0])
        source = _position(quantized, op.inputs["input"][0])
        bias = _position(quantized, op.inputs["bias"][0]) if "bias" in op.inputs else None
        if weights is not None and source is not None:
            total = weights + source
            found.append(Shifts(op.name, source, total - output, None if bias is None else total - bias))
    return found


def _position(graph: Graph, name: str) -> int | None:
    op = graph.op(name)
    while only_moves(op):
        op = graph.op(op.inputs["input"][0])
    return int(op.get("fix_point")) if op.type == "fix" else None


def equalization(graph: Graph, done: bool) -> Mapping[str, str]:
    """For every weighted op of the float `graph`: what equalization did with its output channels, or why nothing."""
    partner = {first.name: second.name for first, second in pairs(graph)} if done else {}
    notes: dict[str, str] = {}
    for op in graph.ops:
        if op.type not in WEIGHTED:
            continue
        if op.name in partner:
            notes[op.name] = f"its output channels were equalized with {partner[op.name]}"
        else:
            notes[op.name] = _obstacle(graph, op) if done else "equalization is switched off"
    return notes


def _obstacle(graph: Graph, op: Op) -> str:
    if op.type not in CONVOLUTIONS:
        return "only convolutions are equalized"
    returned = {output.name for output in graph.outputs}
    while True:
        readers = graph.fanout[op.name]
        if op.name in returned:
            return f"{op.name} is an output of the network"
        if len(readers) != 1:
            return f"{op.name} is read by {len(readers)} ops"
        op = readers[0]
        if op.type not in PASS_THROUGH:
            return f"{op.type} {op.name} follows, through which a channel's scale cannot pass to a convolution"
