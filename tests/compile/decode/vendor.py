"""Compiled graphs as the vendor's compiler leaves them: empty constants, a parameter blob, a program that loads it.

The program loads and uses parameters only; what it would do with images is left out, as nothing here reads that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from compile.decode import layout
from compile.decode.layout import IN, OUT
from xmodel.graph import Array, Attr, Graph, Op, Subgraph, Tensor, attrs, const

FINGERPRINT = 0x5010000001E082F  # 4PE, which has every kind of convolution
DEPTHWISE, TRANSPOSED = "depthwise-conv2d-fix", "transposed-conv2d-fix"


def load(bank: int, address: int, size: int, count: int = 1, rows: int = 1, pitch: int = 1, line: int = 0) -> list[int]:
    """LOAD of `count` items of `size` bytes that lie side by side in register 0."""
    each = -(-size // {145: 32, 146: 32, 144: 128}.get(bank, 64))
    return [
        line | (rows - 1) << 13,
        (size - 1) | bank << 16,
        (size - 1) | (count - 1) << 14 | (each - 1) << 24,
        address,
        pitch - 1,
    ]


def window(height: int, width: int, groups: int, depthwise: bool = False) -> list[int]:
    """CONVINIT or DWINIT."""
    opcode, size = (0xB, 4) if depthwise else (0x9, 5)
    return [opcode << 28 | (width - 1) | (height - 1) << 4, (groups - 1) << 16, *[0] * (size - 2)]


def compute(weights: int = 0, bias: int = 0, depthwise: bool = False) -> list[int]:
    """CONV or DPTWISE."""
    return [(0xA if depthwise else 0x8) << 28 | bias, weights, 0, 0, 0]


END = [0x7 << 28]


def code(*parts: Iterable[int]) -> bytes:
    """Instructions, and an END, as a program."""
    words = [word for part in (*parts, END) for word in part]
    return np.array(words, "<u4").tobytes()


def pack(unpack: Callable[[Array], Array], shape: tuple[int, ...], values: Array) -> Array:
    """What `unpack` makes `values` of: stored bytes of `shape`."""
    stored = np.zeros(int(np.prod(shape)), np.int8)
    stored[unpack(np.arange(stored.size).reshape(shape)).reshape(-1)] = values.reshape(-1)
    return stored


@dataclass
class Packer:
    """Collects a subgraph's parameters and program; `alternating`: each block's biases follow its weights."""

    alternating: bool = False
    blob: list[Array] = field(default_factory=list)
    words: list[list[int]] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)

    def put(self, data: Array) -> int:
        """Append to the blob; returns the address."""
        self.blob.append(data)
        return sum(len(part) for part in self.blob) - len(data)

    def op(self, graph: Graph, op: Op) -> None:
        """Pack an op's constants and load them."""
        weights, bias = (graph.op(op.inputs[name][0]) for name in ("weights", "bias"))
        if op.type == DEPTHWISE:
            self.depthwise(weights, bias)
        else:
            self.convolution(op, weights, bias)

    def depthwise(self, weights: Op, bias: Op) -> None:
        """Two 32-byte lines a tap and 64 channels."""
        _, height, width, channels = weights.output.shape
        groups = -(-channels // IN)
        grown = [_grow(op.array().reshape(-1, channels), groups * IN).reshape(-1, IN) for op in (weights, bias)]
        first, second = (self.put(pack(layout.depthwise, part.shape, part)) for part in grown)
        self.places |= {weights.name: first, bias.name: second}
        self.words += [
            load(145, first, 32, 2 * height * width * groups),
            load(146, second, 32, 2 * groups),
            window(height, width, groups, depthwise=True),
            compute(depthwise=True),
        ]

    def convolution(self, op: Op, weights: Op, bias: Op) -> None:
        """Blocks of 128 output channels."""
        values = weights.array()
        outputs, height, width, channels = values.shape
        if op.get("channel_augmentation"):
            values, width = values.reshape(outputs, height, 1, width * channels), 1
        groups = -(-values.shape[3] // IN)
        lines = height * width * groups
        values = _grow(values, groups * IN).reshape(outputs, lines, IN)
        starts = range(0, outputs, OUT)
        blocks = [pack(layout.conv_weights, (OUT, lines, IN), _rows(values[start : start + OUT])) for start in starts]
        biases = [pack(layout.conv_bias, (OUT,), _rows(bias.array()[start : start + OUT])) for start in starts]
        if self.alternating:
            places = [(self.put(block), self.put(part)) for block, part in zip(blocks, biases, strict=True)]
        else:
            places = list(zip([self.put(b) for b in blocks], [self.put(b) for b in biases], strict=True))
        self.places |= {weights.name: places[0][0], bias.name: places[0][1]}
        for start, (first, second) in zip(starts, places, strict=True):
            rows = min(OUT, -(-(outputs - start) // 8) * 8)
            self.words += [load(255, first, IN, lines, rows, lines * IN), load(144, second, OUT)]
            if op.type == TRANSPOSED:
                self.words += [window(1, 1, groups), *(compute(tap * groups) for tap in range(height * width))]
            else:
                self.words += [window(height, width, groups), compute()]


def _grow(values: Array, channels: int) -> Array:
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, channels - values.shape[-1])])


def _rows(values: Array) -> Array:
    return np.pad(values, [(0, OUT - len(values))] + [(0, 0)] * (values.ndim - 1))


def vendor(graph: Graph, alternating: bool = False) -> Graph:
    """`graph` with the parameters of its DPU subgraphs in blobs."""
    assert graph.root is not None
    places: dict[str, int] = {}
    children = []
    for child in graph.root.children:
        if child.get("device") == "DPU":
            packer = Packer(alternating)
            for name in child.all_ops():
                if "weights" in graph.op(name).inputs:
                    packer.op(graph, graph.op(name))
            child = replace(child, attrs={**child.attrs, **_attrs(packer)})
            places |= packer.places
        children.append(child)
    ops = tuple(empty(op, places[op.name]) if op.name in places else op for op in graph.ops)
    return replace(graph, ops=ops, root=replace(graph.root, children=tuple(children)))


def _attrs(packer: Packer) -> dict[str, Attr]:
    blob = np.concatenate(packer.blob).tobytes()
    return parameters(blob, code(*packer.words))


def parameters(blob: bytes, program: bytes) -> dict[str, Attr]:
    """The attributes of a DPU subgraph that hold its blob and program."""
    return {
        "mc_code": Attr("bytes", program),
        "reg_id_to_size": Attr("map_string_2_int32", {"REG_0": len(blob)}),
        "reg_id_to_parameter_value": Attr("map_string_2_bytes", {"REG_0": blob}),
    }


def empty(op: Op, address: int) -> Op:
    values = {**op.output.attrs, **attrs(reg_id=0, ddr_addr=address, location=1)}
    return replace(op.with_attrs(data=b""), output=replace(op.output, attrs=values))


def one_op(kind: str, shape: tuple[int, ...], weights: Array, bias: Array, **values: Any) -> Graph:
    """data -> upload -> an op with weights and bias -> download, in a DPU subgraph; only weights are what they seem."""

    def tensor(name: str, dims: tuple[int, ...]) -> Tensor:
        return Tensor(name, dims, "XINT8", attrs(fix_point=4, bit_width=8, if_signed=True, round_mode="DPU_ROUND"))

    out = (*shape[:3], shape[3] if kind == DEPTHWISE else len(weights))
    inputs = {"input": ("up",), "weights": ("w",), "bias": ("b",)}
    ops = (
        Op("x", "data-fix", {}, attrs(shape=list(shape), data_type="XINT8"), tensor("x", shape)),
        Op("up", "upload", {"input": ("x",)}, {}, tensor("up", shape)),
        const("w", weights, "const-fix", fix_point=4),
        const("b", bias, "const-fix", fix_point=4),
        Op("op", kind, inputs, attrs(**values), tensor("op", out)),
        Op("down", "download", {"input": ("op",)}, {}, tensor("down", out)),
    )
    layer = Subgraph("layer", ("up", "w", "b", "op", "down"))
    chip = attrs(device="DPU", dpu_name="DPUCVDX8H_ISA1_F2W4_4PE", dpu_fingerprint=Attr("uint64", FINGERPRINT))
    user = Subgraph("user", ("x",), attrs=attrs(device="USER"))
    return Graph("one", ops, {}, Subgraph("root", children=(user, Subgraph("dpu", children=(layer,), attrs=chip))))
