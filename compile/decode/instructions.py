"""The DPUCVDX8H's machine code, as far as it moves and uses parameters.

Source: the project's sheet on the instruction set, read from public compiled files and proven on AMD's
instruction simulator. A program is a sequence of little-endian 32-bit words without header or checksum;
the top four bits of an instruction's first word say what it is and how many words it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from xmodel.errors import ArtifactError
from xmodel.graph import Buffer


class Opcode(IntEnum):
    """The top four bits of an instruction's first word."""

    LOAD = 0x0
    SAVE = 0x4
    POOL_INIT = 0x6
    END = 0x7
    CONV = 0x8
    CONV_INIT = 0x9
    DEPTHWISE = 0xA
    DEPTHWISE_INIT = 0xB
    POOL = 0xC
    ELTWISE_INIT = 0xD
    ELTWISE = 0xE


# Words by opcode, from release 2.5 on; release 2.0 packs pooling tighter and all else the same.
_WORDS: Mapping[int, int] = {
    Opcode.LOAD: 5,
    Opcode.SAVE: 4,
    Opcode.POOL_INIT: 4,
    Opcode.END: 1,
    Opcode.CONV: 5,
    Opcode.CONV_INIT: 5,
    Opcode.DEPTHWISE: 5,
    Opcode.DEPTHWISE_INIT: 4,
    Opcode.POOL: 5,
    Opcode.ELTWISE_INIT: 2,
    Opcode.ELTWISE: 4,
}
_ENCODINGS = (_WORDS, {**_WORDS, Opcode.POOL_INIT: 3, Opcode.POOL: 4})


@dataclass(frozen=True, slots=True)
class Load:
    """LOAD: DDR to on-chip lines; addresses and jumps are in bytes in DDR, in lines on the chip.

    `count` items of `size` bytes, `jump` apart, begin `line_jump` lines apart. With the bank id 255 each goes to
    `rows` banks at once, whose bytes lie `row_jump` apart. `register` selects the region of DDR; a load that `fills`
    copies nothing.
    """

    bank: int
    line: int
    line_jump: int
    register: int
    address: int
    jump: int
    size: int
    count: int
    rows: int
    row_jump: int
    fills: bool


@dataclass(frozen=True, slots=True)
class Window:
    """CONVINIT or DWINIT: the kernel in pixels and the groups of 64 input channels of what follows."""

    depthwise: bool
    kernel_w: int
    kernel_h: int
    groups: int


@dataclass(frozen=True, slots=True)
class Compute:
    """CONV or DPTWISE: the on-chip lines where its weights and biases begin."""

    depthwise: bool
    weights: int
    bias: int


Instruction = Load | Window | Compute


def instructions(code: Buffer) -> Iterator[Instruction]:
    """The instructions of a program that load or use parameters, in order; the others are stepped over.

    Raises `ArtifactError` for what is not a whole program of either known encoding.
    """
    if len(code) % 4 or not len(code):
        raise ArtifactError(f"The machine code has {len(code)} bytes, which are no 32-bit words.")
    words = np.frombuffer(code, "<u4")
    starts = next((found for sizes in _ENCODINGS if (found := _starts(words, sizes)) is not None), None)
    if starts is None:
        raise ArtifactError("The machine code is no program of the DPUCVDX8H's known encodings.")
    return _decoded(words, starts)


def _starts(words: NDArray[np.uint32], sizes: Mapping[int, int]) -> list[int] | None:
    """Where the instructions begin, or None unless the words end with their one END."""
    widths = [sizes.get(opcode, 0) for opcode in range(16)]
    opcodes = (words >> 28).tolist()
    starts, place, last = [], 0, len(opcodes) - 1
    while place <= last:
        starts.append(place)
        if opcodes[place] == Opcode.END:
            return starts if place == last else None
        if not widths[opcodes[place]]:
            return None
        place += widths[opcodes[place]]
    return None


def _decoded(words: NDArray[np.uint32], starts: list[int]) -> Iterator[Instruction]:
    for start in starts:
        first, *rest = (int(word) for word in words[start : start + 5])
        match first >> 28:
            case Opcode.LOAD:
                yield _load(first, *rest[:4])
            case Opcode.CONV_INIT | Opcode.DEPTHWISE_INIT as opcode:
                depthwise = opcode == Opcode.DEPTHWISE_INIT
                yield Window(depthwise, _field(first, 0, 4) + 1, _field(first, 4, 4) + 1, _field(rest[0], 16, 8) + 1)
            case Opcode.CONV:
                yield Compute(False, weights=_field(rest[0], 0, 12), bias=_field(first, 0, 12))
            case Opcode.DEPTHWISE:
                yield Compute(True, weights=_field(rest[0], 0, 13), bias=_field(first, 0, 12))


def _load(bank: int, target: int, shape: int, source: int, pitch: int) -> Load:
    return Load(
        bank=_field(target, 16, 8),
        line=_field(bank, 0, 13),
        line_jump=_field(shape, 24, 8) + 1,
        register=_field(source, 29, 3),
        address=_field(source, 0, 29),
        jump=_field(target, 0, 16) + 1,
        size=_field(shape, 0, 12) + 1,
        count=_field(shape, 14, 10) + 1,
        rows=_field(bank, 13, 7) + 1,
        row_jump=_field(pitch, 0, 21) + 1,
        fills=_field(target, 30, 2) != 0,
    )


def _field(word: int, low: int, bits: int) -> int:
    return word >> low & (1 << bits) - 1
