"""What the hardware will do for an op: operations asked for, operations done on the array, parameter bytes held.

Source of the formulas: the numbers that the vendor's compiler (2.0 and 2.5) wrote into its DPUCVDX8H files.
Rows, input channels and output channels are rounded up to what the array handles at once. Depthwise convolutions
occur in none of those files: their numbers here follow the same pattern and are estimates. Element-wise ops,
concat, reshape and resize count as no work, as in the vendor's files.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil

from arch.targets import Parallelism
from xmodel.graph import Graph, Op


@dataclass(frozen=True, slots=True)
class Cost:
    """Operations (two a multiply-accumulate, one a bias or pooled value) and parameter bytes, for one image."""

    workload: int = 0
    workload_on_arch: int = 0
    parameter_bytes: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.workload + other.workload,
            self.workload_on_arch + other.workload_on_arch,
            self.parameter_bytes + other.parameter_bytes,
        )


def total(costs: Iterable[Cost]) -> Cost:
    """The sum of `costs`."""
    return sum(costs, Cost())


def augmented(graph: Graph, op: Op, array: Parallelism) -> bool:
    """True when a first layer folds its kernel's columns into channels (the vendor's `channel_augmentation`).

    It reads the image from DDR, and columns times channels then fill the input channels better.
    """
    if "channel_augmentation" in op.attrs:
        return bool(op.get("channel_augmentation"))
    source, dilation = graph.op(op.inputs["input"][0]), tuple(op.get("dilation", (1, 1)))
    if op.type != "conv2d-fix" or source.type not in ("data-fix", "upload") or dilation != (1, 1):
        return False
    width, channels = op.get("kernel")[0], source.output.shape[3]
    return bool(_up(width * channels, array.input_channels) < width * _up(channels, array.input_channels))


def cost(graph: Graph, op: Op, array: Parallelism) -> Cost:
    """The cost of one integer op on one image; nothing for ops without arithmetic of their own."""
    if len(op.output.shape) != 4 or not op.input_names:
        return Cost()
    match op.type:
        case "conv2d-fix":
            return _convolution(op, graph.op(op.inputs["input"][0]), augmented(graph, op, array), array)
        case "transposed-conv2d-fix":
            return _transposed(op, graph.op(op.inputs["input"][0]), array)
        case "depthwise-conv2d-fix" | "transposed-depthwise-conv2d-fix":
            return _depthwise(op, array)
        case "pool-fix":
            _, height, width, channels = op.output.shape
            area = op.get("kernel")[0] * op.get("kernel")[1]
            return Cost(height * width * channels * area, height * width * _up(channels, array.input_channels) * area)
    return Cost()


def _convolution(op: Op, source: Op, folded: bool, array: Parallelism) -> Cost:
    (kernel_w, kernel_h), channels = op.get("kernel"), source.output.shape[3]
    _, height, width, outputs = op.output.shape
    step = array.input_channels
    columns = _up(kernel_w * channels, step) if folded else kernel_w * _up(channels, step)
    padded = _up(outputs, array.output_channels)
    return Cost(
        height * width * outputs * (2 * kernel_h * kernel_w * channels + 1),
        _up(height, array.pixels) * width * padded * (2 * kernel_h * columns + 1),
        padded * (kernel_h * columns + 1),
    )


def _transposed(op: Op, source: Op, array: Parallelism) -> Cost:
    """Each of the stride's phases is a small convolution over the input's pixels."""
    (kernel_w, kernel_h), (stride_w, stride_h) = op.get("kernel"), op.get("stride")
    _, height, width, channels = source.output.shape
    _, out_h, out_w, outputs = op.output.shape
    taps = ceil(kernel_w / stride_w) * ceil(kernel_h / stride_h)
    inputs, padded = _up(channels, array.input_channels), _up(outputs, array.output_channels)
    return Cost(
        out_h * out_w * outputs * (2 * taps * channels + 1),
        stride_w * stride_h * _up(height, array.pixels) * width * padded * (2 * taps * inputs + 1),
        padded * (kernel_h * kernel_w * inputs + 1),
    )


def _depthwise(op: Op, array: Parallelism) -> Cost:
    (kernel_w, kernel_h), (_, height, width, channels) = op.get("kernel"), op.output.shape
    padded = _up(channels, array.input_channels)
    each = 2 * kernel_w * kernel_h + 1
    return Cost(
        height * width * channels * each,
        _up(height, array.pixels) * width * padded * each,
        padded * (kernel_w * kernel_h + 1),
    )


def _up(value: int, step: int) -> int:
    """`value` rounded up to a multiple of `step`."""
    return -(-value // step) * step
