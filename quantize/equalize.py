"""Cross-layer equalization: move range from one convolution to the next, through ReLU, changing no result."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from quantize.fold import CONVOLUTIONS, per_output, with_data
from xmodel.graph import Array, Graph, Op

# Scaling a channel by s > 0 commutes with these.
PASS_THROUGH = frozenset({"relu", "maxpool2d", "avgpool2d", "nndct_adaptive_avg_pool2d"})


def equalize(graph: Graph) -> Graph:
    """One pass over every pair of convolutions with nothing but positively homogeneous ops between.

    spec: vai_q_pytorch 3.5, cross-layer equalization (float32 throughout).
    """
    data: dict[str, Array] = {}

    def weights(op: Op, arg: str) -> Array:
        name = op.inputs[arg][0]
        return data.get(name, graph.op(name).array())

    for first, second in pairs(graph):
        w0, w1 = weights(first, "weights"), weights(second, "weights")
        bias = weights(first, "bias") if "bias" in first.inputs else None
        scale = pair_scale(rows(first, w0), bias, _columns(second, w1))
        data[first.inputs["weights"][0]] = w0 / per_output(first, w0, scale)
        if bias is not None:
            data[first.inputs["bias"][0]] = bias / scale
        data[second.inputs["weights"][0]] = w1 * _per_input(second, w1, scale)
    return graph.with_ops(with_data(op, data[op.name]) if op.name in data else op for op in graph.ops)


def pairs(graph: Graph) -> Iterator[tuple[Op, Op]]:
    """(c0, c1) in program order: c1 reads c0 through pass-through ops that, like c0, have one reader each."""
    for second in graph.ops:
        if second.type not in CONVOLUTIONS:
            continue
        op = graph.op(second.inputs["input"][0])
        while op.type in PASS_THROUGH and len(graph.fanout[op.name]) == 1:
            op = graph.op(op.inputs["input"][0])
        if op.type in CONVOLUTIONS and len(graph.fanout[op.name]) == 1:
            yield op, second


def rows(op: Op, weights: Array) -> Array:
    """(output channels, the rest)."""
    if "depthwise" in op.type:
        return weights.transpose(0, 3, 1, 2).reshape(weights.shape[0] * weights.shape[-1], -1)
    return weights.reshape(weights.shape[0], -1)


def _columns(op: Op, weights: Array) -> Array:
    """(input channels, the rest): the last axis of OHWI; a group sees only its own channels, a channel its own."""
    if "depthwise" in op.type:
        return rows(op, weights).reshape(weights.shape[-1], -1)
    groups = int(op.get("group", 1))
    split = weights.reshape(groups, -1, weights.shape[-1])
    return split.transpose(0, 2, 1).reshape(groups * weights.shape[-1], -1)


def _per_input(op: Op, weights: Array, scale: Array) -> Array:
    """`scale` (input channels,) in a shape that multiplies `weights`."""
    if "depthwise" in op.type:
        return per_output(op, weights, np.repeat(scale, weights.shape[0]))
    groups = int(op.get("group", 1))
    if groups == 1:
        return scale
    return np.repeat(scale.reshape(groups, -1), weights.shape[0] // groups, axis=0)[:, None, None, :]


def pair_scale(w0: Array, bias: Array | None, w1: Array) -> Array:
    """s per channel between w0 (O, K), its bias (O,) and w1 (O, L): divide w0 and the bias by s, multiply w1."""
    first = w0 if bias is None else np.concatenate([w0, _shrunk_bias(w0, bias)[:, None]], axis=1)
    r0, r1 = np.abs(first).max(axis=1), np.abs(w1).max(axis=1)
    product = np.sqrt(r0 * r1)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where(product > 0, r0 / product, np.float32(1))
    scale = np.where(r0 + r1 < 0.5, np.float32(1), scale)
    return scale.astype(np.float32)


def _shrunk_bias(w0: Array, bias: Array) -> Array:
    """The bias, divided by a factor that depends on how much larger than the weights it is."""
    magnitude = np.abs(w0)
    column = bias.astype(np.float32).copy()
    safe = magnitude.copy()
    for channel, row in enumerate(magnitude):
        if not row.any():
            column[channel] = 0
            safe[channel] = 1e-7
        elif not row.all():
            safe[channel] = np.where(row == 0, row[row > 0].min(), row)
    factor = np.abs(column)[:, None] / np.maximum(safe, np.float32(1e-7))
    median, mean = float(np.median(factor)), float(factor.mean())
    largest = float(np.abs(column).max())
    if largest < 10 and largest / float(magnitude.max() or 1e-7) < 20:
        shrink = 5 if median > 100 or mean > 1000 else 2
    elif median > 30 or mean > 500:
        shrink = 20
    elif median > 15 or mean > 100:
        shrink = 10
    else:
        shrink = 5
    return column / np.float32(shrink)
