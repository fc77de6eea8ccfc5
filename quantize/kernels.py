"""The torch kernels of XIR's float ops (and `fix`), on tensors held as torch holds them: NCHW for images."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from quantize.rounding import to_grid
from xmodel.graph import Op

Args = Mapping[str, list[Tensor]]
Kernel = Callable[[Op, Args], Tensor]


def convolve(op: Op, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The convolution-like or matmul `op` applied to `x` with the given parameters in torch layout."""
    if op.type == "matmul":
        return F.linear(x, weight, bias)
    stride, dilation = _hw(op, "stride"), _hw(op, "dilation")
    left, right, top, bottom = op.get("pad")
    groups = int(op.get("group", 1)) if "depthwise" not in op.type else x.shape[1]
    if op.type.startswith("transposed"):
        # a smaller pad at the far side is torch's output padding
        extra = (top - bottom, left - right)
        return F.conv_transpose2d(x, weight, bias, stride, (top, left), extra, groups, dilation)
    if (left, top) != (right, bottom):
        x, left, top = F.pad(x, (left, right, top, bottom)), 0, 0
    return F.conv2d(x, weight, bias, stride, (top, left), dilation, groups)


def _hw(op: Op, name: str) -> tuple[int, int]:
    width, height = op.get(name)
    return (height, width)


def _conv(op: Op, args: Args) -> Tensor:
    return convolve(op, args["input"][0], args["weights"][0], args["bias"][0] if "bias" in args else None)


def _matmul(op: Op, args: Args) -> Tensor:
    x, weight = args["input"]
    return F.linear(x, weight, args["bias"][0] if "bias" in args else None)


def _max_pool(op: Op, args: Args) -> Tensor:
    left, right, top, bottom = op.get("pad")
    x = args["input"][0]
    if (left, top) != (right, bottom):
        x, left, top = F.pad(x, (left, right, top, bottom), value=float("-inf")), 0, 0
    ceil = op.get("pad_mode") == "CEIL"
    return F.max_pool2d(x, _hw(op, "kernel"), _hw(op, "stride"), (top, left), ceil_mode=ceil)


def _avg_pool(op: Op, args: Args) -> Tensor:
    left, _, top, _ = op.get("pad")
    ceil, include = op.get("pad_mode") == "CEIL", bool(op.get("count_include_pad", True))
    mean = F.avg_pool2d(args["input"][0], _hw(op, "kernel"), _hw(op, "stride"), (top, left), ceil, include)
    return mean * float(op.get("__scale", 1.0))  # the DPU's approximation, where a pass asked for it


def _xir(x: Tensor) -> Tensor:
    """A view with the axes in XIR's order."""
    return x.permute(0, 2, 3, 1) if x.ndim == 4 else x


def _torch(x: Tensor) -> Tensor:
    """A view with the axes in the order in which tensors are held here, from XIR's."""
    return x.permute(0, 3, 1, 2) if x.ndim == 4 else x


def _reshape(op: Op, args: Args) -> Tensor:
    x, shape = args["input"][0], op.output.shape
    if x.ndim == 4 and len(shape) == 2:  # a flattened image: the reader's weights are in the same C, H, W order
        return x.flatten(1)
    return _torch(_xir(x).reshape(len(x), *shape[1:]))


def _transpose(op: Op, args: Args) -> Tensor:
    return _torch(_xir(args["input"][0]).permute(tuple(op.get("order")))).contiguous()


def _slice(op: Op, args: Args) -> Tensor:
    bounds = list(zip(op.get("begin"), op.get("end"), op.get("strides"), strict=True))
    window = (slice(None), *(slice(*bound) for bound in bounds[1:]))
    return _torch(_xir(args["input"][0])[window]).contiguous()


def _pad(op: Op, args: Args) -> Tensor:
    _, _, top, bottom, left, right, _, _ = op.get("paddings")
    if op.get("mode") == "REFLECT":
        return F.pad(args["input"][0], (left, right, top, bottom), mode="reflect")
    return F.pad(args["input"][0], (left, right, top, bottom), value=float(op.get("constant_values", (0.0,))[0]))


def _pixel_shuffle(op: Op, args: Args) -> Tensor:
    function = F.pixel_shuffle if op.get("upscale") else F.pixel_unshuffle
    return function(args["input"][0], int(op.get("scale")))


def _reduction(function: Callable[..., Tensor]) -> Kernel:
    def run(op: Op, args: Args) -> Tensor:
        return _torch(function(_xir(args["input"][0]), tuple(op.get("axis")), keepdim=bool(op.get("keep_dims"))))

    return run


def _hard_sigmoid(op: Op, args: Args) -> Tensor:
    x = args["input"][0]
    return F.relu6(x + 3) * 2731.0 / 16384.0 if op.get("__approximate") else F.hardsigmoid(x)


def _hard_swish(op: Op, args: Args) -> Tensor:
    x = args["input"][0]
    # The DPU's gate is an 8-bit number at position 7.
    return x * to_grid(_hard_sigmoid(op, args), 7) if op.get("__approximate") else F.hardswish(x)


def _gelu(op: Op, args: Args) -> Tensor:
    return F.gelu(args["input"][0], approximate=str(op.get("approximate", "none")).strip("'"))


def _prelu(op: Op, args: Args) -> Tensor:
    x, slopes = args["input"]
    return F.prelu(x, slopes)


def _group_norm(op: Op, args: Args) -> Tensor:
    x, *affine = args["input"]
    weight, bias = affine if affine else (None, None)
    return F.group_norm(x, int(op.get("num_groups")), weight, bias, float(op.get("eps")))


def _instance_norm(op: Op, args: Args) -> Tensor:
    x, *affine = args["input"]
    weight, bias = affine if affine else (None, None)
    return F.instance_norm(x, None, None, weight, bias, True, 0.0, float(op.get("eps")))


def _clamp(op: Op, args: Args) -> Tensor:
    return torch.clamp(args["input"][0], op.get("min"), op.get("max"))


def _adaptive_average(op: Op, args: Args) -> Tensor:
    _, height, width, _ = op.output.shape
    return F.adaptive_avg_pool2d(args["input"][0], (height, width))


# Ops that the vendor's exporter writes with NCHW tensors between transposes, as `aten::<name>`. Each function takes
# and gives tensors with torch's axes; `size` is the result's torch shape.
Native = Callable[[Op, tuple[Tensor, ...], tuple[int, ...]], Tensor]


def _mean(op: Op, x: tuple[Tensor, ...], size: tuple[int, ...]) -> Tensor:
    return x[0].mean(tuple(op.get("axis")), keepdim=bool(op.get("keep_dims")))


def _adaptive_max(op: Op, x: tuple[Tensor, ...], size: tuple[int, ...]) -> Tensor:
    return F.adaptive_max_pool2d(x[0], size[2:])


def _same_conv(op: Op, x: tuple[Tensor, ...], size: tuple[int, ...]) -> Tensor:
    image, weight, *bias = x
    stride, dilation = tuple(op.get("stride")), tuple(op.get("dilation"))
    return F.conv2d(image, weight, bias[0] if bias else None, stride, "same", dilation, int(op.get("group")))


_ATEN: dict[str, Native] = {
    "silu": lambda op, x, size: F.silu(x[0]),
    "elu": lambda op, x, size: F.elu(x[0], op.get("alpha", 1.0)),
    "softplus": lambda op, x, size: F.softplus(x[0], op.get("beta", 1.0), op.get("threshold", 20.0)),
    "abs": lambda op, x, size: x[0].abs(),
    "pow": lambda op, x, size: x[0].pow(op.get("exponent")),
    "mean": _mean,
    "adaptive_max_pool2d": _adaptive_max,
    "convolution_mode": _same_conv,
}


def _nhwc(function: Native) -> Kernel:
    """The kernel of an op whose tensors are images like any other."""

    def run(op: Op, args: Args) -> Tensor:
        shape = op.output.shape
        size = (shape[0], shape[3], shape[1], shape[2]) if len(shape) == 4 else shape
        return function(op, tuple(args["input"]), size)

    return run


def _nchw(function: Native) -> Kernel:
    """The kernel of an op whose 4-D tensors say N, C, H, W: their first XIR axes are torch's."""

    def run(op: Op, args: Args) -> Tensor:
        image, *rest = args["input"]
        return _torch(function(op, (_xir(image), *rest), op.output.shape)).contiguous()

    return run


NCHW_OPS = {name: "aten::_convolution_mode" if name == "convolution_mode" else f"aten::{name}" for name in _ATEN}


def _resize(op: Op, args: Args) -> Tensor:
    _, height, width, _ = op.output.shape
    if op.get("mode") == "NEAREST":
        return F.interpolate(args["input"][0], (height, width), mode="nearest")
    align = bool(op.get("align_corners"))
    return F.interpolate(args["input"][0], (height, width), mode="bilinear", align_corners=align)


def _scale(op: Op, args: Args) -> Tensor:
    shape = (1, -1, 1, 1) if args["input"][0].ndim == 4 else (1, -1)
    return args["input"][0] * args["scale"][0].reshape(shape) + args["bias"][0].reshape(shape)


def _batch_norm(op: Op, args: Args) -> Tensor:
    mean, var, gamma, beta = (args[name][0] for name in ("moving_mean", "moving_var", "gamma", "beta"))
    return F.batch_norm(args["input"][0], mean, var, gamma, beta, False, 0.0, float(op.get("epsilon")))


def concat_axis(op: Op, ndim: int) -> int:
    """The torch axis of a concat of tensors of rank `ndim`."""
    axis = int(op.get("axis"))
    return {0: 0, 1: 2, 2: 3, 3: 1}[axis] if ndim == 4 else axis


def _concat(op: Op, args: Args) -> Tensor:
    return torch.cat(args["input"], concat_axis(op, args["input"][0].ndim))


def _fix(op: Op, args: Args) -> Tensor:
    return to_grid(args["input"][0], int(op.get("fix_point")))


def _softmax(op: Op, args: Args) -> Tensor:
    return torch.softmax(args["input"][0], 1)


def _one(function: Callable[[Tensor], Tensor]) -> Kernel:
    return lambda op, args: function(args["input"][0])


def _two(function: Callable[[Tensor, Tensor], Tensor]) -> Kernel:
    return lambda op, args: function(*args["input"])


KERNELS: dict[str, Kernel] = {
    "conv2d": _conv,
    "depthwise-conv2d": _conv,
    "transposed-conv2d": _conv,
    "transposed-depthwise-conv2d": _conv,
    "matmul": _matmul,
    "batchnorm": _batch_norm,
    "scale": _scale,
    "relu": _one(torch.relu),
    "relu6": _one(F.relu6),
    "leaky-relu": lambda op, args: F.leaky_relu(args["input"][0], float(op.get("alpha"))),
    "sigmoid": _one(torch.sigmoid),
    "tanh": _one(torch.tanh),
    "softmax": _softmax,
    "maxpool2d": _max_pool,
    "avgpool2d": _avg_pool,
    "add": _two(torch.add),
    "sub": _two(torch.sub),
    "mul": _two(torch.mul),
    "concat": _concat,
    "reshape": _reshape,
    "resize": _resize,
    "fix": _fix,
    "transpose": _transpose,
    "strided_slice": _slice,
    "pad": _pad,
    "pixel-shuffle": _pixel_shuffle,
    "reduction_sum": _reduction(torch.sum),
    "reduction_max": _reduction(torch.amax),
    "reduction_mean": _reduction(torch.mean),
    "div": _two(torch.div),
    "neg": _one(torch.neg),
    "gelu": _gelu,
    "hard-sigmoid": _hard_sigmoid,
    "hard-swish": _hard_swish,
    "nndct_prelu": _prelu,
    "nndct_group_norm": _group_norm,
    "nndct_instance_norm": _instance_norm,
    "nndct_clamp": _clamp,
    "nndct_hardtanh": _clamp,
    "nndct_elemwise_exp": _one(torch.exp),
    "nndct_sqrt": _one(torch.sqrt),
    "nndct_mish": _one(F.mish),
    "nndct_adaptive_avg_pool2d": _adaptive_average,
    "stack": lambda op, args: torch.stack(args["input"]),
    **{name: _nhwc(function) for name, function in _ATEN.items()},
    **{NCHW_OPS[name]: _nchw(function) for name, function in _ATEN.items()},
}
