"""Where the error comes from: per layer of a quantized network its range, saturation and signal-to-noise ratios.

Three ratios of signal to noise, all taken where the layer's result is quantized, against the float
network's tensor at that place:

- accumulated: the whole network is quantized up to and including this layer;
- isolated: only this layer is quantized. Its inputs are the float network's tensors; its weights and
  biases (as exported: corrected and on their grid) and its result are on their grids;
- the isolated one's two parts: `parameters` before the result is rounded (weights, biases, the DPU's
  constants), `rounding` for the float network's own result rounded to the grid.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from quantize.execute import forward, parameters, to_torch
from quantize.kernels import Args
from quantize.layers import Layer, as_float, as_quantized, layers, run
from quantize.rounding import HIGH, LOW, to_grid
from xmodel.graph import Array, Graph, Op

BINS = 64  # of a histogram over the int8 range: bin i counts the numbers 4 i - 128 to 4 i - 125
LEVELS = HIGH - LOW + 1


@dataclass(frozen=True, slots=True)
class Measured:
    """One quantized activation. Ratios are in dB: inf without noise, -inf without signal, NaN for NaN values."""

    name: str
    type: str
    key: str
    source: str
    fix_point: int
    sqnr_db: float  # accumulated
    isolated_db: float
    parameters_db: float
    rounding_db: float
    used: float  # share of the int8 range that values reach, 0 to 1
    saturated: int  # values, in the quantized network, that rounding would have taken out of -128..127
    count: int
    clipping: float  # share of the rounding noise that saturated values make, 0 to 1
    better: int  # the position, of the chosen one and its neighbours, with the least rounding noise here
    better_db: float  # rounding ratio at that position
    low: float
    high: float
    histogram: tuple[int, ...]  # of the int8 numbers, BINS bins


@dataclass
class _Sums:
    signal: float = 0.0
    accumulated: float = 0.0
    isolated: float = 0.0
    parameters: float = 0.0
    rounding: dict[int, float] = field(default_factory=lambda: {-1: 0.0, 0: 0.0, 1: 0.0})
    clipped: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    saturated: int = 0
    count: int = 0
    levels: Tensor = field(default_factory=lambda: torch.zeros(LEVELS, dtype=torch.int64))


def analyze(quantized: Graph, float_graph: Graph, images: Iterable[Array]) -> list[Measured]:
    """Run both graphs on NHWC float32 batches and measure every layer; all sums are over all batches.

    A batch costs one float run, one quantized run and, for the isolated ratios, each layer once more.
    Memory holds the float network's quantized tensors of one batch, so feed small ones.
    """
    parts = layers(quantized, float_graph)
    by_fix = {layer.fix.name: layer for layer in parts}
    sums = {layer.fix.name: _Sums() for layer in parts}
    constants, float_constants = parameters(quantized), parameters(float_graph)
    for batch in images:
        feed = to_torch(batch)
        with torch.inference_mode():
            keep = [layer.producer.name for layer in parts]
            real = forward(float_graph, float_constants, {float_graph.inputs[0].name: feed}, keep=keep)

            def accumulate(op: Op, result: Tensor, args: Args, real: dict[str, Tensor] = real) -> Tensor:
                if op.name in by_fix:
                    before, after = (as_float(quantized, op.name, x) for x in (args["input"][0], result))
                    _accumulated(sums[op.name], by_fix[op.name], before, after, real)
                return result

            forward(quantized, constants, {quantized.inputs[0].name: feed}, accumulate)
            for layer in parts:
                known = {name: as_quantized(quantized, name, real[source]) for name, source in layer.inputs.items()}
                found = {n: as_float(quantized, n, x) for n, x in run(layer.part, constants, known).items()}
                _isolated(sums[layer.fix.name], layer, found, real[layer.producer.name])
    return [_measured(layer, sums[layer.fix.name]) for layer in parts if sums[layer.fix.name].count]


def squares(x: Tensor) -> float:
    """The sum of squares, in double precision."""
    return float(torch.linalg.vector_norm(x, dtype=torch.float64)) ** 2


def decibel(signal: float, noise: float) -> float:
    """10 log10(signal / noise): inf without noise, -inf without signal, NaN where a sum is no number."""
    if math.isnan(signal) or math.isnan(noise):
        return math.nan
    if not noise:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def _accumulated(total: _Sums, layer: Layer, before: Tensor, after: Tensor, real: dict[str, Tensor]) -> None:
    original = real[layer.producer.name]
    position = int(layer.fix.get("fix_point"))
    total.signal += squares(original)
    total.accumulated += squares(after - original)
    low, high = (float(v) for v in torch.aminmax(after))
    total.low, total.high = min(total.low, low), max(total.high, high)
    total.saturated += int(_outside(before, position).sum())
    total.count += after.numel()
    total.levels += levels(after, position)


def _isolated(total: _Sums, layer: Layer, found: dict[str, Tensor], original: Tensor) -> None:
    position = int(layer.fix.get("fix_point"))
    total.isolated += squares(found[layer.fix.name] - original)
    total.parameters += squares(found[layer.producer.name] - original)
    for offset in total.rounding:
        total.rounding[offset] += squares(to_grid(original, position + offset) - original)
    outside = _outside(original, position)
    if bool(outside.any()):
        lost = original[outside]
        total.clipped += squares(to_grid(lost, position) - lost)


def _outside(x: Tensor, position: int) -> Tensor:
    """True where rounding half up leaves -128..127."""
    step = 2.0**-position
    return (x < (LOW - 0.5) * step) | (x >= (HIGH + 0.5) * step)


def levels(x: Tensor, position: int) -> Tensor:
    """How often each of the 256 int8 numbers occurs in `x`, float32 values on the grid: int64 (256,), the first
    for -128. NaN counts as 0."""
    numbers = torch.nan_to_num(x * 2.0**position).sub_(LOW).to(torch.uint8)
    return torch.bincount(numbers.flatten(), minlength=LEVELS)


def bins(counts: Tensor) -> tuple[int, ...]:
    """`levels` summed into BINS bins."""
    return tuple(int(n) for n in counts.reshape(BINS, -1).sum(1))


def _measured(layer: Layer, total: _Sums) -> Measured:
    fix, producer = layer.fix, layer.producer
    position = int(fix.get("fix_point"))
    step = 2.0**-position
    noise = total.rounding[0]
    best = min(total.rounding, key=lambda offset: (total.rounding[offset], abs(offset)))
    return Measured(
        name=producer.name,
        type=producer.type,
        key=str(producer.get("__key", "")),
        source=str(producer.get("__source", "")),
        fix_point=position,
        sqnr_db=decibel(total.signal, total.accumulated),
        isolated_db=decibel(total.signal, total.isolated),
        parameters_db=decibel(total.signal, total.parameters),
        rounding_db=decibel(total.signal, noise),
        used=min(1.0, max(-total.low / (-LOW * step), total.high / (HIGH * step))),
        saturated=total.saturated,
        count=total.count,
        clipping=total.clipped / noise if noise else 0.0,
        better=position + best,
        better_db=decibel(total.signal, total.rounding[best]),
        low=total.low,
        high=total.high,
        histogram=bins(total.levels),
    )
