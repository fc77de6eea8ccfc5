"""Random integer networks, built op by op, for tests and measurements."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from xmodel.graph import Graph, Op, Tensor, attrs, const


class Builder:
    """Appends quantized ops with random constants; every method returns the new op's name."""

    def __init__(self, name: str, seed: int = 0) -> None:
        self.name, self.random, self.ops = name, np.random.default_rng(seed), list[Op]()

    def _tensor(self, name: str, shape: tuple[int, ...], fix_point: int) -> Tensor:
        return Tensor(name, shape, "XINT8", attrs(fix_point=fix_point, bit_width=8, if_signed=True))

    def output(self, name: str) -> Tensor:
        """The tensor of op `name`."""
        return next(op.output for op in self.ops if op.name == name)

    def add(
        self, type_: str, inputs: Mapping[str, tuple[str, ...]], shape: tuple[int, ...], point: int, **a: object
    ) -> str:
        """Any op with an int8 output."""
        name = f"{type_}_{len(self.ops)}"
        self.ops.append(Op(name, type_, inputs, attrs(**a), self._tensor(name, shape, point)))
        return name

    def data(self, height: int, width: int, channels: int, fix_point: int = 7) -> str:
        """An input."""
        return self.add("data-fix", {}, (1, height, width, channels), fix_point, data_type="XINT8")

    def constant(self, shape: tuple[int, ...], fix_point: int, spread: float = 25.0) -> str:
        """int8 weights: normal, clipped, so that a few reach -128 and 127."""
        name = f"const_{len(self.ops)}"
        values = np.clip(np.rint(self.random.normal(0, spread, shape)), -128, 127).astype(np.int8)
        self.ops.append(const(name, values, "const-fix", fix_point=fix_point))
        return name

    def conv(self, x: str, made: int, kernel: int = 3, stride: int = 1, relu: bool = True, out: int = 4) -> str:
        """conv2d-fix with 'same' padding, the shift chosen so that some outputs saturate and some do not."""
        _, h, w, c = self.output(x).shape
        pad = kernel // 2
        shift = max(1, round(np.log2(25 * 40 * (kernel * kernel * c) ** 0.5 / 40)))
        point = shift + out - int(self.output(x).fix_point or 0)
        inputs = {"input": (x,), "weights": (self.constant((made, kernel, kernel, c), point),)}
        inputs["bias"] = (self.constant((made,), out + 2),)
        shape = (1, (h + 2 * pad - kernel) // stride + 1, (w + 2 * pad - kernel) // stride + 1, made)
        return self.add("conv2d-fix", inputs, shape, out, kernel=[kernel, kernel], stride=[stride, stride],
                        dilation=[1, 1], pad=[pad] * 4, nonlinear="RELU" if relu else "NONE")  # fmt: skip

    def up(self, x: str, out: int = 4) -> str:
        """transposed-conv2d-fix k2 s2 to half the channels."""
        _, h, w, c = self.output(x).shape
        shift = max(1, round(np.log2(25 * c**0.5)))
        point = shift + out - int(self.output(x).fix_point or 0)
        inputs = {"input": (x,), "weights": (self.constant((c // 2, 2, 2, c), point),)}
        inputs["bias"] = (self.constant((c // 2,), out + 2),)
        return self.add("transposed-conv2d-fix", inputs, (1, 2 * h, 2 * w, c // 2), out, kernel=[2, 2], stride=[2, 2],
                        dilation=[1, 1], pad=[0, 0, 0, 0], nonlinear="NONE")  # fmt: skip

    def pool(self, x: str, kernel: int = 2) -> str:
        """Maximum over squares side by side."""
        tensor = self.output(x)
        _, h, w, c = tensor.shape
        return self.add("pool-fix", {"input": (x,)}, (1, h // kernel, w // kernel, c), int(tensor.fix_point or 0),
                        kernel=[kernel, kernel], stride=[kernel, kernel], pad=[0, 0, 0, 0], type="MAX")  # fmt: skip

    def concat(self, *inputs: str, out: int = 3) -> str:
        """Channels side by side."""
        shapes = [self.output(x).shape for x in inputs]
        channels = sum(shape[3] for shape in shapes)
        return self.add("concat-fix", {"input": inputs}, (*shapes[0][:3], channels), out, axis=3)

    def graph(self) -> Graph:
        """The network."""
        return Graph(self.name, tuple(self.ops))


def uynet(width: int, size: int = 224, seed: int = 0) -> Graph:
    """U-YNet's integer body with random weights: mask logits and one score, both int8."""
    net = Builder(f"uynet{width}", seed)

    def double(x: str, made: int) -> str:
        return net.conv(net.conv(x, made), made)

    skips = [double(net.data(size, size, 3), width)]
    for level in range(1, 5):
        skips.append(double(net.pool(skips[-1]), width << level))
    deep = x = skips.pop()
    while skips:
        skip = skips.pop()
        x = double(net.concat(skip, net.up(x)), net.output(skip).shape[3])
    net.conv(x, 2, kernel=1, relu=False)
    pooled = net.pool(deep)
    score = net.pool(pooled, net.output(pooled).shape[1])
    net.conv(net.conv(score, 8 * width, kernel=1), 1, kernel=1, relu=False)
    return net.graph()
