"""The float ops that stay on the CPU, and those of a quantized graph before lowering: NumPy float32, NHWC.

Each maker checks an op once and returns the function of its input arrays. Sums of products are taken in float64 and
rounded once, so values on a power-of-two grid come out exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from runtime.emulator import layout, reference
from runtime.emulator.node import Node, broadcasts, flag
from runtime.emulator.rounding import ROUND_MODES, quantize
from runtime.emulator.spec import Resize, Rules, Window, window
from runtime.emulator.spec import resize as resize_spec
from xmodel.graph import Array, numpy_dtype

Function = Callable[..., Array]
Maker = Callable[[Node], Function]


def _float32(function: Function) -> Maker:
    """A maker for an elementwise function without attributes."""

    def make(node: Node) -> Function:
        return lambda *inputs: np.asarray(function(*inputs), np.float32)

    return make


def _fold(function: Callable[[Array, Array], Array]) -> Maker:
    """A maker for a two-operand function over any number of inputs."""

    def make(node: Node) -> Function:
        broadcasts(node)

        def run(first: Array, *rest: Array) -> Array:
            for other in rest:
                first = function(first, other)
            return first

        return run

    return make


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) without overflow, float32."""
    small = np.exp(-np.abs(x.astype(np.float64)))
    return np.where(x < 0, small / (1 + small), 1 / (1 + small)).astype(np.float32)


def softmax(node: Node) -> Function:
    """softmax along `axis`."""
    axis = node.axis(default=-1)

    def run(x: Array) -> Array:
        power = np.exp(x - x.max(axis=axis, keepdims=True))
        return np.asarray(power / power.sum(axis=axis, keepdims=True), np.float32)

    return run


def gelu(node: Node) -> Function:
    """x * Phi(x), or its approximation by tanh; computed once per distinct value."""
    by_tanh = str(node.op.get("approximate", "none")).strip("'") == "tanh"

    def run(x: Array) -> Array:
        values, where = np.unique(x, return_inverse=True)
        wide = values.astype(np.float64)
        if by_tanh:
            inner = np.tanh(math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3))
        else:
            inner = np.array([math.erf(v / math.sqrt(2)) for v in wide.tolist()])
        return np.asarray(wide * (0.5 * (1 + inner)), np.float32)[where.reshape(x.shape)]

    return run


def leaky_relu(node: Node) -> Function:
    """max(x, alpha x)."""
    alpha = np.float32(node.real("alpha"))
    return lambda x: np.where(x < 0, x * alpha, x)


def elu(node: Node) -> Function:
    """alpha (exp(x) - 1) below zero."""
    alpha = np.float32(node.real("alpha", 1.0))
    return lambda x: np.asarray(np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x), np.float32)


def _quantizer(node: Node, lane: int) -> tuple[Function, int]:
    mode = node.choice("round_mode", tuple(ROUND_MODES), "DPU_ROUND")
    point, bits = node.integer("fix_point", -64, 64), node.integer("bit_width", 1, lane, 8)
    signed = flag(node, "if_signed", True)
    return lambda x: quantize(x, point, bits, mode, signed), point


def fix(node: Node) -> Function:
    """float -> the nearest value on the fix-point grid, as float."""
    to_integer, point = _quantizer(node, 32)
    return lambda x: np.asarray(to_integer(x) * 2.0**-point, np.float32)


def float2fix(node: Node) -> Function:
    """float -> integer."""
    dtype = numpy_dtype(node.output.data_type)
    to_integer, _ = _quantizer(node, 8 * dtype.itemsize)
    return lambda x: to_integer(x).astype(dtype)


def fix2float(node: Node) -> Function:
    """integer -> float."""
    scale = np.float32(2.0 ** -node.integer("fix_point", -64, 64))
    return lambda q: q.astype(np.float32) * scale


def conv(node: Node) -> Function:
    """conv2d (grouped where its weights take fewer channels than there are), its depthwise and transposed forms."""
    frame, (_, height, width, channels) = window(node), node.image
    depthwise, transposed = "depthwise" in node.op.type, node.op.type.startswith("transposed")
    weights = node.inputs[1].shape
    node.need(len(weights) == 4 and len(node.output.shape) == 4, "needs 4-D weights and an NHWC output")
    made = channels if depthwise else weights[0]
    groups = 1 if depthwise or transposed or channels % weights[3] else channels // weights[3]
    expected = (1 if depthwise else made, frame.kernel[1], frame.kernel[0], channels // groups)
    node.need(made % groups == 0, f"makes {made} channels in {groups} groups")
    node.need(weights == expected, f"needs weights {list(expected)}, not {list(weights)}")
    out_h, out_w = node.output.shape[1:3]
    if transposed:
        node.need(all(p < k for p, k in zip(frame.pad[::2], frame.kernel, strict=True)), "has a pad beyond its kernel")
    else:
        node.need(
            (frame.outputs(1, height), frame.outputs(0, width)) == (out_h, out_w), "has an output of another size"
        )
    node.shape_is(0, out_h, out_w, made)

    def run(x: Array, kernel: Array, bias: Array | None = None) -> Array:
        inner = frame
        if transposed:
            x, inner = reference.insert_zeros(x, frame)
        total = np.zeros((x.shape[0], out_h, out_w, made))
        for row, column, view in reference.taps(x.astype(np.float64), inner, (out_h, out_w), 0):
            tap = kernel[:, row, column].astype(np.float64)
            total += view * tap if depthwise else grouped(view, tap, groups)
        return np.asarray(total if bias is None else total + bias, np.float32)

    return run


def grouped(view: Array, tap: Array, groups: int) -> Array:
    """view [..., C] times the transpose of tap [made, C / groups], group by group."""
    parts = zip(np.split(view, groups, axis=-1), np.split(tap, groups), strict=True)
    return np.concatenate([a @ b.T for a, b in parts], axis=-1)


def pool(node: Node) -> Function:
    """maxpool2d and avgpool2d (the plain mean over the kernel's area)."""
    frame, (_, height, width, channels) = window(node), node.image
    if flag(node, "global"):
        frame = Window((width, height))
    node.need(len(node.output.shape) == 4, "needs an NHWC output")
    out = node.output.shape[1], node.output.shape[2]
    for axis, size in enumerate((width, height)):
        fits = {frame.outputs(axis, size), frame.outputs(axis, size, ceil=True)}
        node.need(out[1 - axis] in fits, f"makes {sorted(fits)} windows along an axis, its tensor says {out[1 - axis]}")
    node.shape_is(0, *out, channels)
    maximum, area = node.op.type == "maxpool2d", frame.kernel[0] * frame.kernel[1]

    def run(x: Array) -> Array:
        views = [view for _, _, view in reference.taps(x, frame, out, -np.inf if maximum else 0)]  # type: ignore[arg-type]
        if maximum:
            return np.asarray(np.maximum.reduce(views))
        return np.asarray(np.add.reduce(views, dtype=np.float64) / area, np.float32)

    return run


def matmul(node: Node) -> Function:
    """a @ b + bias, either operand transposed."""
    first, second = flag(node, "transpose_a"), flag(node, "transpose_b")

    def run(a: Array, b: Array, bias: Array | None = None) -> Array:
        a, b = (a.swapaxes(-1, -2) if first else a), (b.swapaxes(-1, -2) if second else b)
        total = a.astype(np.float64) @ b.astype(np.float64)
        return np.asarray(total if bias is None else total + bias, np.float32)

    return run


def inner_product(node: Node) -> Function:
    """x flattened from `axis` on, times weights [out, in], plus bias."""
    axis = node.axis(default=1)

    def run(x: Array, weights: Array, bias: Array | None = None) -> Array:
        flat = x.reshape(*x.shape[:axis], -1).astype(np.float64)
        total = flat @ weights.reshape(weights.shape[0], -1).T.astype(np.float64)
        return np.asarray(total if bias is None else total + bias, np.float32)

    return run


def scale(node: Node) -> Function:
    """x * scale + bias along the channels."""
    broadcasts(node)
    return lambda x, factor, *bias: np.asarray(x * factor + (bias[0] if bias else np.float32(0)), np.float32)


def batchnorm(node: Node) -> Function:
    """(x - mean) / sqrt(var + epsilon) * gamma + beta along the channels."""
    epsilon = node.real("epsilon")
    broadcasts(node)

    def run(x: Array, gamma: Array, beta: Array, mean: Array, var: Array) -> Array:
        return np.asarray((x - mean) / np.sqrt(var + epsilon) * gamma + beta, np.float32)

    return run


def _axes(node: Node, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    value, rank = node.op.get(name, default), len(node.inputs[0].shape)
    value = (value,) if isinstance(value, int) else tuple(value)
    node.need(all(isinstance(v, int) and -rank <= v < rank for v in value), f"has axes {list(value)} of {rank}")
    return tuple(v % rank for v in value)


def reduction(function: Callable[..., Array]) -> Maker:
    """A maker for a reduction over `axis`."""

    def make(node: Node) -> Function:
        axes, keep = _axes(node, "axis", ()), flag(node, "keep_dims")
        return lambda x: np.asarray(function(x.astype(np.float64), axis=axes, keepdims=keep), np.float32)

    return make


def l2_normalize(node: Node) -> Function:
    """x / sqrt(max(sum x^2, epsilon))."""
    axes, epsilon = _axes(node, "axis", (-1,)), node.real("epsilon", 1e-12)

    def run(x: Array) -> Array:
        norm = np.sqrt(np.maximum((x.astype(np.float64) ** 2).sum(axis=axes, keepdims=True), epsilon))
        return np.asarray(x / norm, np.float32)

    return run


def argmax(node: Node) -> Function:
    """Index of the first maximum along `axis`, int32."""
    axis, keep = node.axis(default=-1), flag(node, "keep_dims")
    return lambda x: np.argmax(x, axis=axis, keepdims=keep).astype(np.int32)


def concat(node: Node) -> Function:
    """Join along `axis`."""
    axis = node.axis()
    return lambda *inputs: np.concatenate(inputs, axis=axis)


def stack(node: Node) -> Function:
    """Join along a new axis."""
    axis = node.integer("axis", -8, 8)
    return lambda *inputs: np.stack(inputs, axis=axis)


def reshape(node: Node) -> Function:
    """reshape, flatten, squeeze and their integer forms: the output tensor's shape, whatever the batch."""
    shape, source = node.output.shape, node.inputs[0].shape
    node.need(int(np.prod(shape)) == int(np.prod(source)), f"cannot make {list(shape)} of {list(source)}")
    node.need(len(shape) > 0 and 0 not in shape[1:], f"makes an empty {list(shape)}")
    return lambda x, *_: layout.reshape(x, shape)


def transpose(node: Node) -> Function:
    """Permute axes by `order`."""
    rank = len(node.inputs[0].shape)
    order = node.ints("order", rank, 0, rank - 1)
    node.need(len(set(order)) == rank, f"has {list(order)} as order of {rank} axes")
    return lambda x: np.ascontiguousarray(x.transpose(order))


def strided_slice(node: Node) -> Function:
    """x[begin:end:strides]; the batch axis is kept whole."""
    rank, far = len(node.inputs[0].shape), 1 << 31
    begin, end = node.ints("begin", rank, -far, far), node.ints("end", rank, -far, far)
    strides = node.ints("strides", rank, 1, far, (1,) * rank)
    window = (slice(None), *(slice(*bounds) for bounds in list(zip(begin, end, strides, strict=True))[1:]))
    return lambda x: np.ascontiguousarray(x[window])


def pad(node: Node) -> Function:
    """pad and pad-fix."""
    rank = len(node.inputs[0].shape)
    paddings = node.ints("paddings", 2 * rank, 0, 1 << 14)
    mode = node.choice("mode", ("CONSTANT", "REFLECT", "SYMMETRIC"), "CONSTANT")
    values: Sequence[float] = node.op.get("constant_values", ())
    if isinstance(values, bytes | memoryview):
        values = np.frombuffer(values, np.int8).tolist()
    node.need(len(values) in (0, 2 * rank), f"has {len(values)} constant values for {2 * rank} borders")
    sides = zip(node.inputs[0].shape, paddings[::2], paddings[1::2], strict=True)
    node.shape_is(*(size + before + after for size, before, after in sides))
    return lambda x: layout.pad(x, paddings, mode, values)


def _divisible(node: Node, step: int, *, channels: bool) -> None:
    _, h, w, c = node.image
    fits = c % (step * step) == 0 if channels else h % step == 0 and w % step == 0
    node.need(fits, f"cannot take {h}x{w}x{c} apart in steps of {step}")


def rearrange(name: str, down: Callable[[Array, int], Array], up: Callable[[Array, int], Array]) -> Maker:
    """A maker for ops that move pixels to channels (`down`) or, reversed, channels to pixels (`up`)."""

    def make(node: Node) -> Function:
        step, reverse = node.integer(name, 1, 1 << 10), flag(node, "reverse")
        _divisible(node, step, channels=reverse)
        chosen = up if reverse else down
        return lambda x: chosen(x, step)

    return make


def pixel_shuffle(node: Node) -> Function:
    """pixel-shuffle (`upscale`) and pixel-shuffle-fix (`reverse`)."""
    step = node.integer("scale", 1, 1 << 10)
    upscale = flag(node, "upscale") if node.op.type == "pixel-shuffle" else not flag(node, "reverse")
    _divisible(node, step, channels=upscale)
    chosen = layout.pixel_shuffle if upscale else layout.pixel_unshuffle
    return lambda x: chosen(x, step)


def resize(node: Node) -> Function:
    """resize; the output's size is its tensor's."""
    spec: Resize = resize_spec(node, Rules.CARD)
    return lambda x, *_: np.asarray(reference.resize_float(spec, x), x.dtype)


def identity(node: Node) -> Function:
    """Pass on."""
    return lambda x: x


_relu = _float32(lambda x: np.maximum(x, np.float32(0)))

MAKERS: dict[str, Maker] = {
    "add": _fold(np.add),
    "sub": _fold(np.subtract),
    "mul": _fold(np.multiply),
    "div": _fold(np.divide),
    "max": _fold(np.maximum),
    "min": _fold(np.minimum),
    "neg": _float32(np.negative),
    "exp": _float32(np.exp),
    "relu": _relu,
    "relu6": _float32(lambda x: np.clip(x, np.float32(0), np.float32(6))),
    "leaky-relu": leaky_relu,
    "elu": elu,
    "sigmoid": _float32(sigmoid),
    "tanh": _float32(np.tanh),
    "gelu": gelu,
    "swish": _float32(lambda x: x * sigmoid(x)),
    "hard-tanh": _float32(lambda x: np.clip(x, np.float32(-1), np.float32(1))),
    "hard-sigmoid": _float32(lambda x: np.clip(x + np.float32(3), 0, 6) / np.float32(6)),
    "hard-swish": _float32(lambda x: x * np.clip(x + np.float32(3), 0, 6) / np.float32(6)),
    "softmax": softmax,
    "argmax": argmax,
    "fix": fix,
    "float2fix": float2fix,
    "fix2float": fix2float,
    "conv2d": conv,
    "depthwise-conv2d": conv,
    "transposed-conv2d": conv,
    "transposed-depthwise-conv2d": conv,
    "maxpool2d": pool,
    "avgpool2d": pool,
    "matmul": matmul,
    "inner-product": inner_product,
    "scale": scale,
    "batchnorm": batchnorm,
    "reduction_mean": reduction(np.mean),
    "reduction_sum": reduction(np.sum),
    "reduction_max": reduction(np.max),
    "reduction_product": reduction(np.prod),
    "l2_normalize": l2_normalize,
    "concat": concat,
    "stack": stack,
    "resize": resize,
    "reshape": reshape,
    "flatten": reshape,
    "squeeze": reshape,
    "reshape-fix": reshape,
    "transpose": transpose,
    "strided_slice": strided_slice,
    "strided_slice-fix": strided_slice,
    "pad": pad,
    "pad-fix": pad,
    "reorg": rearrange("scale", layout.reorg, layout.reorg_reverse),
    "reorg-fix": rearrange("scale", layout.reorg, layout.reorg_reverse),
    "tile-fix": rearrange("stride", layout.space_to_depth, layout.depth_to_space),
    "gstiling": rearrange("stride", layout.space_to_depth, layout.depth_to_space),
    "pixel-shuffle": pixel_shuffle,
    "pixel-shuffle-fix": pixel_shuffle,
    "upload": identity,
    "download": identity,
    "identity": identity,
}
