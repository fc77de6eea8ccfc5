"""What each ATen operator becomes in XIR: one short function an operator, and the table of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch

from quantize.builder import Builder, Scope, Value, nhwc
from xmodel.errors import UsageError
from xmodel.graph import Array

# The DPU multiplies by 26/256 for a negative input, whatever slope the network was trained with.
LEAKY_ALPHA = 26 / 256


class Call:
    """One node being translated: its arguments by schema name and where it came from."""

    def __init__(self, builder: Builder, node: torch.fx.Node, scope: Scope, source: str) -> None:
        self.b, self.node, self.scope, self.source = builder, node, scope, source
        schema = cast(Any, node.target)._schema
        self.args: dict[str, Any] = {}
        for index, arg in enumerate(schema.arguments):
            given = node.args[index] if index < len(node.args) else node.kwargs.get(arg.name)
            present = index < len(node.args) or arg.name in node.kwargs
            self.args[arg.name] = given if present else arg.default_value

    def __getitem__(self, name: str) -> Any:
        return self.args[name]

    @property
    def where(self) -> str:
        """Op and source line, for messages."""
        return f"{self.node.target} ({self.source or '/'.join(a for _, a in self.scope if a) or self.node.name})"

    def refuse(self, what: str, hint: str = "") -> UsageError:
        """An error that names this op and its place in the user's code."""
        return UsageError(f"{self.where}: {what}", hint=hint)

    def value(self, name: str) -> Value:
        """A tensor argument."""
        return self.b.value(self[name], self.where)

    def array(self, name: str) -> Array | None:
        """A parameter argument as float32 in torch layout; None when it was not given."""
        if self[name] is None:
            return None
        tensor = self.b.tensor(self[name])
        if tensor is None:
            raise self.refuse(f"its {name} is computed by the network, not a parameter.")
        array: Array = tensor.to(torch.float32).cpu().numpy()
        return array

    def emit(self, type_: str, kind: str, inputs: dict[str, tuple[str, ...]], **values: Any) -> None:
        """Append the op that this node becomes."""
        self.b.add(self.node, self.scope, self.source, type_, kind, inputs, **values)

    def skip(self, value: Value) -> None:
        """This node computes nothing at inference: its result is `value`."""
        self.b.values[self.node.name] = value


def pair(value: Any) -> tuple[int, int]:
    """torch's (h, w), from an int or a list of one or two."""
    if isinstance(value, int):
        return (value, value)
    items = [int(v) for v in value]
    return (items[0], items[-1])


def window(kernel: Any, stride: Any, padding: Any) -> dict[str, Any]:
    """XIR's kernel and stride [w, h] and pad [left, right, top, bottom] from torch's (h, w)."""
    (kh, kw), (sh, sw), (ph, pw) = pair(kernel), pair(stride), pair(padding)
    return {"kernel": [kw, kh], "stride": [sw, sh], "pad": [pw, pw, ph, ph]}


def conv2d(call: Call) -> None:
    """Convolution: OHWI weights; one group per input channel is a depthwise convolution."""
    weight, bias, x = cast(Array, call.array("weight")), call.array("bias"), call.value("input")
    groups, channels = int(call["groups"]), x.shape[1]
    out, _, kh, kw = weight.shape
    padding = call["padding"]
    dh, dw = pair(call["dilation"])
    if isinstance(padding, str):
        total = (dh * (kh - 1), dw * (kw - 1)) if padding == "same" else (0, 0)
        if total[0] % 2 or total[1] % 2:
            raise call.refuse(f"padding 'same' of a {kh}x{kw} kernel is not symmetric.", "Pad explicitly.")
        padding = [total[0] // 2, total[1] // 2]
    depthwise = groups == channels and groups > 1
    if depthwise and out != channels:
        raise call.refuse(
            f"a depthwise convolution with multiplier {out // channels} has no DPU form.",
            "Use multiplier 1 and a 1x1 convolution.",
        )
    laid = weight.transpose(1, 2, 3, 0) if depthwise else weight.transpose(0, 2, 3, 1)
    inputs = {"input": (x.op,), "weights": (call.b.parameter(call["weight"], laid),), "bias": _bias(call, bias)}
    values = window((kh, kw), call["stride"], padding)
    call.emit(
        "depthwise-conv2d" if depthwise else "conv2d",
        "depthwise_conv2d" if depthwise else "conv2d",
        inputs, **values, dilation=[dw, dh], pad_mode="FLOOR",
        group=groups, in_dim=channels, out_dim=out, bias_term=bias is not None,
    )  # fmt: skip


def conv_transpose2d(call: Call) -> None:
    """Transposed convolution: OHWI weights with both kernel axes flipped, as XIR stores them."""
    weight, bias, x = cast(Array, call.array("weight")), call.array("bias"), call.value("input")
    groups, channels = int(call["groups"]), x.shape[1]
    if any(pair(call["output_padding"])):
        raise call.refuse(
            f"output_padding {pair(call['output_padding'])} has no DPU form.",
            "Choose kernel, stride and padding that give the size without it (k2 s2 or k4 s2 p1 double it).",
        )
    depthwise = groups == channels and groups > 1 and weight.shape[1] == 1
    if groups != 1 and not depthwise:
        raise call.refuse(f"{groups} groups of {channels} channels have no DPU form.", "Use 1 group.")
    flipped = weight[:, :, ::-1, ::-1]
    laid = flipped.transpose(1, 2, 3, 0)
    dh, dw = pair(call["dilation"])
    inputs = {"input": (x.op,), "weights": (call.b.parameter(call["weight"], laid),), "bias": _bias(call, bias)}
    call.emit(
        "transposed-depthwise-conv2d" if depthwise else "transposed-conv2d",
        "depthwise_conv_transpose_2d" if depthwise else "conv_transpose_2d",
        inputs, **window(weight.shape[2:], call["stride"], call["padding"]), dilation=[dw, dh], pad_mode="FLOOR",
        group=groups, in_dim=channels, out_dim=weight.shape[1] * groups, bias_term=bias is not None,
    )  # fmt: skip


def _bias(call: Call, bias: Array | None) -> tuple[str, ...]:
    return () if bias is None else (call.b.parameter(call["bias"], bias),)


def linear(call: Call) -> None:
    """Linear: matmul with a transposed [out, in] weight, `in` re-ordered to H, W, C after a flatten."""
    weight, bias, x = cast(Array, call.array("weight")), call.array("bias"), call.value("input")
    if len(x.shape) != 2:
        raise call.refuse(f"a Linear layer on a tensor of shape {x.shape} has no DPU form.", "Flatten to (N, K).")
    if x.flat is not None:
        out = weight.shape[0]
        weight = weight.reshape(out, *x.flat).transpose(0, 2, 3, 1).reshape(out, -1)
    inputs = {"input": (x.op, call.b.parameter(call["weight"], weight)), "bias": _bias(call, bias)}
    call.emit("matmul", "dense", inputs, transpose_a=False, transpose_b=True)


def batch_norm(call: Call) -> None:
    """Batch normalization with its running statistics; later folded or turned into `scale`."""
    x = call.value("input")
    channels = x.shape[1]
    names = ("weight", "bias", "running_mean", "running_var")
    defaults = (1.0, 0.0, 0.0, 1.0)
    inputs: dict[str, tuple[str, ...]] = {"input": (x.op,)}
    stem = call.scope[-1][1] if call.scope else call.node.name
    for name, arg, default in zip(names, ("gamma", "beta", "moving_mean", "moving_var"), defaults, strict=True):
        array = call.array(name)
        if array is not None:
            inputs[arg] = (call.b.parameter(call[name], array),)
        else:
            full = np.full(channels, default, np.float32)
            inputs[arg] = (call.b.constant(f"{call.b.model}__{stem}_{name}", full, f"{stem}.{name}"),)
    call.emit("batchnorm", "batch_norm", inputs, axis=3, epsilon=float(call["eps"]))


def unary(type_: str, kind: str) -> Callable[[Call], None]:
    """An elementwise op without attributes."""

    def translate_unary(call: Call) -> None:
        x = call.value(next(iter(call.args)))
        call.emit(type_, kind, {"input": (x.op,)}, flat=x.flat)
        if cast(Any, call.node.target)._schema.is_mutable:  # in place: the operand's name now means the result
            call.b.values[cast(torch.fx.Node, call.node.args[0]).name] = call.b.values[call.node.name]

    return translate_unary


def relu6(call: Call) -> None:
    """ReLU6: the vendor's tool turns the module into ReLU (equalization), the function stays."""
    if call.scope and call.scope[-1][0] == "ReLU6":
        call.b.notes.append(f"{call.where}: nn.ReLU6 is replaced by ReLU, as the vendor's quantizer does.")
        return unary("relu", "relu")(call)
    return unary("relu6", "relu6")(call)


def hardtanh(call: Call) -> None:
    """Only the [0, 6] form, which is ReLU6, has a DPU equivalent."""
    if (call["min_val"], call["max_val"]) != (0, 6):
        raise call.refuse(f"hardtanh to [{call['min_val']}, {call['max_val']}] has no DPU form.", "Use ReLU or ReLU6.")
    relu6(call)


def leaky_relu(call: Call) -> None:
    """Leaky ReLU with the DPU's only slope, 26/256."""
    x, slope = call.value("self"), float(call["negative_slope"])
    if slope != LEAKY_ALPHA:
        call.b.notes.append(f"{call.where}: negative slope {slope:g} becomes {LEAKY_ALPHA:g}, the DPU's only one.")
    call.emit("leaky-relu", "leaky_relu", {"input": (x.op,)}, flat=x.flat, alpha=LEAKY_ALPHA)


def softmax(call: Call) -> None:
    """Softmax over the channel axis (stays on the CPU)."""
    x = call.value("self")
    axis = int(call["dim"]) % len(x.shape)
    if axis != 1 or x.flat is not None:
        raise call.refuse(f"softmax over axis {axis} is only handled over channels (axis 1).")
    call.emit("softmax", "softmax", {"input": (x.op,)}, axis=len(x.shape) - 1)


def max_pool2d(call: Call) -> None:
    """Max pooling; an absent stride is the kernel."""
    if pair(call["dilation"]) != (1, 1):
        raise call.refuse("a dilated max-pool has no DPU form.")
    x = call.value("self")
    values = window(call["kernel_size"], call["stride"] or call["kernel_size"], call["padding"])
    mode = "CEIL" if call["ceil_mode"] else "FLOOR"
    call.emit("maxpool2d", "maxpool", {"input": (x.op,)}, **values, pad_mode=mode, **{"global": False})


def avg_pool2d(call: Call) -> None:
    """Average pooling; the DPU's fixed-point divisor is applied when the graph is exported."""
    x = call.value("self")
    if call["divisor_override"] is not None:
        raise call.refuse("divisor_override has no DPU form.")
    values = window(call["kernel_size"], call["stride"] or call["kernel_size"], call["padding"])
    _average(call, x, values, "avgpool", bool(call["ceil_mode"]), bool(call["count_include_pad"]), False)


def adaptive_avg_pool2d(call: Call) -> None:
    """Adaptive average pooling whose output divides its input: an ordinary average pool."""
    x = call.value("self")
    oh, ow = pair(call["output_size"])
    height, width = x.shape[2:]
    if height % oh or width % ow:
        raise call.refuse(
            f"adaptive pooling of {height}x{width} to {oh}x{ow} does not divide.", "Choose a size that divides."
        )
    kernel = (height // oh, width // ow)
    values = window(kernel, kernel, 0)
    _average(call, x, values, "adaptive_avg_pool2d", False, True, (oh, ow) == (1, 1))


def _average(call: Call, x: Value, values: Any, kind: str, ceil: bool, include_pad: bool, whole: bool) -> None:
    call.emit(
        "avgpool2d", kind, {"input": (x.op,)}, **values, pad_mode="CEIL" if ceil else "FLOOR",
        count_include_pad=include_pad, count_include_invalid=True, **{"global": whole},
    )  # fmt: skip


def binary(type_: str, kind: str) -> Callable[[Call], None]:
    """An elementwise op of two tensors, or of a tensor and a number (which becomes a full constant)."""

    def translate_binary(call: Call) -> None:
        if call.args.get("alpha", 1) != 1:
            raise call.refuse(f"alpha={call['alpha']} has no XIR form.", "Multiply explicitly.")
        names: list[str] = []
        for arg in ("self", "other"):
            operand = call[arg]
            if isinstance(operand, torch.fx.Node) and operand.name in call.b.values:
                value = call.b.values[operand.name]
                if value.flat is not None or value.shape != call.b.shape_of(call.node):
                    raise call.refuse(f"operands of shapes that must be broadcast, {value.shape}, have no DPU form.")
                names.append(value.op)
            else:
                names.append(_operand_constant(call, operand))
        call.emit(type_, kind, {"input": tuple(names)})

    return translate_binary


def _operand_constant(call: Call, operand: Any) -> str:
    """A number or parameter operand as a constant of the result's full NHWC shape."""
    shape = call.b.shape_of(call.node)
    tensor = call.b.tensor(operand)
    source = torch.tensor(operand, dtype=torch.float32) if tensor is None else tensor.to(torch.float32)
    full = np.broadcast_to(source.cpu().numpy(), shape)
    laid = full.transpose(0, 2, 3, 1) if len(shape) == 4 else full
    target = call.b.parameters[operand.name][0] if tensor is not None else f"{call.node.name}.constant"
    name = call.b.constant(f"{call.b.model}__{target.replace('.', '_')}", laid, target)
    call.b.ops[-1] = call.b.ops[-1].with_attrs(__kind="const")
    return name


def cat(call: Call) -> None:
    """Concatenation along channels (any axis of a 4-D tensor is translated to NHWC)."""
    values = [call.b.value(node, call.where) for node in call["tensors"]]
    rank = len(values[0].shape)
    axis = int(call["dim"]) % rank
    if any(v.flat is not None for v in values):
        raise call.refuse("concatenating flattened tensors has no DPU form.", "Concatenate before flattening.")
    placed = {0: 0, 1: 3, 2: 1, 3: 2}[axis] if rank == 4 else axis
    call.emit("concat", "concat", {"input": tuple(v.op for v in values)}, axis=placed)


def flatten(call: Call) -> None:
    """Flatten, view or reshape from (N, C, H, W) or (N, K) to (N, K)."""
    x = call.value(next(iter(call.args)))
    shape = call.b.shape_of(call.node)
    if shape == x.shape:
        return call.skip(x)
    if len(shape) != 2:
        raise call.refuse(f"a reshape from {x.shape} to {shape} has no DPU form.", "Only (N, C, H, W) -> (N, K) is.")
    chw = (x.shape[1], x.shape[2], x.shape[3]) if len(x.shape) == 4 else None
    flat = chw if chw is not None and chw[1] * chw[2] > 1 and chw[0] > 1 else None
    call.emit("reshape", "flatten", {"input": (x.op,)}, flat=flat, shape=list(nhwc(shape)))
    return None


def resize(mode: str) -> Callable[[Call], None]:
    """Nearest or bilinear interpolation by a constant factor."""

    def translate_resize(call: Call) -> None:
        x, shape = call.value("input"), call.b.shape_of(call.node)
        align = bool(call.args.get("align_corners") or False)
        scale = [shape[3] / x.shape[3], shape[2] / x.shape[2]]
        call.emit(
            "resize", "resize", {"input": (x.op,)}, scale=[float(s) for s in scale], mode=mode,
            align_corners=align, half_pixel_centers=mode == "BILINEAR" and not align,
        )  # fmt: skip

    return translate_resize


def identity(call: Call) -> None:
    """Dropout in eval mode, contiguous, clone: nothing to compute."""
    call.skip(call.value(next(iter(call.args))))


TABLE: dict[str, Callable[[Call], None]] = {
    "conv2d.default": conv2d,
    "conv2d.padding": conv2d,
    "conv_transpose2d.input": conv_transpose2d,
    "linear.default": linear,
    "batch_norm.default": batch_norm,
    "relu.default": unary("relu", "relu"),
    "relu_.default": unary("relu", "relu"),
    "relu6.default": relu6,
    "relu6_.default": relu6,
    "hardtanh.default": hardtanh,
    "hardtanh_.default": hardtanh,
    "leaky_relu.default": leaky_relu,
    "leaky_relu_.default": leaky_relu,
    "sigmoid.default": unary("sigmoid", "sigmoid"),
    "sigmoid_.default": unary("sigmoid", "sigmoid"),
    "tanh.default": unary("tanh", "tanh"),
    "softmax.int": softmax,
    "max_pool2d.default": max_pool2d,
    "avg_pool2d.default": avg_pool2d,
    "adaptive_avg_pool2d.default": adaptive_avg_pool2d,
    "add.Tensor": binary("add", "elemwise_add"),
    "add_.Tensor": binary("add", "elemwise_add"),
    "sub.Tensor": binary("sub", "elementwise_sub"),
    "mul.Tensor": binary("mul", "elemwise_mul"),
    "cat.default": cat,
    "flatten.using_ints": flatten,
    "view.default": flatten,
    "reshape.default": flatten,
    "upsample_nearest2d.vec": resize("NEAREST"),
    "upsample_bilinear2d.vec": resize("BILINEAR"),
    "dropout.default": identity,
    "dropout_.default": identity,
    "feature_dropout.default": identity,
    "contiguous.default": identity,
    "clone.default": identity,
}


def translate(builder: Builder, node: torch.fx.Node, scope: Scope, source: str) -> None:
    """Append to `builder` what `node` becomes. Raises `UsageError` naming an operator that has no XIR form."""
    if not hasattr(node.target, "_schema"):
        raise UsageError(f"{node.target} in node {node.name!r} is not an ATen operator.")
    call = Call(builder, node, scope, source)
    handler = TABLE.get(str(node.target).removeprefix("aten."))
    if handler is None:
        raise call.refuse(
            "this operator has no DPU form in Unmask.", "Replace it by one of: " + ", ".join(sorted(_NAMES)) + "."
        )
    handler(call)


_NAMES = {name.split(".")[0].rstrip("_") for name in TABLE}
