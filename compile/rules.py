"""Placement rules: for each op of a lowered graph, may it run on the DPU of a target, and if not, why, with numbers.

Source of the rules: the vendor's target descriptions, its inspector (release 3.0) and PG403; the limits themselves
are data of the target. A rule takes the graph, the op and the target and returns None or a sentence without its full
stop: what is broken, and after the first "; ", where there is one, the way out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from arch.targets import ConvLimits, Sizes, Target, WindowLimits, targets
from compile.host import host_only
from xmodel.graph import Graph, Op

Rule = Callable[[Graph, Op, Target], str | None]

# Attribute `nonlinear` of an op and what the targets call it.
_ACTIVATION_NAMES = {
    "RELU": "relu",
    "RELU6": "relu6",
    "LEAKYRELU": "leaky_relu",
    "HSIGMOID": "hsigmoid",
    "HSWISH": "hswish",
}
_BILINEAR_SCALES = (2, 4, 8)
_MAX_ADDENDS = 4


@dataclass(frozen=True, slots=True)
class Broken:
    """What keeps an op from a DPU: the `rule` with numbers, a `rewrite` that would fit ("" when none is known), and the
    sister designs that take the op as it is."""

    rule: str
    rewrite: str
    takers: tuple[Target, ...]

    def __str__(self) -> str:
        """All of it in one sentence, without its full stop."""
        others = _either([short_name(target) for target in self.takers])
        told = f"{self.rule}; {self.rewrite}" if self.rewrite else self.rule
        if not others:
            return told
        return f"{told}, or target {others}" if self.rewrite.startswith("use ") else f"{told}; target {others} takes it"


def reasons(graph: Graph, target: Target) -> dict[str, str]:
    """For every op of a lowered (or compiled) graph that `target`'s DPU does not take, the reason, by op name."""
    found = {}
    for op in graph.ops:
        if op.is_const or op.type in ("data", "data-fix", "upload", "download"):
            continue
        reason = broken_rule(graph, op, target)
        if reason is not None:
            found[op.name] = reason
    return found


def broken_rule(graph: Graph, op: Op, target: Target) -> str | None:
    """None when `target`'s DPU takes `op`, else the rule it breaks, the way out and the sister designs that take it."""
    broken = explain(graph, op, target)
    return None if broken is None else str(broken)


def explain(graph: Graph, op: Op, target: Target) -> Broken | None:
    """None when `target`'s DPU takes `op`, else what is wrong and what would be right."""
    reason = _broken(graph, op, target)
    if reason is None:
        return None
    rule, _, rewrite = reason.partition("; ")
    return Broken(rule, rewrite, tuple(takers(graph, op, target)))


def takers(graph: Graph, op: Op, target: Target) -> list[Target]:
    """The other designs of the same kind of DPU that take `op`; none for ops that no DPU takes."""
    sisters = [t for t in targets() if t.type == target.type and t.name != target.name]
    return [t for t in sisters if _broken(graph, op, t) is None]


def short_name(target: Target) -> str:
    """What a person calls a design within its family: "8PE", "6PE_aieDWC", "B4096"."""
    rest = target.name.removeprefix(f"{target.type}_ISA{target.isa}").strip("_")
    head, _, tail = rest.partition("_")
    short = tail if head.startswith("F") and tail else rest
    return short if any(c.isdigit() for c in short) else target.name


def _broken(graph: Graph, op: Op, target: Target) -> str | None:
    rule = _RULES.get(op.type)
    return host_only(graph, op) if rule is None else rule(graph, op, target)


def convolution(graph: Graph, op: Op, target: Target) -> str | None:
    """conv2d-fix: kernel, stride, padding, channels, weights per output channel, activation."""
    limits, (kernel_w, kernel_h) = target.conv, op.get("kernel")
    _, height, width, channels = _image(graph, op)
    what = f"convolution {kernel_w}x{kernel_h}"
    if op.get("__group", 1) > 1:
        return f"convolution with {op.get('__group')} groups: a DPU takes one group, or one per channel"
    covers = (width, height) == (kernel_w, kernel_h)
    return (
        _window(what, op, limits, target, free_stride=covers)
        or _channels(what, op, channels, target)
        or _weights(what, kernel_w, kernel_h, channels, limits, target)
        or _activation(what, op, limits.activations, target)
    )


def transposed(graph: Graph, op: Op, target: Target) -> str | None:
    """transposed-conv2d-fix runs as one small convolution per phase: its kernel is kernel / stride."""
    limits, channels = target.conv, _image(graph, op)[3]
    what = "transposed convolution {}x{}, stride {}x{}".format(*op.get("kernel"), *op.get("stride"))
    phases = [-(-k // s) for k, s in zip(op.get("kernel"), op.get("stride"), strict=True)]
    return (
        _phases(what, op, limits.kernel, target)
        or _channels(what, op, channels, target)
        or _weights(what, phases[0], phases[1], channels, limits, target)
        or _activation(what, op, limits.activations, target)
    )


def depthwise(graph: Graph, op: Op, target: Target) -> str | None:
    """depthwise-conv2d-fix needs the depthwise engine."""
    limits, (kernel_w, kernel_h) = target.depthwise, op.get("kernel")
    what = f"depthwise convolution {kernel_w}x{kernel_h}"
    if limits is None:
        return f"{what}: {short_name(target)} has no depthwise engine; use a full convolution"
    _, height, width, _ = _image(graph, op)
    covers = (width, height) == (kernel_w, kernel_h)
    return _window(what, op, limits, target, free_stride=covers) or _activation(what, op, limits.activations, target)


def transposed_depthwise(graph: Graph, op: Op, target: Target) -> str | None:
    """transposed-depthwise-conv2d-fix: the depthwise engine, phase by phase."""
    limits = target.depthwise
    what = "transposed depthwise convolution {}x{}, stride {}x{}".format(*op.get("kernel"), *op.get("stride"))
    if limits is None:
        return f"{what}: {short_name(target)} has no depthwise engine; use a transposed convolution"
    return _phases(what, op, limits.kernel, target) or _activation(what, op, limits.activations, target)


def pool(graph: Graph, op: Op, target: Target) -> str | None:
    """pool-fix: kernel and stride of the pooling engine; where averages are square only, both sides equal."""
    limits, kernel, stride = target.pool, tuple(op.get("kernel")), tuple(op.get("stride"))
    kind = "max-pool" if op.get("type") == "MAX" else "average-pool"
    what = f"{kind} {kernel[0]}x{kernel[1]}"
    _, height, width, _ = _image(graph, op)
    if not all(side in limits.kernel for side in kernel):
        chain = _pool_chain(kernel, stride, (width, height), limits.kernel)
        return f"{what}: {short_name(target)} takes kernels {limits.kernel}{chain}"
    if (width, height) != kernel and not all(step in limits.stride for step in stride):
        return f"{what}, stride {stride[0]}x{stride[1]}: {short_name(target)} takes strides {limits.stride}"
    if kind == "average-pool" and limits.square_average and kernel[0] != kernel[1]:
        return f"{what}: {short_name(target)} averages over squares only"
    return None


def eltwise(graph: Graph, op: Op, target: Target) -> str | None:
    """eltwise-fix: which operations, how many operands, and what is fused behind."""
    kind = {"ADD": "add", "MUL": "mult"}.get(op.get("type"), str(op.get("type")).lower())
    if kind not in target.eltwise.types:
        return f"element-wise {kind}: {short_name(target)} has {_either(sorted(target.eltwise.types))} only"
    if any(graph.op(name).is_const for name in op.input_names):
        return f"element-wise {kind} with a constant: the engine reads feature maps; fold it into a convolution"
    most = _MAX_ADDENDS if kind == "add" else 2
    if len(op.input_names) > most:
        return f"element-wise {kind} of {len(op.input_names)} tensors: the engine takes {most} at once"
    return _activation(f"element-wise {kind}", op, target.eltwise.activations, target)


def concat(graph: Graph, op: Op, target: Target) -> str | None:
    """concat-fix: along the channels of images."""
    if len(op.output.shape) != 4 or op.get("axis") != 3:
        return f"concat along axis {op.get('axis')} of {len(op.output.shape)}: a DPU joins images along their channels"
    if any(graph.op(name).is_const for name in op.input_names):
        return "concat with a constant: a DPU joins feature maps"
    return None


def upsample(graph: Graph, op: Op, target: Target) -> str | None:
    """upsample-fix: nearest by whole factors; bilinear is a transposed depthwise convolution."""
    mode, scale = str(op.get("mode")).lower(), tuple(op.get("scale"))
    what = f"{mode} upsampling {scale[0]:g}x{scale[1]:g}"
    if op.get("align_corners"):
        return f"{what} with align_corners: a DPU has none; set align_corners=False"
    if any(s != int(s) for s in scale):
        return f"{what}: a DPU upsamples by whole factors"
    if mode == "nearest":
        return None
    if target.depthwise is None:
        return (
            f"{what} runs as a transposed depthwise convolution and {short_name(target)} has no depthwise engine; "
            f"use nearest or a {scale[0]:g}x{scale[1]:g} transposed convolution"
        )
    if scale[0] != scale[1] or scale[0] not in _BILINEAR_SCALES:
        return f"{what}: a DPU takes {', '.join(map(str, _BILINEAR_SCALES))}, the same for both sides"
    return None


def downsample(graph: Graph, op: Op, target: Target) -> str | None:
    """downsample-fix has no engine."""
    return "downsampling has no engine; use a pool or a strided convolution"


def padding(graph: Graph, op: Op, target: Target) -> str | None:
    """pad-fix: constant and symmetric borders."""
    mode = str(op.get("mode"))
    return None if mode in ("CONSTANT", "SYMMETRIC") else f"pad mode {mode}: a DPU takes CONSTANT and SYMMETRIC"


def hard_sigmoid(graph: Graph, op: Op, target: Target) -> str | None:
    """hard-sigmoid-fix alone needs the ALU."""
    if target.alu:
        return None
    return f"hard-sigmoid alone: {short_name(target)} has it only fused behind a convolution that nothing else reads"


def anything(graph: Graph, op: Op, target: Target) -> str | None:
    """reshape-fix moves no byte."""
    return None


def _image(graph: Graph, op: Op) -> tuple[int, ...]:
    return graph.op(op.inputs["input"][0]).output.shape


def _window(what: str, op: Op, limits: WindowLimits, target: Target, *, free_stride: bool) -> str | None:
    kernel, stride, dilation = op.get("kernel"), op.get("stride"), op.get("dilation", (1, 1))
    if not all(side in limits.kernel for side in kernel):
        return f"{what}: {short_name(target)} takes kernels {limits.kernel}"
    if limits.max_area is not None and kernel[0] * kernel[1] > limits.max_area:
        return f"{what}: {short_name(target)} takes kernels of at most {limits.max_area} pixels"
    if not free_stride and not all(step in limits.stride for step in stride):
        return f"{what}, stride {stride[0]}x{stride[1]}: {short_name(target)} takes strides {limits.stride}"
    for axis, side in enumerate(kernel):
        reach = (side - 1) * dilation[axis] + 1
        pads = tuple(op.get("pad", (0, 0, 0, 0)))[2 * axis : 2 * axis + 2]
        if max(pads, default=0) > reach:
            return f"{what}: its padding {max(pads)} is beyond the kernel's reach of {reach}"
    return None


def _phases(what: str, op: Op, sizes: Sizes, target: Target) -> str | None:
    for kernel, stride in zip(op.get("kernel"), op.get("stride"), strict=True):
        if kernel // stride not in sizes or (kernel % stride and kernel // stride + 1 not in sizes):
            return f"{what}: {short_name(target)} takes kernel / stride {sizes}"
    return None


def _channels(what: str, op: Op, channels: int, target: Target) -> str | None:
    spread = channels * max(op.get("dilation", (1, 1)))
    outputs = op.output.shape[3]
    if max(spread, outputs) <= target.max_channels:
        return None
    return f"{what} with {channels} to {outputs} channels: {short_name(target)} takes {target.max_channels}"


def _weights(what: str, kernel_w: int, kernel_h: int, channels: int, limits: ConvLimits, target: Target) -> str | None:
    rows = limits.weight_rows(kernel_w, kernel_h, channels)
    if rows is None or limits.weight_limit is None or rows <= limits.weight_limit:
        return None
    return (
        f"{what} over {channels} channels: its weights fill {rows} lines of a bank "
        f"({kernel_w}*{kernel_h}*ceil({channels}/{limits.weight_channels})), {short_name(target)} has "
        f"{limits.weight_limit}; pool before it"
    )


def _activation(what: str, op: Op, allowed: frozenset[str], target: Target) -> str | None:
    name = _ACTIVATION_NAMES.get(str(op.get("nonlinear", "NONE")))
    if name is None or name in allowed:
        return None
    return f"{what} with {name}: {short_name(target)} fuses {_either(sorted(allowed)) or 'nothing'} there"


def _pool_chain(kernel: tuple[int, ...], stride: tuple[int, ...], size: tuple[int, ...], allowed: Sizes) -> str:
    """The way to write a pool whose windows do not overlap as a chain of smaller ones, or nothing."""
    if kernel not in (stride, size) or kernel[0] != kernel[1]:
        return ""
    factors = _factors(kernel[0], tuple(side for side in allowed.values if side > 1))
    return "; use " + " then ".join(f"{f}x{f}" for f in factors) if factors else ""


@cache
def _factors(value: int, sides: tuple[int, ...]) -> tuple[int, ...]:
    """The fewest `sides`, ascending, whose product is `value`; empty when there are none."""
    if value in sides:
        return (value,)
    chains = [(side, *_factors(value // side, sides)) for side in sides if value % side == 0 and value > side]
    full = [tuple(sorted(chain)) for chain in chains if len(chain) > 1]
    return min(full, key=lambda chain: (len(chain), chain), default=())


def _either(names: list[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


_RULES: dict[str, Rule] = {
    "conv2d-fix": convolution,
    "transposed-conv2d-fix": transposed,
    "depthwise-conv2d-fix": depthwise,
    "transposed-depthwise-conv2d-fix": transposed_depthwise,
    "pool-fix": pool,
    "eltwise-fix": eltwise,
    "concat-fix": concat,
    "upsample-fix": upsample,
    "downsample-fix": downsample,
    "pad-fix": padding,
    "hard-sigmoid-fix": hard_sigmoid,
    "reshape-fix": anything,
}
