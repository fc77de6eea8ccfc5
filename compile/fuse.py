"""Every chain of float ops that ends in a fix becomes one integer op; a fix that ends no known chain is a cast.

A pattern takes the graph and a `fix` op and returns the integer ops that give the same bytes, the last in the
fix's place, or None. Inputs of an integer op are themselves quantized (`fix`, `const-fix`, `data-fix`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

import numpy as np

from arch.average import average_factor
from compile import convolve
from compile.edit import QUANTIZED, drop_unread, int8_tensor, is_quantized, position, rebuild
from xmodel.graph import Attr, Graph, Op, attrs

Pattern = Callable[[Graph, Op], list[Op] | None]


def eltwise(graph: Graph, fix: Op) -> list[Op] | None:
    """add or mul [> relu] > fix of tensors of one shape: the device aligns the positions itself."""
    found = convolve.body(graph, fix)
    if found is None or found[0].type not in ("add", "mul") or found[1] not in ("NONE", "RELU", "RELU6"):
        return None
    op, nonlinear = found
    sources = [graph.op(name) for name in op.input_names]
    if len(sources) < 2 or not all(is_quantized(s) and s.output.shape == op.output.shape for s in sources):
        return None
    kind = {"add": "ADD", "mul": "MUL"}[op.type]
    return [_integer(op, "eltwise-fix", fix, type=kind, nonlinear=nonlinear)]


def max_pool(graph: Graph, fix: Op) -> list[Op] | None:
    """max-pool > fix."""
    op = convolve.source(graph, fix)
    if op.type != "maxpool2d" or not _replaceable(graph, op):
        return None
    return [_pool(graph, op, op, fix, "MAX")]


def max_reduction(graph: Graph, fix: Op) -> list[Op] | None:
    """reduction_max over rows or columns > fix: a max-pool whose kernel covers them."""
    op = convolve.source(graph, fix)
    shape = convolve.source(graph, op).output.shape if op.input_names else ()
    axes = {int(axis) % 4 for axis in op.get("axis", ())} if op.type == "reduction_max" and len(shape) == 4 else set()
    if not axes or not axes <= {1, 2} or not op.get("keep_dims", False) or not _replaceable(graph, op):
        return None
    kernel = [shape[2] if 2 in axes else 1, shape[1] if 1 in axes else 1]
    return [_integer(op, "pool-fix", fix, kernel=kernel, stride=[1, 1], pad=[0, 0, 0, 0], type="MAX")]


def average_pool(graph: Graph, fix: Op) -> list[Op] | None:
    """average-pool > * k > fix: k is the device's N/2**M for 1/(kw*kh), so the integer pool needs no factor."""
    scaled = convolve.source(graph, fix)
    op, factor = scaled, 1.0
    if scaled.type == "mul" and len(scaled.input_names) == 2 and convolve.alone(graph, scaled):
        op, scale = (graph.op(name) for name in scaled.input_names)
        if scale.type != "const" or scale.output.shape != (1,):
            return None
        factor = float(scale.array()[0])
    if op.type != "avgpool2d" or not _replaceable(graph, op):
        return None
    kernel_w, kernel_h = op.get("kernel")
    multiplier, shift = average_factor(kernel_w, kernel_h)
    if abs(factor - kernel_w * kernel_h * multiplier / 2**shift) > 1e-6:
        return None
    pad = convolve.explicit_pad(op, convolve.source(graph, op).output.shape)
    uneven = not op.get("count_include_pad", True) or not op.get("count_include_invalid", True)
    if any(pad) and uneven:
        return None
    return [_pool(graph, op, scaled, fix, "AVG")]


def _pool(graph: Graph, op: Op, named: Op, fix: Op, kind: str) -> Op:
    pad = convolve.explicit_pad(op, convolve.source(graph, op).output.shape)
    values = attrs(kernel=list(op.get("kernel")), stride=list(op.get("stride")), pad=pad, type=kind)
    kept = {name: attr for name, attr in op.attrs.items() if name.startswith("__")}
    output = int8_tensor(fix.output.name, fix.output.shape, position(fix))
    return Op(named.name, "pool-fix", {"input": op.inputs["input"]}, {**kept, **values}, output)


def concat(graph: Graph, fix: Op) -> list[Op] | None:
    """concat > fix: each input is rescaled to the result's position."""
    op = convolve.source(graph, fix)
    if op.type != "concat" or not _replaceable(graph, op):
        return None
    return [_integer(op, "concat-fix", fix, axis=int(op.get("axis")) % len(op.output.shape))]


def resize(graph: Graph, fix: Op) -> list[Op] | None:
    """resize > fix: up- or downsampling by [w, h]; `scale` of a downsampling is in/out."""
    op = convolve.source(graph, fix)
    if op.type != "resize" or not _replaceable(graph, op) or len(op.get("scale", ())) != 2:
        return None
    kind, scale = "upsample-fix", list(op.get("scale"))
    if max(scale) < 1:
        kind, scale = "downsample-fix", [1 / s for s in scale]
    elif min(scale) < 1:
        return None
    flags = {name: bool(op.get(name, False)) for name in ("align_corners", "half_pixel_centers")}
    factors = Attr("float_vec", tuple(float(s) for s in scale))
    return [_integer(op, kind, fix, mode=str(op.get("mode")), scale=factors, **flags)]


def pad(graph: Graph, fix: Op) -> list[Op] | None:
    """pad > fix at the input's position: the border's constants become int8."""
    op = convolve.source(graph, fix)
    if op.type != "pad" or not _replaceable(graph, op) or position(convolve.source(graph, op)) != position(fix):
        return None
    real = np.asarray(op.get("constant_values", ()), np.float64)
    border = np.clip(np.floor(real * 2.0 ** position(fix) + 0.5), -128, 127).astype(np.int8)
    paddings = list(op.get("paddings"))
    values = border.tobytes()
    return [_integer(op, "pad-fix", fix, paddings=paddings, mode=str(op.get("mode")), constant_values=values)]


def reshape(graph: Graph, fix: Op) -> list[Op] | None:
    """reshape > fix at the input's position: the bytes stay."""
    op = convolve.source(graph, fix)
    if op.type != "reshape" or not _replaceable(graph, op) or position(convolve.source(graph, op)) != position(fix):
        return None
    return [_integer(op, "reshape-fix", fix, shape=list(op.output.shape))]


def hard_sigmoid(graph: Graph, fix: Op) -> list[Op] | None:
    """x > hard-sigmoid > fix, not behind a convolution of its own; below position 7 the device would not saturate."""
    inner = convolve.gate_input(graph, fix)
    if inner is None or position(fix) < convolve.HSWISH_GATE:
        return None
    point = position(inner)
    op = convolve.source(graph, fix)
    bound = replace(op, inputs={"input": (inner.name,)})
    return [_integer(bound, "hard-sigmoid-fix", fix, hsigmoid_in=point, shift_hsigmoid=14 + point - position(fix))]


def cast(graph: Graph, fix: Op) -> list[Op]:
    """A fix behind a float op turns its result into int8."""
    output = int8_tensor(fix.output.name, fix.output.shape, position(fix))
    return [Op(fix.name, "float2fix", fix.inputs, fix.attrs, output)]


# Longer chains first: a hard-swish contains a hard-sigmoid, which contains a convolution.
_PATTERNS: tuple[tuple[str, Pattern], ...] = (
    ("HSWISH", convolve.hard_swish_convolution),
    ("HSIGMOID", convolve.hard_sigmoid_convolution),
    ("", convolve.convolution),
    ("", convolve.linear),
    ("", convolve.channel_scale),
    ("", average_pool),
    ("", max_pool),
    ("", max_reduction),
    ("", hard_sigmoid),
    ("", eltwise),
    ("", concat),
    ("", resize),
    ("", pad),
    ("", reshape),
)


def fuse(graph: Graph, activations: Collection[str]) -> Graph:
    """Replace every fix by the integer op of the chain it ends.

    `activations` holds those of "HSIGMOID" and "HSWISH" that the target has behind a convolution.
    """
    patterns = [rule for needed, rule in _PATTERNS if not needed or needed in activations]
    fixes = [op for op in graph.ops if op.type == "fix"]
    new: dict[str, Op] = {}
    names: dict[str, str] = {}
    for fix in fixes:
        ops = next((found for rule in patterns if (found := rule(graph, fix)) is not None), None) or cast(graph, fix)
        new.update((op.name, op) for op in ops)
        names[fix.name] = ops[-1].name
    kept = [new.pop(op.name, op) for op in graph.ops if op.type != "fix" or op.name in new]
    return drop_unread(rebuild(graph, [*kept, *new.values()], {k: v for k, v in names.items() if k != v}))


def _integer(op: Op, kind: str, fix: Op, **values: object) -> Op:
    """`op` as integer op `kind` with `values` for attributes and `fix`'s tensor as int8."""
    kept = {name: attr for name, attr in op.attrs.items() if name.startswith("__")}
    output = int8_tensor(fix.output.name, fix.output.shape, position(fix))
    return Op(op.name, kind, op.inputs, {**kept, **attrs(**values)}, output)


def _replaceable(graph: Graph, op: Op) -> bool:
    """All of `op`'s inputs are int8, and its float result is read by one op."""
    return convolve.alone(graph, op) and all(graph.op(name).type in QUANTIZED for name in op.input_names)
