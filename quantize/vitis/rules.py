"""What each XIR float op is in old torch: one short function an op, and the table of them.

Where torch's own function is younger than torch 1.4, the old torch says so when the line runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from quantize.vitis.writer import NCHW, Writer, usual_order
from xmodel.errors import UsageError
from xmodel.graph import Array, Op

Rule = Callable[[Writer, Op], str]
_NHWC = (0, 3, 1, 2)  # where each NCHW axis lies in an XIR tensor
_FAR = 2**31 - 1  # XIR's "to the end" in a slice


def _axis(axis: int, rank: int) -> int:
    """The torch axis of an XIR axis."""
    return usual_order(rank)[axis]


def _refuse(op: Op, what: str) -> UsageError:
    return UsageError(f"Op {op.name!r} {what}.", where=str(op.get("__source", "")), hint="Use --backend unmask.")


def _hw(op: Op, name: str) -> tuple[int, int]:
    width, height = (int(v) for v in op.get(name))
    return (height, width)


def _padded(op: Op, x: str, value: float = 0.0) -> tuple[str, tuple[int, int]]:
    """The operand and torch's symmetric padding; an asymmetric one becomes a pad of its own."""
    left, right, top, bottom = (int(v) for v in op.get("pad"))
    if (left, top) == (right, bottom):
        return x, (top, left)
    number = repr(value) if math.isfinite(value) else f"float({str(value)!r})"
    return f"F.pad({x}, ({left}, {right}, {top}, {bottom}), 'constant', {number})", (0, 0)


def _channels(writer: Writer, op: Op) -> int:
    return writer.graph.op(op.inputs["input"][0]).output.shape[-1]


def _with_bias(writer: Writer, op: Op, weight: Array) -> dict[str, Array]:
    bias = {"bias": writer.constants[op.inputs["bias"][0]]} if "bias" in op.inputs else {}
    return {"weight": weight, **bias}


def _conv(writer: Writer, op: Op) -> str:
    name = op.inputs["weights"][0]
    weight = writer.constants[name]
    kernel, stride, dilation = tuple(weight.shape[2:]), _hw(op, "stride"), _hw(op, "dilation")
    channels, bias, x = _channels(writer, op), "bias" in op.inputs, writer.input(op)
    groups = channels if "depthwise" in op.type else int(op.get("group", 1))
    if op.type.startswith("transposed"):
        left, right, top, bottom = (int(v) for v in op.get("pad"))
        extra = (top - bottom, left - right)  # a smaller pad at the far sides is torch's output padding
        if min(extra) < 0:
            raise _refuse(op, f"has the padding {list(op.get('pad'))}, which torch cannot express")
        sizes = f"{channels}, {weight.shape[1] * groups}, {kernel}, {stride}, {(top, left)}, {extra}"
        code = f"nn.ConvTranspose2d({sizes}, {groups}, {bias}, {dilation})"
    else:
        x, padding = _padded(op, x)
        sizes = f"{channels}, {weight.shape[0]}, {kernel}, {stride}, {padding}, {dilation}"
        code = f"nn.Conv2d({sizes}, {groups}, {bias})"
    return f"{writer.layer(writer.path(name, 'weight', op), code, _with_bias(writer, op, weight))}({x})"


def _matmul(writer: Writer, op: Op) -> str:
    name = op.inputs["input"][1]
    if name not in writer.constants:
        raise _refuse(op, "multiplies two computed matrices")
    weight = writer.constants[name]
    code = f"nn.Linear({weight.shape[1]}, {weight.shape[0]}, {'bias' in op.inputs})"
    layer = writer.layer(writer.path(name, "weight", op), code, _with_bias(writer, op, weight))
    return f"{layer}({writer.input(op)})"


def _batch_norm(writer: Writer, op: Op) -> str:
    names = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_var"}
    state = {name: writer.constants[op.inputs[arg][0]] for name, arg in names.items()}
    rank = len(writer.graph.op(op.inputs["input"][0]).output.shape)
    kind = "BatchNorm2d" if rank == 4 else "BatchNorm1d"
    code = f"nn.{kind}({state['weight'].size}, {float(op.get('epsilon'))!r})"
    path = writer.path(op.inputs["gamma"][0], "weight", op)
    return f"{writer.layer(path, code, state)}({writer.input(op)})"


def _scale(writer: Writer, op: Op) -> str:
    """A batch norm of which only factor and offset are left."""
    name = op.inputs["scale"][0]
    factor, offset = writer.constants[name], writer.constants[op.inputs["bias"][0]]
    rest = {"running_mean": np.zeros_like(factor), "running_var": np.ones_like(factor)}
    kind = "BatchNorm2d" if len(op.output.shape) == 4 else "BatchNorm1d"
    state = {"weight": factor, "bias": offset, **rest}
    layer = writer.layer(writer.path(name, "weight", op), f"nn.{kind}({factor.size}, 0.0)", state)
    return f"{layer}({writer.input(op)})"


def _max_pool(writer: Writer, op: Op) -> str:
    x, padding = _padded(op, writer.input(op), -math.inf)
    ceil = op.get("pad_mode") == "CEIL"
    code = f"nn.MaxPool2d({_hw(op, 'kernel')}, {_hw(op, 'stride')}, {padding}, ceil_mode={ceil})"
    return f"{writer.plain(op, code)}({x})"


def _avg_pool(writer: Writer, op: Op) -> str:
    left, right, top, bottom = (int(v) for v in op.get("pad"))
    if (left, top) != (right, bottom):
        raise _refuse(op, f"averages over the padding {list(op.get('pad'))}, which torch cannot express")
    if op.get("__kind") == "adaptive_avg_pool2d":
        _, height, width, _ = op.output.shape
        code = f"nn.AdaptiveAvgPool2d({(height, width)})"
    else:
        ceil, include = op.get("pad_mode") == "CEIL", bool(op.get("count_include_pad", True))
        window = f"{_hw(op, 'kernel')}, {_hw(op, 'stride')}, {(top, left)}"
        code = f"nn.AvgPool2d({window}, ceil_mode={ceil}, count_include_pad={include})"
    return f"{writer.plain(op, code)}({writer.input(op)})"


def _concat(writer: Writer, op: Op) -> str:
    axis, rank = int(op.get("axis")), len(op.output.shape)
    return f"torch.cat([{', '.join(writer.operand(name) for name in op.inputs['input'])}], {_axis(axis, rank)})"


def _reshape(writer: Writer, op: Op) -> str:
    """A flatten, or a reshape whose elements lie in memory as XIR counts them, whatever its axes are called."""
    source = writer.graph.op(op.inputs["input"][0])
    shape, order = op.output.shape, writer.order(source.name)
    if len(source.output.shape) == 4 and len(shape) == 2 and order == NCHW:
        return f"torch.flatten({writer.input(op)}, 1)"
    real = [torch_axis for torch_axis, size in zip(order, source.output.shape, strict=True) if size != 1]
    if real != sorted(real):
        raise _refuse(op, f"reshapes {list(source.output.shape)} to {list(shape)} in another order than torch's")
    if len(shape) == 4 and (shape[3] == 1 or shape[1] * shape[2] == 1):
        target = tuple(shape[axis] for axis in _NHWC)
    else:
        target, writer.orders[op.name] = shape, tuple(range(len(shape)))
    return f"{writer.variables[source.name]}.reshape(-1, {', '.join(map(str, target[1:]))})"


def _transpose(writer: Writer, op: Op) -> str:
    """One that is a node of the network; one that only turns NHWC into NCHW for a reshape is a change of names."""
    order, source = tuple(int(v) for v in op.get("order")), op.inputs["input"][0]
    if not op.get("__kind"):
        names = writer.order(source)
        writer.orders[op.name] = tuple(names[axis] for axis in order)
        return writer.variables[source]
    usual = usual_order(len(order))
    axes = [usual[order[usual.index(axis)]] for axis in range(len(order))]
    swapped = [axis for axis, other in enumerate(axes) if axis != other]
    if len(swapped) == 2:
        return f"torch.transpose({writer.input(op)}, {swapped[0]}, {swapped[1]})"
    return f"{writer.input(op)}.permute({', '.join(map(str, axes))})"


def _slice(writer: Writer, op: Op) -> str:
    rank = len(op.output.shape)
    windows = [":"] * rank
    for axis, bounds in enumerate(zip(op.get("begin"), op.get("end"), op.get("strides"), strict=True)):
        begin, end, step = (int(v) for v in bounds)
        window = f"{begin or ''}:{'' if end == _FAR else end}{f':{step}' if step != 1 else ''}"
        windows[_axis(axis, rank)] = window
    return f"{writer.input(op)}[{', '.join(windows)}]"


def _pad(writer: Writer, op: Op) -> str:
    _, _, top, bottom, left, right, _, _ = (int(v) for v in op.get("paddings"))
    sides = f"({left}, {right}, {top}, {bottom})"
    if op.get("mode") == "REFLECT":
        return f"F.pad({writer.input(op)}, {sides}, 'reflect')"
    return f"F.pad({writer.input(op)}, {sides}, 'constant', {float(op.get('constant_values', (0.0,))[0])!r})"


def _pixel_shuffle(writer: Writer, op: Op) -> str:
    factor = int(op.get("scale"))
    if op.get("upscale"):
        return f"{writer.plain(op, f'nn.PixelShuffle({factor})')}({writer.input(op)})"
    return f"F.pixel_unshuffle({writer.input(op)}, {factor})"


def _reduction(function: str) -> Rule:
    def write(writer: Writer, op: Op) -> str:
        rank = len(writer.graph.op(op.inputs["input"][0]).output.shape)
        given, keep = [int(v) for v in op.get("axis")], bool(op.get("keep_dims"))
        # the axes of `mean`, which stays an ATen operator, are torch's
        axes = given if op.type == "mean" else sorted(_axis(axis, rank) for axis in given)
        if function == "torch.max" and len(axes) == 1:
            return f"torch.max({writer.input(op)}, {axes[0]}, {keep})[0]"
        name = "torch.amax" if function == "torch.max" else function
        return f"{name}({writer.input(op)}, {axes}, {keep})"

    return write


def _prelu(writer: Writer, op: Op) -> str:
    slopes = op.inputs["input"][1]
    array = writer.constants[slopes]
    layer = writer.layer(writer.path(slopes, "weight", op), f"nn.PReLU({array.size})", {"weight": array})
    return f"{layer}({writer.input(op)})"


def _norm(kind: str, *settings: str) -> Rule:
    def write(writer: Writer, op: Op) -> str:
        affine = op.inputs["input"][1:]
        state = {name: writer.constants[given] for name, given in zip(("weight", "bias"), affine, strict=False)}
        values = ", ".join(str(int(op.get(name))) for name in settings)
        code = f"nn.{kind}({values}, eps={float(op.get('eps'))!r}, affine={bool(affine)})"
        if not affine:
            return f"{writer.plain(op, code)}({writer.input(op)})"
        return f"{writer.layer(writer.path(affine[0], 'weight', op), code, state)}({writer.input(op)})"

    return write


def _same_conv(writer: Writer, op: Op) -> str:
    _, name, *bias = op.inputs["input"]
    weight = writer.constants[name]
    kernel, stride = tuple(weight.shape[2:]), tuple(int(v) for v in op.get("stride"))
    dilation, groups = tuple(int(v) for v in op.get("dilation")), int(op.get("group"))
    sizes = f"{_channels(writer, op)}, {weight.shape[0]}, {kernel}, {stride}, 'same', {dilation}, {groups}"
    state = {"weight": weight, **({"bias": writer.constants[bias[0]]} if bias else {})}
    layer = writer.layer(writer.path(name, "weight", op), f"nn.Conv2d({sizes}, {bool(bias)})", state)
    return f"{layer}({writer.input(op)})"


def _clamp(writer: Writer, op: Op) -> str:
    bounds = [f"{name}={float(op.get(name))!r}" for name in ("min", "max") if op.get(name) is not None]
    return f"torch.clamp({', '.join([writer.input(op), *bounds])})"


def _adaptive(kind: str) -> Rule:
    def write(writer: Writer, op: Op) -> str:
        _, height, width, _ = op.output.shape
        return f"{writer.plain(op, f'nn.{kind}({(height, width)})')}({writer.input(op)})"

    return write


def _gelu(writer: Writer, op: Op) -> str:
    form = str(op.get("approximate", "none")).strip("'")
    return f"F.gelu({writer.input(op)}{', approximate=' + repr(form) if form != 'none' else ''})"


def _with(code: str, **defaults: float) -> Rule:
    """A layer with numbers of the op: `{name}` in `code` is the op's attribute or its default."""

    def write(writer: Writer, op: Op) -> str:
        numbers = {name: repr(float(op.get(name, default))) for name, default in defaults.items()}
        return f"{writer.plain(op, code.format(**numbers))}({writer.input(op)})"

    return write


def _resize(writer: Writer, op: Op) -> str:
    source, target = writer.graph.op(op.inputs["input"][0]).output.shape[1:3], op.output.shape[1:3]
    scale = [after / before for before, after in zip(source, target, strict=True)]
    by_factor = not op.get("__by_size") and all(factor == int(factor) for factor in scale)
    size = f"scale_factor={tuple(scale)}" if by_factor else f"size={tuple(target)}"
    align = f", align_corners={bool(op.get('align_corners'))}" if op.get("mode") == "BILINEAR" else ""
    return f"F.interpolate({writer.input(op)}, {size}, mode={str(op.get('mode')).lower()!r}{align})"


def _call(function: str) -> Rule:
    return lambda writer, op: f"{function}({writer.input(op)})"


def _infix(sign: str) -> Rule:
    return lambda writer, op: f"{writer.input(op)} {sign} {writer.input(op, 1)}"


# The tool turns an nn.ReLU6 module into ReLU, and capture has done so already: what is still relu6 is the function.
RULES: Mapping[str, Rule] = {
    "conv2d": _conv,
    "depthwise-conv2d": _conv,
    "transposed-conv2d": _conv,
    "transposed-depthwise-conv2d": _conv,
    "matmul": _matmul,
    "batchnorm": _batch_norm,
    "scale": _scale,
    "relu": _with("nn.ReLU()"),
    "relu6": _call("F.relu6"),
    "leaky-relu": _with("nn.LeakyReLU({alpha})", alpha=0.01),
    "nndct_prelu": _prelu,
    "sigmoid": _with("nn.Sigmoid()"),
    "tanh": _with("nn.Tanh()"),
    "hard-sigmoid": _with("nn.Hardsigmoid()"),
    "hard-swish": _with("nn.Hardswish()"),
    "silu": _with("nn.SiLU()"),
    "nndct_mish": _with("nn.Mish()"),
    "elu": _with("nn.ELU({alpha})", alpha=1.0),
    "softplus": _with("nn.Softplus({beta}, {threshold})", beta=1.0, threshold=20.0),
    "nndct_hardtanh": _with("nn.Hardtanh({min}, {max})", min=-1.0, max=1.0),
    "nndct_clamp": _clamp,
    "gelu": _gelu,
    "softmax": _with("nn.Softmax(dim=1)"),
    "abs": _call("torch.abs"),
    "neg": _call("torch.neg"),
    "nndct_elemwise_exp": _call("torch.exp"),
    "nndct_sqrt": _call("torch.sqrt"),
    "pow": lambda writer, op: f"torch.pow({writer.input(op)}, {float(op.get('exponent'))!r})",
    "maxpool2d": _max_pool,
    "avgpool2d": _avg_pool,
    "nndct_adaptive_avg_pool2d": _adaptive("AdaptiveAvgPool2d"),
    "adaptive_max_pool2d": _adaptive("AdaptiveMaxPool2d"),
    "nndct_group_norm": _norm("GroupNorm", "num_groups", "num_channels"),
    "nndct_instance_norm": _norm("InstanceNorm2d", "num_features"),
    "convolution_mode": _same_conv,
    "add": _infix("+"),
    "sub": _infix("-"),
    "mul": _infix("*"),
    "div": _infix("/"),
    "mean": _reduction("torch.mean"),
    "reduction_sum": _reduction("torch.sum"),
    "reduction_max": _reduction("torch.max"),
    "concat": _concat,
    "reshape": _reshape,
    "resize": _resize,
    "transpose": _transpose,
    "strided_slice": _slice,
    "pad": _pad,
    "pixel-shuffle": _pixel_shuffle,
}
