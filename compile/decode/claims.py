"""Where the parameters of one op lie in the blob, held against what the program reads there.

Source: the project's sheets on the instruction set and the file format. The layout of a block is known from public
files, in which a layer has at most 128 output channels; how several blocks follow each other is tried in both
possible ways, and the program decides. Nothing is believed that the program does not read in this way.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compile.decode import layout
from compile.decode.layout import IN, OUT, OUT_BLOCK_BYTES
from compile.decode.reads import PARAMETERS, Read
from xmodel.errors import ArtifactError
from xmodel.graph import Array, Graph, Op, Tensor

_LINE_BYTES = IN
_MAX_SIDE = 1 << 16
_TRANSPOSED, _DEPTHWISE = "transposed-conv2d-fix", "depthwise-conv2d-fix"
_TYPES = ("conv2d-fix", _TRANSPOSED, _DEPTHWISE)


@dataclass(frozen=True, slots=True)
class Block:
    """One block of output channels: the reads of it that are expected, and where its weights and biases lie."""

    weights: int
    bias: int
    reads: tuple[Read, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """The parameters of one op: constants to fill, and the arrangements of blocks that its layout may have.

    `weight_bytes` and `bias_bytes` are those of one block, `lines` the 64-byte lines of one output channel;
    `folded`: kernel columns lie side by side in the channels.
    """

    op: Op
    weights: Op
    bias: Op
    arrangements: tuple[tuple[Block, ...], ...]
    weight_bytes: int
    bias_bytes: int
    lines: int
    folded: bool = False

    @property
    def bytes(self) -> int:
        """What the parameters take in the blob."""
        return len(self.arrangements[0]) * (self.weight_bytes + self.bias_bytes)

    def settle(self, found: Sequence[Read]) -> tuple[tuple[Block, ...], int]:
        """The arrangement in which the program reads the op's parameters, and how many of its reads that are.

        `found` is what the program reads, ascending. Raises `ArtifactError` when no arrangement fits.
        """
        for blocks in self.arrangements:
            first = bisect_left(found, blocks[0].weights, key=_weights)
            behind = bisect_left(found, blocks[-1].weights + self.weight_bytes, key=_weights)
            wanted = {read.weights: read for block in blocks for read in block.reads}
            here = found[first:behind]
            if {read.weights for read in here} == wanted.keys() and all(_serves(r, wanted[r.weights]) for r in here):
                return blocks, len(here)
        raise refusal(
            self.op,
            f"keeps its parameters at {self.arrangements[0][0].weights} of the parameter blob, but the program does "
            "not read them there in the known layout",
        )

    def arrays(self, blob: Array, blocks: Sequence[Block]) -> tuple[Array, Array]:
        """Weights and biases in XIR's order and shape. Raises `ArtifactError` when the blob ends before them."""
        ends = [max(block.weights + self.weight_bytes, block.bias + self.bias_bytes) for block in blocks]
        if max(ends) > len(blob):
            raise refusal(self.op, f"has parameters up to byte {max(ends)} of a blob of {len(blob)} bytes")
        stored = [blob[block.weights : block.weights + self.weight_bytes] for block in blocks]
        biases = [blob[block.bias : block.bias + self.bias_bytes] for block in blocks]
        outputs, height, width, channels = self.weights.output.shape
        if self.op.type == _DEPTHWISE:
            lines, bias = layout.depthwise(stored[0].reshape(-1, IN)), layout.depthwise(biases[0].reshape(-1, IN))
            return lines.reshape(1, height, width, -1)[..., :channels], bias.reshape(-1)[:channels]
        parts = [layout.conv_weights(part.reshape(OUT, self.lines, IN)) for part in stored]
        weights = np.concatenate(parts)[:outputs]
        bias = np.concatenate([layout.conv_bias(part) for part in biases])[:outputs]
        if self.folded:
            return weights[:, :, : width * channels].reshape(outputs, height, width, channels), bias
        return weights.reshape(outputs, height, width, -1)[..., :channels], bias


def _weights(read: Read) -> int:
    return read.weights


def _serves(read: Read, wanted: Read) -> bool:
    """Whether a read is the wanted one; rows beyond the wanted ones are padding."""
    same = (read.bias, read.lines, read.kernel_h, read.kernel_w, read.groups, read.depthwise) == (
        wanted.bias, wanted.lines, wanted.kernel_h, wanted.kernel_w, wanted.groups, wanted.depthwise
    )  # fmt: skip
    return same and read.rows >= wanted.rows and (read.pitch == wanted.pitch or wanted.rows == 1)


def claim(graph: Graph, op: Op, empty: Sequence[Op], room: int) -> Claim:
    """What `op` keeps in the blob: `empty` are its constants without values, `room` the bytes not claimed yet.

    Raises `ArtifactError` naming the op for a layout that is not known.
    """
    if op.type not in _TYPES:
        raise refusal(op, f"keeps constant {empty[0].name!r} in the parameter blob, in a layout that is not known")
    found = [op.arg(name) for name in ("input", "weights", "bias")]
    if None in found:
        raise refusal(op, "has no input, weights or bias; how the compiler packs such an op is not known")
    source, weights, bias = (graph.op(str(name)) for name in found)
    if {const.name for const in empty} != {weights.name, bias.name}:
        raise refusal(op, "keeps only some of its constants in the parameter blob")
    shape = weights.output.shape
    if len(shape) != 4 or not all(0 < side < _MAX_SIDE for side in shape) or len(source.output.shape) != 4:
        raise refusal(op, f"has weights {list(shape)} for an input {list(source.output.shape)}")
    if source.output.shape[3] != shape[3]:
        raise refusal(op, f"has weights of {shape[3]} channels for an input of {source.output.shape[3]}")
    if bias.output.shape != (shape[3] if op.type == _DEPTHWISE else shape[0],):
        raise refusal(op, f"has weights {list(shape)} and a bias {list(bias.output.shape)}")
    for tensor in (weights.output, bias.output):
        if tensor.data_type != "XINT8" or tensor.get("reg_id") != PARAMETERS:
            raise refusal(op, f"has parameters of {tensor.data_type} behind register {tensor.get('reg_id')!r}")
    if op.type == _DEPTHWISE:
        return _depthwise(op, weights, bias, room)
    return _convolution(op, weights, bias, room)


def _depthwise(op: Op, weights: Op, bias: Op, room: int) -> Claim:
    _, height, width, channels = weights.output.shape
    if weights.output.shape[0] != 1:
        raise refusal(op, f"has {weights.output.shape[0]} weights a channel; only 1 is known")
    groups, start, bias_start = -(-channels // IN), _address(op, weights.output), _address(op, bias.output)
    taps = height * width * groups
    _fits(op, (taps + groups) * IN, room)
    block = Block(start, bias_start, (Read(start, bias_start, 2 * taps, 1, 0, height, width, groups, True),))
    return Claim(op, weights, bias, ((block,),), taps * IN, groups * IN, taps)


def _convolution(op: Op, weights: Op, bias: Op, room: int) -> Claim:
    outputs, height, width, channels = weights.output.shape
    transposed = op.type == _TRANSPOSED
    folded = bool(op.get("channel_augmentation", 0))
    groups = -(-channels // IN)
    if folded and (width * channels > IN or transposed):
        raise refusal(op, f"folds {width} kernel columns of {channels} channels; only up to {IN} together are known")
    if folded:
        width, groups = 1, 1
    if transposed and _pair(op, "kernel") != _pair(op, "stride"):
        kernel, stride = _pair(op, "kernel"), _pair(op, "stride")
        raise refusal(op, f"has kernel {kernel} and stride {stride}; only kernel = stride is known")
    lines = height * width * groups
    start, bias_start = _address(op, weights.output), _address(op, bias.output)
    size, count = OUT * lines * _LINE_BYTES, -(-outputs // OUT)
    _fits(op, count * (size + OUT_BLOCK_BYTES), room)
    # Each tap of a transposed convolution is a convolution of its own, with a 1x1 kernel.
    taps = [(tap * groups * _LINE_BYTES, 1, 1) for tap in range(height * width)] if transposed else [(0, height, width)]

    def block(number: int, step: int, bias_step: int) -> Block:
        first, bias_first = start + number * step, bias_start + number * bias_step
        rows = min(OUT, outputs - number * OUT)
        reads = (
            Read(first + offset, bias_first, h * w * groups, rows, lines * _LINE_BYTES, h, w, groups, False)
            for offset, h, w in taps
        )
        return Block(first, bias_first, tuple(reads))

    together = tuple(block(number, size, OUT_BLOCK_BYTES) for number in range(count))
    alternating = tuple(block(number, size + OUT_BLOCK_BYTES, size + OUT_BLOCK_BYTES) for number in range(count))
    arrangements = (together, alternating) if count > 1 else (together,)
    return Claim(op, weights, bias, arrangements, size, OUT_BLOCK_BYTES, lines, folded)


def _fits(op: Op, needed: int, room: int) -> None:
    if needed > room:
        raise refusal(op, f"needs {needed} bytes of parameters; {room} of the blob's are left for it")


def refusal(op: Op, what: str) -> ArtifactError:
    """The error for an op whose parameters cannot be read: `raise refusal(op, "has ...")`."""
    return ArtifactError(
        f"Op {op.name!r} of type {op.type!r} {what}.",
        hint="Run the quantizer's _int.xmodel, or compile that with `unmask compile`.",
    )


def _address(op: Op, tensor: Tensor) -> int:
    value: Any = tensor.get("ddr_addr")
    if not isinstance(value, int) or not 0 <= value < 1 << 29:
        raise refusal(op, f"has its parameters {tensor.name!r} at the address {value!r}")
    return value


def _pair(op: Op, name: str) -> tuple[Any, ...]:
    value = op.get(name)
    return tuple(value) if isinstance(value, tuple | list) else (value,)
