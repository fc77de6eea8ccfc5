"""Batch-norm folding: into the convolution before it, else into a per-channel `scale` op."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from xmodel.graph import Array, Graph, Op, attrs, const

CONVOLUTIONS = frozenset({"conv2d", "depthwise-conv2d", "transposed-conv2d", "transposed-depthwise-conv2d"})


def fold_batch_norm(graph: Graph) -> Graph:
    """Fold every `batchnorm` whose input is a convolution read by nothing else; turn the others into `scale`.

    float32 arithmetic as the vendor's: s = gamma / sqrt(var + eps); W *= s per output channel;
    b = b * s + (beta - mean * s), a bias being created where there was none.
    """
    replaced: dict[str, Op] = {}
    removed: dict[str, str] = {}
    added: dict[str, list[Op]] = {}
    for norm in (op for op in graph.ops if op.type == "batchnorm"):
        scale, offset = _affine(graph, norm)
        conv = graph.op(norm.inputs["input"][0])
        if conv.type in CONVOLUTIONS and len(graph.fanout[conv.name]) == 1:
            weights = graph.op(conv.inputs["weights"][0])
            replaced[weights.name] = with_data(weights, _scale_weights(conv, weights.array(), scale))
            if "bias" in conv.inputs:
                bias = graph.op(conv.inputs["bias"][0])
                replaced[bias.name] = with_data(bias, bias.array() * scale + offset)
            else:
                bias = _bias_const(weights, offset)
                added.setdefault(weights.name, []).append(bias)
                folded = replace(conv, inputs={**conv.inputs, "bias": (bias.name,)})
                replaced[conv.name] = folded.with_attrs(bias_term=True)
            removed[norm.name] = conv.name
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


def _affine(graph: Graph, norm: Op) -> tuple[Array, Array]:
    gamma, beta, mean, var = (
        graph.op(norm.inputs[arg][0]).array() for arg in ("gamma", "beta", "moving_mean", "moving_var")
    )
    scale = gamma / np.sqrt(var + np.float32(norm.get("epsilon")))
    return scale.astype(np.float32), (beta - mean * scale).astype(np.float32)


def _scale_weights(conv: Op, weights: Array, scale: Array) -> Array:
    """Per output channel: axis 0 of OHWI, the last axis of a depthwise [1, kh, kw, C]."""
    return weights * (scale if "depthwise" in conv.type else scale.reshape(-1, 1, 1, 1))


def with_data(op: Op, array: Array) -> Op:
    """The constant `op` holding `array` (float32) instead; name and attributes stay."""
    fresh = const(op.name, np.ascontiguousarray(array, np.float32))
    return replace(fresh, attrs={**op.attrs, **fresh.attrs})


def _bias_const(weights: Op, offset: Array) -> Op:
    target = str(weights.get("__param")).removesuffix("weight") + "bias"
    name = weights.name.removesuffix("weight") + "bias"
    return const(name, offset).with_attrs(__param=target)


def drop_unused(graph: Graph) -> Graph:
    """Remove ops that no output depends on; inputs stay."""
    needed: set[str] = {op.name for op in graph.outputs} | {op.name for op in graph.inputs}
    for op in reversed(graph.ops):
        if op.name in needed:
            needed.update(op.input_names)
    return graph.with_ops(op for op in graph.ops if op.name in needed)
