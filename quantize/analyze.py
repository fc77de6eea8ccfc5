"""Where the error comes from: per quantized tensor, its range, saturation and signal-to-noise ratio."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from quantize.execute import forward, parameters, to_torch
from xmodel.graph import Array, Graph, Op


@dataclass(frozen=True, slots=True)
class Layer:
    """One quantized activation. `sqnr_db` compares it with the float network's tensor at the same place."""

    name: str
    type: str
    key: str
    source: str
    fix_point: int
    sqnr_db: float  # accumulated: everything before it is quantized too; inf when equal
    used: float  # share of the int8 range that values reach, 0 to 1
    saturated: float  # share of values at the end of the range
    low: float
    high: float


@dataclass
class _Sums:
    signal: float = 0.0
    noise: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    saturated: int = 0
    count: int = 0


def analyze(quantized: Graph, float_graph: Graph, images: Iterable[Array]) -> list[Layer]:
    """Run both graphs on NHWC float32 batches and compare tensor by tensor.

    Sums are exact over all batches; memory holds one batch's activations of both graphs, so feed
    small ones.
    """
    pairs = [
        (op, quantized.op(op.inputs["input"][0]))
        for op in quantized.ops
        if op.type == "fix" and not quantized.op(op.inputs["input"][0]).is_const
    ]
    sums = {fix.name: _Sums() for fix, _ in pairs}
    constants = [(graph, parameters(graph)) for graph in (quantized, float_graph)]
    for batch in images:
        feed = to_torch(batch)
        with torch.inference_mode():
            fake, real = (
                forward(graph, values, {graph.inputs[0].name: feed}, keep=[op.name for p in pairs for op in p])
                for graph, values in constants
            )
        for fix, producer in pairs:
            _add(sums[fix.name], fix, fake[fix.name], real[producer.name])
    return [_layer(fix, producer, sums[fix.name]) for fix, producer in pairs if sums[fix.name].count]


def _add(total: _Sums, fix: Op, fake: torch.Tensor, real: torch.Tensor) -> None:
    difference = (fake - real).double()
    total.signal += float(real.double().square().sum())
    total.noise += float(difference.square().sum())
    low, high = (float(v) for v in torch.aminmax(fake))
    total.low, total.high = min(total.low, low), max(total.high, high)
    step = 2.0 ** -int(fix.get("fix_point"))
    total.saturated += int(((fake <= -128 * step) | (fake >= 127 * step)).sum())
    total.count += fake.numel()


def _layer(fix: Op, producer: Op, total: _Sums) -> Layer:
    position = int(fix.get("fix_point"))
    sqnr = math.inf if total.noise == 0 else -math.inf if total.signal == 0 else 0.0
    if sqnr == 0.0:
        sqnr = float(10 * np.log10(total.signal / total.noise))
    step = 2.0**-position
    return Layer(
        name=producer.name,
        type=producer.type,
        key=str(producer.get("__key", "")),
        source=str(producer.get("__source", "")),
        fix_point=position,
        sqnr_db=sqnr,
        used=min(1.0, max(-total.low / (128 * step), total.high / (127 * step))),
        saturated=total.saturated / total.count,
        low=total.low,
        high=total.high,
    )
