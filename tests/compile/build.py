"""Hand-built quantizer graphs (float XIR ops and `fix`) for the compiler's tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xmodel.graph import Array, Graph, Op, Tensor, attrs, const, sort


def window(kernel: int, stride: int = 1, pad: int = 0) -> dict[str, Any]:
    """Attributes of a square sliding window."""
    return {
        "kernel": [kernel, kernel],
        "stride": [stride, stride],
        "pad": [pad, pad, pad, pad],
        "dilation": [1, 1],
        "pad_mode": "FLOOR",
    }


class Builder:
    """Collects ops; every method returns the name of the op whose output stands for the result."""

    def __init__(self, name: str = "Net") -> None:
        self.name = name
        self.ops: list[Op] = []
        self.random = np.random.default_rng(0)

    def op(self, name: str, kind: str, inputs: Mapping[str, Sequence[str]], dims: Sequence[int], **values: Any) -> str:
        """Any float op with an output of the shape `dims`."""
        bound = {arg: tuple(names) for arg, names in inputs.items()}
        self.ops.append(Op(name, kind, bound, attrs(**values), Tensor(name, tuple(dims))))
        return name

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of an op's output."""
        return next(op.output.shape for op in self.ops if op.name == name)

    def fix(self, source: str, point: int, **values: Any) -> str:
        """`<source>_fix` at `point`."""
        kept = {"fix_point": point, "bit_width": 8, "round_mode": "DPU_ROUND", "if_signed": True, **values}
        return self.op(f"{source}_fix", "fix", {"input": [source]}, self.shape(source), **kept)

    def data(self, shape: Sequence[int], point: int = 6, name: str = "x") -> str:
        """An input and its fix."""
        self.op(name, "data", {}, shape, shape=list(shape), data_type="FLOAT32")
        return self.fix(name, point)

    def constant(self, name: str, array: Array, point: int | None = None) -> str:
        """A constant, with its fix when `point` is given."""
        self.ops.append(const(name, np.asarray(array, np.float32)))
        return name if point is None else self.fix(name, point)

    def weights(self, name: str, shape: Sequence[int], point: int = 6) -> str:
        """Random int8 values as a fixed constant."""
        values = self.random.integers(-128, 128, tuple(shape)) * 2.0**-point
        return self.constant(name, values, point)

    def conv(self, name: str, source: str, outputs: int, kernel: int = 3, stride: int = 1, pad: int = 1) -> str:
        """conv2d with bias, without its fix."""
        n, height, width, channels = self.shape(source)
        inputs = {
            "input": [source],
            "weights": [self.weights(f"{name}_w", (outputs, kernel, kernel, channels))],
            "bias": [self.weights(f"{name}_b", (outputs,))],
        }
        out = [(size + 2 * pad - kernel) // stride + 1 for size in (height, width)]
        return self.op(name, "conv2d", inputs, (n, *out, outputs), **window(kernel, stride, pad))

    def unary(self, name: str, kind: str, source: str, **values: Any) -> str:
        """An op that keeps the shape."""
        return self.op(name, kind, {"input": [source]}, self.shape(source), **values)

    def pool(self, name: str, kind: str, source: str, kernel: int, stride: int | None = None) -> str:
        """maxpool2d or avgpool2d (with the factor 1) whose windows do not overlap by default."""
        n, height, width, channels = self.shape(source)
        step = stride or kernel
        out = [(size - kernel) // step + 1 for size in (height, width)]
        return self.op(name, kind, {"input": [source]}, (n, *out, channels), **window(kernel, step))

    def linear(self, name: str, source: str, outputs: int) -> str:
        """reshape to [N, features] and matmul with bias, as the quantizer writes them."""
        shape = self.shape(source)
        inputs = int(np.prod(shape[1:]))
        if len(shape) > 2:
            sizes = [self.constant(f"{name}_size{i}", np.array([d])) for i, d in enumerate((shape[0], inputs))]
            stack = self.op(f"{name}_stack", "stack", {"input": sizes}, (2, 1), axis=0)
            source = self.op(
                f"{name}_flat", "reshape", {"input": [source], "shape": [stack]}, (shape[0], inputs), shape=[0]
            )
        weights, bias = self.weights(f"{name}_w", (outputs, inputs)), self.weights(f"{name}_b", (outputs,))
        operands = {"input": [source, weights], "bias": [bias]}
        return self.op(name, "matmul", operands, (shape[0], outputs), transpose_a=False, transpose_b=True)

    def graph(self, *outputs: str) -> Graph:
        """The graph; `outputs` are its `return_ops` when given."""
        graph = Graph(self.name, sort(self.ops))
        return graph.with_attrs(return_ops=list(outputs)) if outputs else graph


def uynet(width: int, size: int) -> Graph:
    """A quantized U-YNet with parameters of 0 for images of `size` x `size`; its first level has `width` channels."""
    b = Builder("UNet")

    def zeros(name: str, shape: Sequence[int], point: int = 6) -> str:
        return b.constant(name, np.zeros(shape, np.float32), point)

    b.weights = zeros  # type: ignore[method-assign]

    def double_conv(name: str, x: str, channels: int) -> str:
        x = b.fix(b.unary(f"{name}_r1", "relu", b.conv(f"{name}_c1", x, channels)), 4)
        return b.fix(b.unary(f"{name}_r2", "relu", b.conv(f"{name}_c2", x, channels)), 4)

    levels = [double_conv("inc", b.data((1, size, size, 3)), width)]
    for i in range(1, 5):
        levels.append(double_conv(f"down{i}", b.fix(b.pool(f"pool{i}", "maxpool2d", levels[-1], 2), 4), width << i))
    x = levels[-1]
    for i in range(1, 5):
        shape = b.shape(levels[4 - i])
        inputs = {
            "input": [x],
            "weights": [b.weights(f"up{i}_w", (shape[3], 2, 2, b.shape(x)[3]))],
            "bias": [b.weights(f"up{i}_b", (shape[3],))],
        }
        up = b.op(f"up{i}", "transposed-conv2d", inputs, shape, **window(2, 2))
        joined = b.op(f"cat{i}", "concat", {"input": [levels[4 - i], up]}, (*shape[:3], 2 * shape[3]), axis=3)
        x = double_conv(f"conv{i}", b.fix(joined, 4), shape[3])
    mask = b.fix(b.conv("outc", x, 2, kernel=1, pad=0), 4)
    deep = b.fix(b.pool("head1", "maxpool2d", levels[-1], 2), 4)
    deep = b.fix(b.pool("head2", "maxpool2d", deep, b.shape(deep)[1]), 4)
    hidden = b.fix(b.unary("hidden", "relu", b.linear("linear_1", deep, 8 * width)), 4)
    return b.graph(mask, b.unary("prob", "sigmoid", b.fix(b.linear("linear_2", hidden, 1), 4)))
