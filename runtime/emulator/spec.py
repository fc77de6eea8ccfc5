"""Integer ops as plain numbers: the attributes and fix points of an op, checked once, when a graph is loaded.

Source of every rule: the DPU arithmetic sheet of the project, observed on AMD's open cpu-runner and on
AMD's DPUCVDX8H instruction simulator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from arch.average import average_factor
from runtime.emulator.node import MAX_WINDOW, Node, broadcasts, fits, flag

MAX_SHIFT_BIAS = 40
MIN_SHIFT_CUT = -20  # beyond, a result other than 0 is saturated by far; no real file has it


class Rules(Enum):
    """Whose arithmetic, where two differ: ReLU6 stops at integer 96 on the card; AMD's CPU runner then lets values
    through when the output's fix position is above 4."""

    CARD = "card"
    CPU_RUNNER = "cpu-runner"


@dataclass(frozen=True, slots=True)
class Window:
    """A sliding window; pairs are (width, height), `pad` is (left, right, top, bottom)."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)

    def reach(self, axis: int) -> int:
        """Input pixels that one window spans along axis 0 (width) or 1 (height)."""
        return (self.kernel[axis] - 1) * self.dilation[axis] + 1

    def outputs(self, axis: int, size: int, ceil: bool = False) -> int:
        """How many windows fit along an axis of `size` pixels."""
        free = size + self.pad[2 * axis] + self.pad[2 * axis + 1] - self.reach(axis)
        return (math.ceil(free / self.stride[axis]) if ceil else free // self.stride[axis]) + 1


@dataclass(frozen=True, slots=True)
class Activation:
    """The nonlinear step before the last rounding; the shifts are those of HSIGMOID and HSWISH."""

    name: Literal["NONE", "RELU", "LEAKYRELU", "RELU6", "HSIGMOID", "HSWISH"] = "NONE"
    relu6_limit: int | None = 96
    hsigmoid_in: int = 0
    shift_hsigmoid: int = 0
    shift_hswish: int = 0

    @property
    def signed(self) -> bool:
        """True when a result can be negative."""
        return self.name in ("NONE", "LEAKYRELU", "HSWISH")

    def inner_fix(self, fix_out: int) -> int:
        """Fix position of the value that the activation takes: HSIGMOID and HSWISH have their own."""
        return self.hsigmoid_in if self.name in ("HSIGMOID", "HSWISH") else fix_out


@dataclass(frozen=True, slots=True)
class Convolution:
    """conv2d-fix and its depthwise and transposed forms: y = (2 acc + floor(2 bias 2^shift_bias)) / 2^(shift_cut+1).

    Weights are OHWI int8, [1,kh,kw,C] when depthwise; `out` is (height, width).
    """

    window: Window
    depthwise: bool
    transposed: bool
    out: tuple[int, int]
    shift_bias: int
    shift_cut: int
    activation: Activation


@dataclass(frozen=True, slots=True)
class Pool:
    """pool-fix: the maximum, or sum * factor / 2^shift; `rescale` is fp_in - fp_out; `out` is (height, width)."""

    window: Window
    maximum: bool
    out: tuple[int, int]
    rescale: int
    factor: int = 1
    shift: int = 0


@dataclass(frozen=True, slots=True)
class Eltwise:
    """eltwise-fix: sum or product of int8 tensors that broadcast; `fix_out` is that of the activation's argument."""

    product: bool
    fix_in: tuple[int, ...]
    fix_out: int
    activation: Activation


@dataclass(frozen=True, slots=True)
class Concat:
    """concat-fix: `rescale` is fp_in - fp_out of every input."""

    axis: int
    rescale: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Resize:
    """upsample-fix, downsample-fix and the float resize; `out` is (height, width), `rescale` fp_in - fp_out."""

    bilinear: bool
    out: tuple[int, int]
    align_corners: bool
    half_pixel_centers: bool
    rescale: int = 0


@dataclass(frozen=True, slots=True)
class HardSigmoid:
    """hard-sigmoid-fix."""

    hsigmoid_in: int
    shift_hsigmoid: int


def window(node: Node) -> Window:
    """The window of a convolution or pool."""
    kw, kh = node.ints("kernel", 2, 1, MAX_WINDOW)
    sw, sh = node.ints("stride", 2, 1, MAX_WINDOW)
    dw, dh = node.ints("dilation", 2, 1, MAX_WINDOW, (1, 1))
    left, right, top, bottom = node.ints("pad", 4, 0, MAX_WINDOW, (0, 0, 0, 0))
    frame = Window((kw, kh), (sw, sh), (dw, dh), (left, right, top, bottom))
    _, height, width, channels = node.image
    fits(node, height + top + bottom + frame.reach(1), width + left + right + frame.reach(0), channels)
    return frame


def activation(node: Node, rules: Rules) -> Activation:
    """The `nonlinear` attribute and the shifts that go with it."""
    name = node.choice("nonlinear", ("NONE", "", "RELU", "LEAKYRELU", "RELU6", "HSIGMOID", "HSWISH"), "NONE")
    fix_out = node.fix_out
    limit = None if rules is Rules.CPU_RUNNER and fix_out > 4 else 96
    match name:
        case "HSIGMOID":
            inner = node.integer("hsigmoid_in", -32, 32)
            # hard-sigmoid = clamp(x + 3) / 6 with 1/6 taken as 2731 / 2^14
            return Activation("HSIGMOID", limit, inner, _shift(node, "shift_hsigmoid", 14 + inner - fix_out))
        case "HSWISH":
            inner = node.integer("hsigmoid_in", -32, 32)
            gate = _shift(node, "shift_hsigmoid", 7 + inner)
            return Activation("HSWISH", limit, inner, gate, _shift(node, "shift_hswish", inner + 7 - fix_out))
        case "RELU" | "RELU6" | "LEAKYRELU":
            return Activation(name, limit)
    return Activation()


def _shift(node: Node, name: str, default: int) -> int:
    value = node.op.get(name, -128)
    return default if value == -128 else node.integer(name, -32, 64)  # -128: XIR's "not given"


def convolution(node: Node, rules: Rules) -> Convolution:
    """The numbers of a (depthwise-, transposed-) conv2d-fix; inputs are input, weights and perhaps bias."""
    depthwise, transposed = "depthwise" in node.op.type, node.op.type.startswith("transposed")
    frame, act, (_, height, width, channels) = window(node), activation(node, rules), node.image
    weights = node.inputs[1].shape
    node.need(len(node.output.shape) == 4, "needs an NHWC output")
    made = channels if depthwise else node.output.shape[3]
    expected = (1 if depthwise else made, frame.kernel[1], frame.kernel[0], channels)
    node.need(weights == expected, f"needs weights {list(expected)}, not {list(weights)}")
    node.need(len(node.inputs) == 2 or node.inputs[2].shape == (made,), f"needs a bias of {made} values")
    if transposed:
        node.need(frame.dilation == (1, 1), "is transposed and dilated, which the DPU cannot do")
        node.need(all(p < k for p, k in zip(frame.pad[::2], frame.kernel, strict=True)), "has a pad beyond its kernel")
        out_w, out_h = (
            (size - 1) * frame.stride[a] + frame.kernel[a] - frame.pad[2 * a] - frame.pad[2 * a + 1]
            for a, size in enumerate((width, height))
        )
    else:
        out_w, out_h = (frame.outputs(axis, size) for axis, size in enumerate((width, height)))
    node.need(out_w > 0 and out_h > 0, "has a kernel larger than its input")
    node.shape_is(0, out_h, out_w, made)
    product = node.fix_point(0) + node.fix_point(1)
    cut = product - act.inner_fix(node.fix_out)
    bias = product - node.fix_point(2) if len(node.inputs) == 3 else 0
    node.need(bias <= MAX_SHIFT_BIAS and cut >= MIN_SHIFT_CUT, f"has shift_bias {bias} and shift_cut {cut}")
    return Convolution(frame, depthwise, transposed, (out_h, out_w), bias, cut, act)


def pool(node: Node, rules: Rules) -> Pool:
    """The numbers of a pool-fix; a last, partial window counts when the output's shape says so."""
    frame, (_, height, width, channels) = window(node), node.image
    maximum = node.choice("type", ("MAX", "AVG")) == "MAX"
    if flag(node, "global"):
        frame = Window((width, height))
    node.need(len(node.output.shape) == 4, "needs an NHWC output")
    out_h, out_w = node.output.shape[1:3]
    for axis, (size, out) in enumerate(((width, out_w), (height, out_h))):
        fits = {frame.outputs(axis, size), frame.outputs(axis, size, ceil=True)}
        node.need(out in fits and out > 0, f"makes {sorted(fits)} windows along an axis where its tensor says {out}")
    node.shape_is(0, out_h, out_w, channels)
    factor, shift = (1, 0) if maximum else average_factor(*frame.kernel)
    return Pool(frame, maximum, (out_h, out_w), node.fix_point(0) - node.fix_out, factor, shift)


def eltwise(node: Node, rules: Rules) -> Eltwise:
    """The numbers of an eltwise-fix."""
    broadcasts(node)
    product = node.choice("type", ("ADD", "MUL"), "ADD") == "MUL"
    node.need(len(node.inputs) <= (8 if product else 64), f"has {len(node.inputs)} inputs")  # 8 int8 factors fit int64
    fix_in = tuple(node.fix_point(i) for i in range(len(node.inputs)))
    act = activation(node, rules)
    fix_out = act.inner_fix(node.fix_out)
    cut = (sum(fix_in) if product else min(fix_in) + 2) - fix_out
    node.need(cut >= MIN_SHIFT_CUT, f"shifts its result left by {-cut} bits")
    return Eltwise(product, fix_in, fix_out, act)


def concat(node: Node, rules: Rules) -> Concat:
    """The numbers of a concat-fix."""
    fix_out = node.fix_out
    return Concat(node.axis(), tuple(node.fix_point(i) - fix_out for i in range(len(node.inputs))))


def resize(node: Node, rules: Rules) -> Resize:
    """The numbers of an upsample-fix, downsample-fix or resize; the output's size is its tensor's."""
    _, height, _, channels = node.image
    node.need(len(node.output.shape) == 4, "needs an NHWC output")
    fits(node, height, node.output.shape[2], channels)  # bilinear interpolates along the width first
    out = node.output.shape[1], node.output.shape[2]
    node.shape_is(0, *out, channels)
    node.need(min(out) > 0, "makes an empty image")
    bilinear = node.choice("mode", ("NEAREST", "BILINEAR")) == "BILINEAR"
    align, half = flag(node, "align_corners"), flag(node, "half_pixel_centers")
    rescale = node.fix_point(0) - node.fix_out if node.op.type.endswith("-fix") else 0
    return Resize(bilinear, out, align, half, rescale)


def hard_sigmoid(node: Node, rules: Rules) -> HardSigmoid:
    """The numbers of a hard-sigmoid-fix."""
    inner = node.integer("hsigmoid_in", -32, 32, node.fix_point(0))
    return HardSigmoid(inner, _shift(node, "shift_hsigmoid", 14 + inner - node.fix_out))
