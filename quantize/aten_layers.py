"""ATen's layers in XIR: convolutions, linear, normalizations and pools."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from quantize.builder import Value
from quantize.call import Call, pair, window
from xmodel.graph import Array, Attr


def conv2d(call: Call) -> None:
    """Convolution: OHWI weights; one group per input channel is a depthwise convolution, [multiplier, kh, kw, in].

    As the vendor writes it, [m, :, :, c] makes output channel m * in + c, from input channel (that) // multiplier.
    """
    weight, bias, x = cast(Array, call.array("weight")), call.array("bias"), call.image("input")
    groups, channels = int(call["groups"]), x.shape[1]
    out, _, kh, kw = weight.shape
    padding = call["padding"]
    dh, dw = pair(call["dilation"])
    if padding == "same":
        return conv2d_same(call, x, weight, bias)
    padding = 0 if padding == "valid" else padding
    depthwise = groups == channels and groups > 1
    if depthwise:
        laid = weight.reshape(out // channels, channels, kh, kw).transpose(0, 2, 3, 1)
    else:
        laid = weight.transpose(0, 2, 3, 1)
    inputs = {"input": (x.op,), "weights": (call.b.parameter(call["weight"], laid),), "bias": _bias(call, bias)}
    values = window((kh, kw), call["stride"], padding)
    call.emit(
        "depthwise-conv2d" if depthwise else "conv2d",
        "depthwise_conv2d" if depthwise else "conv2d",
        inputs, **values, dilation=[dw, dh], pad_mode="FLOOR",
        group=groups, in_dim=channels, out_dim=out, bias_term=bias is not None,
    )  # fmt: skip
    return None


def conv2d_same(call: Call, x: Value, weight: Array, bias: Array | None) -> None:
    """padding="same" is a float op to the vendor's quantizer (`aten::_convolution_mode`): on the CPU, weights as is."""
    call.note("padding='same' stays float on the CPU; write the padding as numbers to have it on the DPU.")
    operands = [call.b.parameter(call["weight"], weight)]
    if bias is not None:
        operands.append(call.b.parameter(call["bias"], bias))
    call.emit(
        "convolution_mode", "aten__convolution_mode", {"input": (x.op, *operands)},
        stride=list(pair(call["stride"])), dilation=list(pair(call["dilation"])), group=int(call["groups"]),
    )  # fmt: skip


def conv_transpose2d(call: Call) -> None:
    """Transposed convolution: OHWI weights with both kernel axes flipped, as XIR stores them.

    An output padding is a smaller pad at the far sides, which XIR's four-sided `pad` can say (the vendor's
    exporter drops it and writes a smaller image).
    """
    weight, bias, x = cast(Array, call.array("weight")), call.array("bias"), call.image("input")
    groups, channels = int(call["groups"]), x.shape[1]
    values = window(weight.shape[2:], call["stride"], call["padding"])
    extra_h, extra_w = pair(call["output_padding"])
    left, _, top, _ = values["pad"]
    if extra_w > left or extra_h > top:
        raise call.refuse(
            f"output_padding {(extra_h, extra_w)} beyond the padding {(top, left)} has no XIR form.",
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
        inputs, **(values | {"pad": [left, left - extra_w, top, top - extra_h]}), dilation=[dw, dh],
        pad_mode="FLOOR", group=groups, in_dim=channels, out_dim=weight.shape[1] * groups, bias_term=bias is not None,
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
    if len(x.shape) not in (2, 4) or x.flat is not None:
        raise call.refuse(f"batch normalization of a tensor of shape {x.shape} has no XIR form here.")
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
    call.emit("batchnorm", "batch_norm", inputs, axis=len(x.shape) - 1, epsilon=float(call["eps"]))


def group_norm(call: Call) -> None:
    """Group normalization: computed in float on the CPU between quantized tensors, its parameters quantized."""
    x = call.image("input")
    _float_norm(call, x, "group_norm", num_groups=int(call["num_groups"]), num_channels=x.shape[1])


def instance_norm(call: Call) -> None:
    """Instance normalization by the statistics of each image, in float on the CPU."""
    x = call.image("input")
    if not call["use_input_stats"]:
        raise call.refuse("instance normalization with running statistics has no XIR form.", "Use BatchNorm2d.")
    _float_norm(call, x, "instance_norm", num_features=x.shape[1])


def _float_norm(call: Call, x: Value, kind: str, **values: Any) -> None:
    given = [name for name in ("weight", "bias") if call[name] is not None]
    operands = [call.b.parameter(call[name], cast(Array, call.array(name))) for name in given]
    call.note("stays float and runs on the CPU.")
    values |= {"eps": Attr("double", float(call["eps"])), "affine": bool(operands)}
    call.emit(f"nndct_{kind}", kind, {"input": (x.op, *operands)}, **values)


def max_pool2d(call: Call) -> None:
    """Max pooling; an absent stride is the kernel."""
    if pair(call["dilation"]) != (1, 1):
        raise call.refuse("a dilated max-pool has no DPU form.")
    x = call.image("self")
    values = window(call["kernel_size"], call["stride"] or call["kernel_size"], call["padding"])
    mode = "CEIL" if call["ceil_mode"] else "FLOOR"
    call.emit("maxpool2d", "maxpool", {"input": (x.op,)}, **values, pad_mode=mode, **{"global": False})


def avg_pool2d(call: Call) -> None:
    """Average pooling; the DPU's fixed-point divisor is applied when the graph is exported."""
    x = call.image("self")
    if call["divisor_override"] is not None:
        raise call.refuse("divisor_override has no DPU form.")
    values = window(call["kernel_size"], call["stride"] or call["kernel_size"], call["padding"])
    _average(call, x, values, "avgpool", bool(call["ceil_mode"]), bool(call["count_include_pad"]), False)


def adaptive_avg_pool2d(call: Call) -> None:
    """Adaptive average pooling whose output divides its input is an ordinary average pool; otherwise it stays float."""
    x = call.image("self")
    height, width = x.shape[2:]
    oh, ow = (size or whole for size, whole in zip(call["output_size"], (height, width), strict=True))
    if height % oh or width % ow:
        call.note(f"{height}x{width} is no multiple of {oh}x{ow}: this pool stays float and runs on the CPU.")
        call.emit("nndct_adaptive_avg_pool2d", "adaptive_avg_pool2d", {"input": (x.op,)}, __unquantized=True)
        return
    kernel = (height // oh, width // ow)
    values = window(kernel, kernel, 0)
    _average(call, x, values, "adaptive_avg_pool2d", False, True, (oh, ow) == (1, 1))


def _average(call: Call, x: Value, values: Any, kind: str, ceil: bool, include_pad: bool, whole: bool) -> None:
    call.emit(
        "avgpool2d", kind, {"input": (x.op,)}, **values, pad_mode="CEIL" if ceil else "FLOOR",
        count_include_pad=include_pad, count_include_invalid=True, **{"global": whole},
    )  # fmt: skip


def adaptive_max_pool2d(call: Call) -> None:
    """Adaptive max pooling: a float op on the CPU. The indices are not available."""
    x = call.image("self")
    call.note("adaptive max-pooling stays float and runs on the CPU.")
    oh, ow = pair(call["output_size"])
    value = call.part("adaptive_max_pool2d", "aten_adaptive_max_pool2d", {"input": (x.op,)}, (*x.shape[:2], oh, ow))
    call.b.parts[call.node.name] = (value, None)
