"""Batch-norm folding: into the convolution before it, else into a per-channel `scale` op."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from quantize.tidy import drop_unused
from xmodel.graph import Array, Graph, Op, attrs, const

CONVOLUTIONS = frozenset({"conv2d", "depthwise-conv2d", "transposed-conv2d", "transposed-depthwise-conv2d"})


def fold_batch_norm(graph: Graph) -> Graph:
    """Fold every `batchnorm` whose input is a convolution, or a channel concat of convolutions, read by nothing else.

    The others become `scale`. float32 arithmetic as the vendor's: s = gamma / sqrt(var + eps); W *= s per output
    channel; b = b * s + (beta - mean * s), a bias being created where there was none.
    """
    replaced: dict[str, Op] = {}
    removed: dict[str, str] = {}
    added: dict[str, list[Op]] = {}
    for norm in (op for op in graph.ops if op.type == "batchnorm"):
        scale, offset = _affine(graph, norm)
        convolutions = _folds_into(graph, norm)
        for conv, start in convolutions:
            part = slice(start, start + conv.output.shape[-1])
            weights = graph.op(conv.inputs["weights"][0])
            folded = weights.array() * per_output(conv, weights.array(), scale[part])
            replaced[weights.name] = with_data(weights, folded)
            if "bias" in conv.inputs:
                bias = graph.op(conv.inputs["bias"][0])
                replaced[bias.name] = with_data(bias, bias.array() * scale[part] + offset[part])
            else:
                bias = _bias_const(weights, offset[part])
                added.setdefault(weights.name, []).append(bias)
                biased = replace(conv, inputs={**conv.inputs, "bias": (bias.name,)})
                replaced[conv.name] = biased.with_attrs(bias_term=True)
        if convolutions:
            removed[norm.name] = norm.inputs["input"][0]
        else:
            gamma, beta = graph.op(norm.inputs["gamma"][0]), graph.op(norm.inputs["beta"][0])
            replaced[gamma.name], replaced[beta.name] = with_data(gamma, scale), with_data(beta, offset)
            kept = {name: attr for name, attr in norm.attrs.items() if name.startswith("__")}
            inputs = {"input": norm.inputs["input"], "scale": (gamma.name,), "bias": (beta.name,)}
            replaced[norm.name] = replace(norm, type="scale", inputs=inputs, attrs={**attrs(axis=-1), **kept})
    ops: list[Op] = []
    for old in graph.ops:
        if old.name in removed:
            continue
        op = replaced.get(old.name, old)
        inputs = {arg: tuple(removed.get(n, n) for n in names) for arg, names in op.inputs.items()}
        ops.append(replace(op, inputs=inputs))
        ops.extend(added.get(old.name, ()))
    returned = [removed.get(name, name) for name in graph.get("return_ops", ())]
    return drop_unused(graph.with_ops(ops).with_attrs(return_ops=returned))


def _folds_into(graph: Graph, norm: Op) -> list[tuple[Op, int]]:
    """The convolutions that take `norm`'s factors, each with the first channel that is its own; empty when none can."""
    source = graph.op(norm.inputs["input"][0])
    if len(graph.fanout[source.name]) != 1 or source.name in graph.get("return_ops", ()):
        return []
    parts = [source]
    if source.type == "concat" and int(source.get("axis")) == 3:
        parts = [graph.op(name) for name in source.inputs["input"]]
    if any(op.type not in CONVOLUTIONS or not _read_once(graph, op) for op in parts):
        return []
    starts = np.cumsum([0, *(op.output.shape[-1] for op in parts)])
    return [(op, int(start)) for op, start in zip(parts, starts[:-1], strict=True)]


def _read_once(graph: Graph, op: Op) -> bool:
    readers = graph.fanout[op.name]
    once = len(readers) == 1 and readers[0].input_names.count(op.name) == 1
    return once and op.name not in graph.get("return_ops", ())


def _affine(graph: Graph, norm: Op) -> tuple[Array, Array]:
    gamma, beta, mean, var = (
        graph.op(norm.inputs[arg][0]).array() for arg in ("gamma", "beta", "moving_mean", "moving_var")
    )
    scale = gamma / np.sqrt(var + np.float32(norm.get("epsilon")))
    return scale.astype(np.float32), (beta - mean * scale).astype(np.float32)


def per_output(conv: Op, weights: Array, factors: Array) -> Array:
    """`factors` (output channels,) in a shape that multiplies `weights`.

    Axis 0 of OHWI; of a depthwise [multiplier, kh, kw, C], output channel m * C + c is [m, :, :, c].
    """
    if "depthwise" in conv.type:
        return factors.reshape(weights.shape[0], 1, 1, weights.shape[-1])
    return factors.reshape(-1, 1, 1, 1)


def with_data(op: Op, array: Array) -> Op:
    """The constant `op` holding `array` (float32) instead; name and attributes stay."""
    fresh = const(op.name, np.ascontiguousarray(array, np.float32))
    return replace(fresh, attrs={**op.attrs, **fresh.attrs})


def _bias_const(weights: Op, offset: Array) -> Op:
    target = str(weights.get("__param")).removesuffix("weight") + "bias"
    name = weights.name.removesuffix("weight") + "bias"
    return const(name, offset).with_attrs(__param=target)
