"""Patterns that become a convolution on the device: conv with its activation, linear layers, per-channel scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from compile.edit import int8_tensor, is_quantized, position
from xmodel.graph import Graph, Op, Tensor, attrs

CONVOLUTIONS = {
    "conv2d": "conv2d-fix",
    "depthwise-conv2d": "depthwise-conv2d-fix",
    "transposed-conv2d": "transposed-conv2d-fix",
    "transposed-depthwise-conv2d": "transposed-depthwise-conv2d-fix",
}
ACTIVATIONS = {"relu": "RELU", "relu6": "RELU6", "leaky-relu": "LEAKYRELU"}
LEAKY_SLOPE = 26 / 256  # the only slope that the device has
HSIGMOID_SCALE = 6 * 2731 / 16384  # the quantizer's factor behind hard-sigmoid: 2731/2**14 for 1/6
HSWISH_GATE = 7  # fix point of the gate inside hard-swish
UNUSED = -128  # what a file holds for a hard-sigmoid shift that the op does not use

_KEPT = ("kernel", "stride", "dilation", "pad", "pad_mode", "group", "in_dim", "out_dim", "bias_term")


def source(graph: Graph, op: Op) -> Op:
    """The op behind `op`'s first input."""
    return graph.op(op.input_names[0])


def alone(graph: Graph, op: Op) -> bool:
    """True when one op reads `op` and it does not leave the graph: it may be fused away."""
    return len(graph.fanout[op.name]) == 1 and op.name not in graph.get("return_ops", ())


def body(graph: Graph, fix: Op) -> tuple[Op, str] | None:
    """The computing op under `fix` and the activation between them ("NONE", "RELU", "RELU6", "LEAKYRELU")."""
    op = source(graph, fix)
    nonlinear = "NONE"
    if op.type in ACTIVATIONS and alone(graph, op):
        slope = float(op.get("alpha", LEAKY_SLOPE))
        if op.type == "leaky-relu" and abs(slope - LEAKY_SLOPE) > 1e-6:
            return None
        nonlinear, op = ACTIVATIONS[op.type], source(graph, op)
    return (op, nonlinear) if alone(graph, op) else None


def convolution(graph: Graph, fix: Op) -> list[Op] | None:
    """conv [> relu] > fix: one device op rounds once, after the activation."""
    found = body(graph, fix)
    if found is None or not _is_integer_convolution(graph, found[0]):
        return None
    op, nonlinear = found
    return [_fused(graph, op, fix.output, position(fix), {"nonlinear": nonlinear})]


def hard_sigmoid_convolution(graph: Graph, fix: Op) -> list[Op] | None:
    """conv > fix > hard-sigmoid > fix: the device rounds the convolution inside, at `hsigmoid_in`."""
    inner = gate_input(graph, fix)
    if inner is None or position(fix) < HSWISH_GATE or not alone(graph, inner):
        return None
    op = source(graph, inner)
    if inner.type != "fix" or not alone(graph, op) or not _takes_gate(graph, op):
        return None
    point = position(inner)
    shift = 14 + point - position(fix)
    gate: dict[str, str | int] = {"nonlinear": "HSIGMOID", "hsigmoid_in": point, "shift_hsigmoid": shift}
    return [_fused(graph, op, fix.output, point, gate, out_point=position(fix))]


def hard_swish_convolution(graph: Graph, fix: Op) -> list[Op] | None:
    """conv > fix > x * gate(x) > fix, the gate at position 7: the device's hard-swish after a convolution."""
    product = source(graph, fix)
    if product.type != "mul" or len(product.input_names) != 2 or not alone(graph, product):
        return None
    for gate_name, inner_name in (product.input_names, product.input_names[::-1]):
        gate, inner = graph.op(gate_name), graph.op(inner_name)
        if gate.type != "fix" or inner.type != "fix" or gate_input(graph, gate) is not inner:
            continue
        op = source(graph, inner)
        ours = len(graph.fanout[inner.name]) == 2 and inner.name not in graph.get("return_ops", ())
        if position(gate) == HSWISH_GATE and alone(graph, gate) and alone(graph, op) and ours:
            if not _takes_gate(graph, op):
                return None
            point, out = position(inner), position(fix)
            swish: dict[str, str | int] = {
                "nonlinear": "HSWISH",
                "hsigmoid_in": point,
                "shift_hsigmoid": 14 + point - HSWISH_GATE,
                "shift_hswish": point + HSWISH_GATE - out,
            }
            return [_fused(graph, op, fix.output, point, swish, out_point=out)]
    return None


def gate_input(graph: Graph, fix: Op) -> Op | None:
    """x of `hard-sigmoid(x) * 6*2731/2**14 > fix`, or None; x is quantized at a position of at least 0."""
    product = source(graph, fix)
    if product.type != "mul" or len(product.input_names) != 2 or not alone(graph, product):
        return None
    gate, scale = (graph.op(name) for name in product.input_names)
    if gate.type != "hard-sigmoid" or not alone(graph, gate) or scale.type != "const" or scale.output.shape != (1,):
        return None
    inner = source(graph, gate)
    exact = abs(float(scale.array()[0]) - HSIGMOID_SCALE) < 1e-6
    return inner if exact and is_quantized(inner) and position(inner) >= 0 else None


def linear(graph: Graph, fix: Op) -> list[Op] | None:
    """A linear layer is a convolution whose kernel covers the whole input: the device has no matrix product."""
    found = body(graph, fix)
    if found is None or found[0].type != "matmul" or len(found[0].inputs.get("input", ())) != 2:
        return None
    op, nonlinear = found
    data, weights = (graph.op(name) for name in op.inputs["input"])
    if weights.type != "const-fix" or len(weights.output.shape) != 2 or op.get("transpose_a", False):
        return None
    if not is_quantized(data) or len(data.output.shape) != 2 or not _all_constant(graph, op, "bias"):
        return None
    kernel = weights if op.get("transpose_b", False) else _transposed(weights)
    outputs, inputs = kernel.output.shape
    image, extra = _image(graph, data, inputs)
    height, width, channels = image.output.shape[1:]
    kernel = _reshaped(kernel, (outputs, height, width, channels))
    name = f"{op.name}(TransferMatMulToConv2d)"
    shape = (data.output.shape[0], 1, 1, outputs)
    float_conv = Op(
        name,
        "conv2d",
        {"input": (image.name,), "weights": (kernel.name,), **{k: v for k, v in op.inputs.items() if k == "bias"}},
        attrs(kernel=[width, height], stride=[1, 1], dilation=[1, 1], pad=[0, 0, 0, 0], pad_mode="FLOOR"),
        Tensor(name, shape),
    )
    new = {o.name: o for o in (*extra, kernel)}
    tensor = replace(fix.output, name=f"{fix.output.name}(MoveReshape)", shape=shape)
    conv = _fused(graph, float_conv, tensor, position(fix), {"nonlinear": nonlinear}, new=new)
    return [*extra, kernel, conv, reshape(f"{tensor.name}_reshaped", conv, fix.output)]


def _image(graph: Graph, data: Op, inputs: int) -> tuple[Op, list[Op]]:
    """The 4-D tensor behind a flattened one, or `data` reshaped to 1x1 pixels, with the ops this adds."""
    flat = source(graph, data) if data.type == "fix" else data
    if flat.type == "reshape":
        image = source(graph, flat)
        if is_quantized(image) and position(image) == position(data) and _flattens(image.output.shape, inputs):
            return image, []
    pixels = reshape(f"{data.name}_pixels", data, int8_tensor("", (data.output.shape[0], 1, 1, inputs), position(data)))
    pixels = replace(pixels, output=replace(pixels.output, name=pixels.name))
    return pixels, [pixels]


def _flattens(shape: tuple[int, ...], inputs: int) -> bool:
    return len(shape) == 4 and int(np.prod(shape[1:])) == inputs


def reshape(name: str, op: Op, tensor: Tensor) -> Op:
    """A `reshape-fix` of `op` to `tensor`'s name and shape, at `op`'s position."""
    output = int8_tensor(tensor.name, tensor.shape, position(op))
    return Op(name, "reshape-fix", {"input": (op.name,)}, attrs(shape=list(tensor.shape)), output)


def channel_scale(graph: Graph, fix: Op) -> list[Op] | None:
    """A lone batch normalization is a 1x1 depthwise convolution."""
    found = body(graph, fix)
    if found is None or found[0].type != "scale" or len(found[0].output.shape) != 4:
        return None
    op, nonlinear = found
    factors = graph.op(op.arg("scale") or op.name)
    channels = op.output.shape[3]
    if not _all_constant(graph, op, "scale", "bias") or factors.output.shape != (channels,):
        return None
    if op.get("axis", -1) not in (-1, 3) or not is_quantized(source(graph, op)):
        return None
    kernel = _reshaped(factors, (1, 1, 1, channels))
    inputs = {"input": op.inputs["input"], "weights": (kernel.name,)}
    if op.arg("bias"):
        inputs["bias"] = op.inputs["bias"]
    values = attrs(kernel=[1, 1], stride=[1, 1], dilation=[1, 1], pad=[0, 0, 0, 0], pad_mode="FLOOR")
    conv = Op(op.name, "depthwise-conv2d", inputs, values, op.output)
    new = {kernel.name: kernel}
    return [kernel, _fused(graph, conv, fix.output, position(fix), {"nonlinear": nonlinear}, new=new)]


def _is_integer_convolution(graph: Graph, op: Op) -> bool:
    if op.type not in CONVOLUTIONS or not is_quantized(source(graph, op)):
        return False
    weights = graph.op(op.arg("weights") or op.name)
    multiplied = "depthwise" in op.type and weights.output.shape[:1] != (1,)
    grouped = "depthwise" not in op.type and weights.output.shape[-1:] != source(graph, op).output.shape[-1:]
    return _all_constant(graph, op, "weights", "bias") and not multiplied and not grouped


def _takes_gate(graph: Graph, op: Op) -> bool:
    """Only full convolutions have a hard-sigmoid or hard-swish behind them."""
    return _is_integer_convolution(graph, op) and "depthwise" not in op.type


def _all_constant(graph: Graph, op: Op, *args: str) -> bool:
    return all(graph.op(name).type == "const-fix" for arg in args for name in op.inputs.get(arg, ()))


def _fused(
    graph: Graph,
    op: Op,
    tensor: Tensor,
    point: int,
    activation: Mapping[str, str | int],
    *,
    out_point: int | None = None,
    new: Mapping[str, Op] | None = None,
) -> Op:
    """The device op for float convolution `op`, rounded at `point`, with its result at `out_point` (default `point`).

    `activation` holds the attributes that say so; `new` the inputs that are not in the graph yet.
    shift_cut = fp_in + fp_w - point, shift_bias = fp_in + fp_w - fp_bias (spec: DPU integer arithmetic).
    """
    added = new or {}

    def at(arg: str) -> int:
        name = op.inputs[arg][0]
        return position(added.get(name) or graph.op(name))

    accumulator = at("input") + at("weights")
    image = added.get(op.inputs["input"][0]) or graph.op(op.inputs["input"][0])
    kept = {name: value for name, value in op.attrs.items() if name in _KEPT or name.startswith("__")}
    kept |= attrs(
        pad=explicit_pad(op, image.output.shape),
        shift_cut=accumulator - point,
        shift_bias=accumulator - at("bias") if op.arg("bias") else 0,
        hsigmoid_in=UNUSED,
        shift_hsigmoid=UNUSED,
        shift_hswish=UNUSED,
    )
    output = int8_tensor(tensor.name, tensor.shape, point if out_point is None else out_point)
    return Op(op.name, CONVOLUTIONS[op.type], op.inputs, {**kept, **attrs(**activation)}, output)


def explicit_pad(op: Op, shape: tuple[int, ...]) -> list[int]:
    """[left, right, top, bottom] that the windows of `op` over `shape` (NHWC) really reach, whatever its pad_mode.

    A window that stops short of the right or bottom padding needs none (the vendor's compiler trims it so);
    with pad_mode CEIL the last window may need more than was asked for.
    """
    pad = list(op.get("pad", (0, 0, 0, 0)))
    if op.type.startswith("transposed"):
        return pad
    for axis, (kernel, stride, dilation) in enumerate(
        zip(op.get("kernel"), op.get("stride"), op.get("dilation", (1, 1)), strict=True)
    ):
        size, out = shape[2 - axis], op.output.shape[2 - axis]
        reach = (out - 1) * stride + (kernel - 1) * dilation + 1 - size
        if op.get("pad_mode") == "SAME":
            pad[2 * axis] = max(reach, 0) // 2
        elif op.get("pad_mode") == "VALID":
            pad[2 * axis] = 0
        pad[2 * axis + 1] = max(reach - pad[2 * axis], 0)
    return pad


def _reshaped(constant: Op, shape: tuple[int, ...]) -> Op:
    """A const-fix with the same bytes in another shape."""
    output = replace(constant.output, shape=shape)
    return replace(constant.with_attrs(shape=list(shape)), name=_marked(constant.name), output=output)


def _transposed(constant: Op) -> Op:
    array = np.ascontiguousarray(constant.array().T)
    output = replace(constant.output, shape=array.shape)
    return replace(constant.with_attrs(data=array.tobytes(), shape=list(array.shape)), output=output)


def _marked(name: str) -> str:
    return name.removesuffix("_new") + "(reshaped)_new"
