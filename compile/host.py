"""Ops without an engine: why each stays on the host's CPU on every DPU, with numbers and a way out.

A reason is a sentence without its full stop: what is wrong, and after the first "; " what runs in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from compile.normalize import COMPUTE
from xmodel.graph import Graph, Op

_SLOPE = 26 / 256

_PLAIN: Mapping[str, str] = {
    "fix2float": "int8 to float is the host's work",
    "float2fix": "float to int8 is the host's work",
    "fix": "rounding of float values is the host's work",
    "sigmoid": "the DPU has no sigmoid; hard-sigmoid directly after a convolution runs on it where the target has it",
    "softmax": "the DPU has no softmax; leave it out where only the largest value counts",
    "tanh": "the DPU has no tanh; hard-tanh or relu can be trained in its place",
    "silu": "the DPU has no silu; nn.Hardswish directly after a convolution runs on it",
    "mish": "the DPU has no mish; nn.Hardswish directly after a convolution runs on it",
    "gelu": "the DPU has no gelu; nn.Hardswish directly after a convolution runs on it",
    "elu": "the DPU has no elu; nn.LeakyReLU(0.1) directly after a convolution runs on it",
    "prelu": "the DPU has no prelu, whose slopes differ by channel; nn.LeakyReLU(0.1) directly after a convolution "
    "runs on it, with slope 26/256",
    "hardtanh": "the DPU has no hard-tanh; relu6 clamps to [0, 6] behind a convolution",
    "hard-sigmoid": "hard-sigmoid runs only fused, directly behind a convolution that nothing else reads",
    "mean": "a mean over axes has no integer form; nn.AdaptiveAvgPool2d(1) is the mean of an image",
    "adaptive_max_pool2d": "adaptive max-pooling has no engine; nn.MaxPool2d with the kernel that it comes to has one",
    "adaptive_avg_pool2d": "adaptive average-pooling to a size that does not divide the image has no engine; choose "
    "one that does",
    "_convolution_mode": "padding given as a word has no integer form; write the number of pixels, padding=kernel // 2",
    "strided_slice": "slices are the host's work; convolve twice instead of splitting the channels of one result",
    "pixel-shuffle": "pixel-shuffle has no engine; a transposed convolution does the same kind of upsampling",
    "sub": "the DPU has no subtraction; add runs on it, with the sign in the weights of the convolution before it",
    "div": "the DPU has no division; a multiplication by a constant can be folded into a convolution",
    "group_norm": "the DPU has no group normalization, whose statistics come from each image; nn.BatchNorm2d behind a "
    "convolution folds into it",
    "instance_norm": "the DPU has no instance normalization, whose statistics come from each image; nn.BatchNorm2d "
    "behind a convolution folds into it",
}
_FUSED = {
    "relu": "directly behind a convolution or add that nothing else reads",
    "relu6": "behind a convolution that nothing else reads, at fix point 4 or above",
}


def host_only(graph: Graph, op: Op) -> str:
    """Why `op`, of a type that no rule of an engine covers, stays on the host."""
    kind = _kind(op)
    special = _SPECIAL.get(kind)
    if special is not None:
        return special(graph, op)
    if op.type in COMPUTE:
        return _left_float(graph, op)
    return _PLAIN.get(kind, f"{op.type} has no integer form: the DPU computes on int8 alone")


def _kind(op: Op) -> str:
    """The op's type without the quantizer's prefix for float ops."""
    return op.type.removeprefix("nndct_").removeprefix("aten::")


def _fused_only(graph: Graph, op: Op) -> str:
    source = _source(graph, op)
    if source is None:
        return f"{op.type} runs only fused; put it {_FUSED[op.type]}"
    count = len(graph.fanout[source.name])
    shared = f", which {count} ops read," if count > 1 else ""
    return f"{op.type} behind {source.type}{shared} runs on the host; put it {_FUSED[op.type]}"


def _transpose(graph: Graph, op: Op) -> str:
    """Float ops in PyTorch's layout stand between transposes that the quantizer writes."""
    source = _source(graph, op)
    near = [*([source] if source else []), *graph.fanout[op.name]]
    torch = next((other for other in near if other.type.startswith("aten::")), None)
    if torch is not None and not op.get("__kind"):
        return f"it turns the layout for {torch.type}, which stays on the CPU"
    order = ", ".join(map(str, op.get("order", ())))
    return f"transpose to axes {order}: the DPU cannot permute axes"


def _leaky(graph: Graph, op: Op) -> str:
    slope = float(op.get("alpha", _SLOPE))
    if abs(slope - _SLOPE) > 1e-6:
        return f"leaky-relu with slope {slope:g}: the DPU has {_SLOPE:g} (26/256) alone; use nn.LeakyReLU(0.1)"
    return "leaky-relu runs only fused; put it directly behind a convolution that nothing else reads"


def _eltwise(graph: Graph, op: Op) -> str:
    shapes = [graph.op(name).output.shape for name in op.input_names]
    kind = {"add": "add", "mul": "mult"}[op.type]
    if len(set(shapes)) > 1:
        told = " and ".join("x".join(map(str, shape[1:])) for shape in shapes)
        return f"element-wise {kind} of {told}: a DPU takes operands of one shape"
    return _left_float(graph, op)


def _left_float(graph: Graph, op: Op) -> str:
    loose = [name for name in op.input_names if graph.op(name).output.fix_point is None]
    if loose:
        return f"{op.type} stays float: its operand {loose[0]!r} has no fix point"
    return f"{op.type} stays float: its result has no fix point, or it is of a form without an engine"


def _source(graph: Graph, op: Op) -> Op | None:
    name = op.arg("input")
    source = None if name is None else graph.by_name.get(name)
    while source is not None and source.type in ("fix2float", "float2fix", "fix") and source.input_names:
        source = graph.by_name.get(source.input_names[0])
    return source


_SPECIAL: Mapping[str, Callable[[Graph, Op], str]] = {
    "relu": _fused_only,
    "relu6": _fused_only,
    "leaky-relu": _leaky,
    "transpose": _transpose,
    "add": _eltwise,
    "mul": _eltwise,
}
