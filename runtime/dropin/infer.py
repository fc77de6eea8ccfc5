"""Output dimensions and types of XIR's ops, from their inputs and attributes.

Tensors are NHWC; `kernel`, `stride`, `dilation` and `scale` are [w, h], `pad` is [left, right, top, bottom] (spec: op
definitions). A third spatial dimension comes last in both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xmodel.errors import UsageError

if TYPE_CHECKING:
    from runtime.dropin.op import Op

Dims = tuple[int, ...]


class Asked:
    """An op as the rules see it: dimensions of its operands, values of its attributes."""

    def __init__(self, op: Op) -> None:
        self.op = op

    def dims(self, argument: str = "input", place: int = 0) -> Dims:
        """The dimensions of one operand."""
        return tuple(self.op.get_input_tensor(argument, place).dims)

    def every(self, argument: str = "input") -> list[Dims]:
        """The dimensions of all operands of an argument."""
        return [tuple(tensor.dims) for tensor in self.op.get_input_tensors_by_name(argument)]

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or `default` where there is none."""
        return self.op.get_attr(name) if self.op.has_attr(name) else default

    def windows(self) -> list[tuple[int, int, int, int]]:
        """(size, dilated kernel, stride, padding of both sides) of every spatial axis, in the tensor's order."""
        sizes = self.dims()[1:-1]
        kernel, stride, pad = self.get("kernel"), self.get("stride"), self.get("pad", [0] * 2 * len(sizes))
        dilation = self.get("dilation", [1] * len(sizes))
        places = (1, 0, 2)[: len(sizes)]  # the tensor has h before w, the attributes w before h
        return [
            (size, (kernel[at] - 1) * dilation[at] + 1, stride[at], pad[2 * at] + pad[2 * at + 1])
            for size, at in zip(sizes, places, strict=True)
        ]


Rule = Callable[[Asked], Dims]


def infer(op: Op) -> tuple[Dims, str]:
    """The dimensions and the data type of the op's output. Raises `UsageError` where they cannot be worked out."""
    asked = Asked(op)
    try:
        rule = _RULES.get(op.get_type())
        if rule is None and not (op.has_attr("shape") and op.has_attr("data_type")):
            raise ValueError("no rule is known for this type; give it the attributes shape and data_type")
        dims = tuple(int(size) for size in (rule or _stated)(asked))
        data_type = str(asked.get("data_type")) if rule is None else _data_type(asked)
        if any(size < 1 for size in dims):
            raise ValueError(f"they would be {list(dims)}")
    except (ValueError, IndexError, TypeError, ZeroDivisionError, KeyError) as error:
        inputs = [tensor.dims for tensor in op.get_input_tensors()]
        raise UsageError(
            f"The output dimensions of op {op.get_name()!r} of type {op.get_type()!r} cannot be worked out from "
            f"inputs {inputs}: {error}.",
            hint="Check its attributes and inputs.",
        ) from error
    return dims, data_type


def _data_type(asked: Asked) -> str:
    kind = asked.op.get_type()
    if kind == "fix2float":
        return "float32"
    if kind == "float2fix":
        return f"{'xint' if asked.get('if_signed') else 'xuint'}{asked.get('bit_width')}"
    if kind == "shape":
        return "int32"
    if asked.op.get_input_num():
        return asked.op.get_input_tensors()[0].dtype
    return str(asked.get("data_type"))


def _same(asked: Asked) -> Dims:
    return asked.dims()


def _broadcast(asked: Asked) -> Dims:
    return np.broadcast_shapes(*asked.every())


def _sliding(asked: Asked) -> Dims:
    """Sizes after a window has slid over every spatial axis."""
    if asked.get("global", False):
        return (asked.dims()[0], *(1,) * (len(asked.dims()) - 2), asked.dims()[-1])
    mode = str(asked.get("pad_mode", "") or "FLOOR").upper()
    sizes = [_slid(mode, *window) for window in asked.windows()]
    return (asked.dims()[0], *sizes, asked.dims()[-1])


def _slid(mode: str, size: int, kernel: int, stride: int, pad: int) -> int:
    match mode:
        case "FLOOR":
            return (size + pad - kernel) // stride + 1
        case "CEIL":
            return -(-(size + pad - kernel) // stride) + 1
        case "SAME":
            return -(-size // stride)
        case "VALID":
            return -(-(size - kernel + 1) // stride)
    raise ValueError(f"the pad_mode {mode!r} is none of FLOOR, CEIL, SAME and VALID")


def _conv(asked: Asked) -> Dims:
    return (*_sliding(asked)[:-1], asked.dims("weights")[0])


def _depthwise(asked: Asked) -> Dims:
    return (*_sliding(asked)[:-1], asked.dims("weights")[0] * asked.dims()[-1])


def _stretched(asked: Asked, channels: int) -> Dims:
    """Sizes after a transposed convolution."""
    mode = str(asked.get("pad_mode", "") or "FLOOR").upper()
    sizes = [
        size * stride if mode == "SAME" else (size - 1) * stride + kernel - (0 if mode == "VALID" else pad)
        for size, kernel, stride, pad in asked.windows()
    ]
    return (asked.dims()[0], *sizes, channels)


def _transposed(asked: Asked) -> Dims:
    return _stretched(asked, asked.dims("weights")[0])


def _transposed_depthwise(asked: Asked) -> Dims:
    return _stretched(asked, asked.dims("weights")[0] * asked.dims()[-1])


def _concat(asked: Asked) -> Dims:
    every, dims = asked.every(), list(asked.dims())
    axis = asked.get("axis") % len(dims)
    if any(len(item) != len(dims) or item[:axis] + item[axis + 1 :] != every[0][:axis] + every[0][axis + 1 :]
           for item in every):  # fmt: skip
        raise ValueError(f"they differ outside axis {axis}")
    dims[axis] = sum(item[axis] for item in every)
    return tuple(dims)


def _stack(asked: Asked) -> Dims:
    dims = list(asked.dims())
    dims.insert(asked.get("axis") % (len(dims) + 1), len(asked.every()))
    return tuple(dims)


def _reshape(asked: Asked) -> Dims:
    wanted, count = list(asked.get("shape", [])), math.prod(asked.dims())
    if wanted == [0]:  # the default: the shape is an operand
        return _operand_shape(asked)
    if wanted.count(-1) == 1:
        rest = -math.prod(wanted)
        wanted[wanted.index(-1)] = count // rest if rest and count % rest == 0 else 0
    if math.prod(wanted) != count:
        raise ValueError(f"{count} elements do not make {wanted}")
    return tuple(wanted)


def _operand_shape(asked: Asked) -> Dims:
    """What a reshape's operand says, a stack of constants; else what the output's dimensions were."""
    source = asked.op.get_input_op("shape")
    parts = source.get_input_ops_by_name("input") if source.get_type() == "stack" else [source]
    if all(part.get_type() == "const" for part in parts):
        values = [np.frombuffer(p.get_attr("data"), p.get_output_tensor().dtype).astype(int) for p in parts]
        return tuple(int(size) for size in np.concatenate(values))
    return tuple(asked.op.get_output_tensor().dims)


def _flatten(asked: Asked) -> Dims:
    dims = asked.dims()
    start, end = asked.get("start_axis") % len(dims), asked.get("end_axis") % len(dims)
    return (*dims[:start], math.prod(dims[start : end + 1]), *dims[end + 1 :])


def _squeeze(asked: Asked) -> Dims:
    dims = asked.dims()
    axes = {axis % len(dims) for axis in asked.get("axis", [])} or {i for i, size in enumerate(dims) if size == 1}
    if any(dims[axis] != 1 for axis in axes):
        raise ValueError(f"an axis of {sorted(axes)} is longer than 1")
    return tuple(size for axis, size in enumerate(dims) if axis not in axes)


def _matmul(asked: Asked) -> Dims:
    left, right = asked.dims(place=0), asked.dims(place=1)
    left = (*left[:-2], *reversed(left[-2:])) if asked.get("transpose_a") else left
    right = (*right[:-2], *reversed(right[-2:])) if asked.get("transpose_b") else right
    if left[-1] != right[-2]:
        raise ValueError(f"{left[-1]} columns meet {right[-2]} rows")
    return (*np.broadcast_shapes(left[:-2], right[:-2]), left[-2], right[-1])


def _inner_product(asked: Asked) -> Dims:
    return (*asked.dims()[: asked.get("axis") % len(asked.dims())], asked.dims("weights")[0])


def _reduction(asked: Asked) -> Dims:
    dims = asked.dims()
    axes = {axis % len(dims) for axis in asked.get("axis")}
    kept = [1 if axis in axes else size for axis, size in enumerate(dims)]
    return tuple(size for axis, size in enumerate(kept) if asked.get("keep_dims") or axis not in axes)


def _transpose(asked: Asked) -> Dims:
    if sorted(asked.get("order")) != list(range(len(asked.dims()))):
        raise ValueError(f"the order {asked.get('order')} does not name every axis once")
    return tuple(asked.dims()[axis] for axis in asked.get("order"))


def _pad(asked: Asked) -> Dims:
    widths: Sequence[int] = asked.get("paddings")
    return tuple(
        size + before + after for size, before, after in zip(asked.dims(), widths[::2], widths[1::2], strict=True)
    )


def _slice(asked: Asked) -> Dims:
    bounds = zip(asked.dims(), asked.get("begin"), asked.get("end"), asked.get("strides"), strict=True)
    return tuple(len(range(size)[slice(begin, end, step)]) for size, begin, end, step in bounds)


def _scaled(asked: Asked) -> Dims:
    n, height, width, channels = asked.dims()
    if not asked.get("scale", []):
        source = asked.op.get_input_op("size")
        if source.get_type() != "const":
            return tuple(asked.op.get_output_tensor().dims)
        sizes = np.frombuffer(source.get_attr("data"), source.get_output_tensor().dtype)
        return (n, int(sizes[0]), int(sizes[1]), channels)
    wide, high = asked.get("scale")
    if asked.op.get_type() == "downsample-fix":
        wide, high = 1 / wide, 1 / high
    return (n, int(height * high), int(width * wide), channels)


def _blocks(down: Callable[[Asked], bool], step: str) -> Rule:
    """Squares of pixels to channels where `down`, else channels to squares of pixels."""

    def rule(asked: Asked) -> Dims:
        (n, height, width, channels), side = asked.dims(), asked.get(step)
        if down(asked):
            return (n, height // side, width // side, channels * side * side)
        return (n, height * side, width * side, channels // (side * side))

    return rule


def _priorbox(asked: Asked) -> Dims:
    """Corners and variances of a box for each pixel, size and aspect ratio (Caffe's SSD)."""
    _, height, width, _ = asked.dims()
    ratios = 1 + len(asked.get("aspect_ratio", [])) * (2 if asked.get("flip") else 1)
    boxes = len(asked.get("min_sizes")) * ratios + len(asked.get("max_sizes", []))
    return (1, 2, height * width * boxes * 4)


def _stated(asked: Asked) -> Dims:
    return tuple(asked.get("shape"))


_RULES: dict[str, Rule] = {
    **dict.fromkeys(("add", "div", "max", "min", "mul", "sub", "eltwise-fix", "depthwise-fix"), _broadcast),
    **dict.fromkeys(("avgpool2d", "maxpool2d", "pool-fix"), _sliding),
    **dict.fromkeys(("conv2d", "conv3d", "conv2d-fix", "conv3d-fix"), _conv),
    **dict.fromkeys(
        ("depthwise-conv2d", "depthwise-conv3d", "depthwise-conv2d-fix", "depthwise-conv3d-fix"), _depthwise
    ),
    **dict.fromkeys(
        ("transposed-conv2d", "transposed-conv3d", "transposed-conv2d-fix", "transposed-conv3d-fix"), _transposed
    ),
    **dict.fromkeys(
        (
            "transposed-depthwise-conv2d", "transposed-depthwise-conv3d", "transposed-depthwise-conv2d-fix",
            "transposed-depthwise-conv3d-fix",
        ),
        _transposed_depthwise,
    ),
    **dict.fromkeys(("concat", "concat-fix"), _concat),
    **dict.fromkeys(("reshape", "reshape-fix"), _reshape),
    **dict.fromkeys(("reduction_max", "reduction_mean", "reduction_product", "reduction_sum"), _reduction),
    **dict.fromkeys(("pad", "pad-fix"), _pad),
    **dict.fromkeys(("resize", "upsample-fix", "downsample-fix"), _scaled),
    **dict.fromkeys(("data", "data-fix", "const", "const-fix", "random_standard_normal"), _stated),
    **dict.fromkeys(("reorg", "reorg-fix"), _blocks(lambda asked: not asked.get("reverse"), "scale")),
    **dict.fromkeys(("gstiling", "tile-fix"), _blocks(lambda asked: not asked.get("reverse"), "stride")),
    "pixel-shuffle": _blocks(lambda asked: not asked.get("upscale"), "scale"),
    "pixel-shuffle-fix": _blocks(lambda asked: bool(asked.get("reverse")), "scale"),
    "priorbox": _priorbox,
    "stack": _stack,
    "flatten": _flatten,
    "squeeze": _squeeze,
    "matmul": _matmul,
    "inner-product": _inner_product,
    "transpose": _transpose,
    **dict.fromkeys(("strided_slice", "strided_slice-fix"), _slice),
    "shape": lambda asked: (len(asked.dims()),),
    **dict.fromkeys(
        (
            "batchnorm", "celu", "download", "elu", "exp", "fix", "fix2float", "float2fix", "gelu", "hard-sigmoid",
            "hard-sigmoid-fix", "hard-swish", "hard-tanh", "identity", "l2_normalize", "leaky-relu", "neg",
            "placeholder", "relu", "relu6", "scale", "selu", "sigmoid", "softmax", "swish", "tanh", "threshold",
            "upload",
        ),
        _same,
    ),
}  # fmt: skip
