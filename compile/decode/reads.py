"""Which bytes of the parameter blob a program's convolutions compute with: its loads replayed, nothing computed.

Source: the project's sheet on the instruction set. A line of an on-chip bank remembers the blob address it was
loaded from; a convolution then tells where its weights and biases came from, whatever the layout of the blob.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from compile.decode.instructions import Compute, Instruction, Load, Window, instructions
from xmodel.errors import ArtifactError
from xmodel.graph import Array, Buffer

MAX_CODE = 16 << 20  # bytes; programs of real networks have less than one megabyte
PARAMETERS = 0  # the register that points at the blob

_ALL_WEIGHTS, _BIAS, _DEPTHWISE_WEIGHTS, _DEPTHWISE_BIAS = 255, 144, 145, 146
_FEATURES = 16  # banks below hold feature maps
_UNKNOWN = -1


@dataclass(frozen=True, slots=True, order=True)
class Read:
    """What one kind of convolution instruction reads: blob addresses of its weights' and its biases' first line.

    The `lines` of one output channel lie side by side; those of the next of `rows` channels (in the order of the
    on-chip banks) `pitch` bytes on. A depthwise one has a single row. An address is -1 when the program took the
    lines from elsewhere, or from several places.
    """

    weights: int
    bias: int
    lines: int
    rows: int
    pitch: int
    kernel_h: int
    kernel_w: int
    groups: int
    depthwise: bool


class _Bank:
    """Lines of `width` bytes in a ring of `depth`, by the address they came from."""

    def __init__(self, width: int, depth: int) -> None:
        self._width, self._depth = width, depth
        # address, rows and row pitch of every line
        self._lines = np.full((3, depth), _UNKNOWN, np.int64)

    def load(self, load: Load) -> None:
        """Remember where lines come from. Raises `ArtifactError` for more of them than there are."""
        each = -(-load.size // self._width)
        if load.count * each > self._depth:
            raise ArtifactError(f"It loads {load.count * each} lines into a memory of {self._depth}.")
        items, parts = np.arange(load.count)[:, None], np.arange(each)
        lines = (load.line + items * load.line_jump + parts) % self._depth
        whole = (parts + 1) * self._width <= load.size
        known = whole & (load.register == PARAMETERS) & (not load.fills)
        self._lines[0, lines] = np.where(known, load.address + items * load.jump + parts * self._width, _UNKNOWN)
        self._lines[1, lines], self._lines[2, lines] = load.rows, load.row_jump

    def read(self, first: int, count: int) -> tuple[int, int, int]:
        """The address of `count` lines from `first` on, or -1 when they do not lie side by side; rows; pitch."""
        if count > self._depth:
            return _UNKNOWN, 0, 0
        address, rows, pitch = self._lines[:, (first + np.arange(count)) % self._depth]
        start = int(address[0])
        together = _same(address - start, np.arange(count) * self._width) and _same(pitch, pitch[0])
        return (start if together else _UNKNOWN), int(rows.min()), int(pitch[0])


def _same(a: Array, b: Array) -> bool:
    return bool((a == b).all())


class _Replay:
    def __init__(self, depth: int) -> None:
        self._banks = {
            _ALL_WEIGHTS: _Bank(64, depth),
            _BIAS: _Bank(128, 1024),
            _DEPTHWISE_WEIGHTS: _Bank(32, 8192),
            _DEPTHWISE_BIAS: _Bank(32, 128),
        }
        self._windows: dict[bool, Window] = {}
        self._fresh: set[Compute] = set()  # read since the last load or change of window
        self.found: set[Read] = set()

    def run(self, program: Iterable[Instruction]) -> None:
        for step in program:
            match step:
                case Load(bank=bank) if bank >= _FEATURES:
                    if bank not in self._banks:
                        raise ArtifactError(f"It loads into memory bank {bank}, which is not known to hold parameters.")
                    self._banks[bank].load(step)
                    self._fresh.clear()
                case Window():
                    self._windows[step.depthwise] = step
                    self._fresh.clear()
                case Compute() if step not in self._fresh:
                    self._fresh.add(step)
                    self.found.add(self._read(step))

    def _read(self, step: Compute) -> Read:
        window = self._windows.get(step.depthwise)
        if window is None:
            raise ArtifactError("It convolves before it says with which window.")
        taps = window.kernel_w * window.kernel_h * window.groups
        # spec: a depthwise line is half of 64 channels
        lines, bias_lines = (2 * taps, 2 * window.groups) if step.depthwise else (taps, 1)
        weights, biases = (_DEPTHWISE_WEIGHTS, _DEPTHWISE_BIAS) if step.depthwise else (_ALL_WEIGHTS, _BIAS)
        address, rows, pitch = self._banks[weights].read(step.weights, lines)
        bias = self._banks[biases].read(step.bias, bias_lines)[0]
        if step.depthwise:
            rows, pitch = 1, 0
        return Read(address, bias, lines, rows, pitch, window.kernel_h, window.kernel_w, window.groups, step.depthwise)


def reads(code: Buffer, depth: int) -> list[Read]:
    """Every different read of parameters by the program `code`, ascending by address.

    `depth` is the number of lines of the target's convolution weight banks. Raises `ArtifactError` for a program
    that is not understood.
    """
    if len(code) > MAX_CODE:
        raise ArtifactError(f"The machine code has {len(code)} bytes; real programs have at most {MAX_CODE}.")
    replay = _Replay(depth)
    replay.run(instructions(code))
    return sorted(replay.found)
