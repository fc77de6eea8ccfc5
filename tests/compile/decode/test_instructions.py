"""Machine code read word by word: an annotated public program, both encodings, and what is no program."""

from __future__ import annotations

import numpy as np
import pytest

from compile.decode.instructions import Compute, Load, Window, instructions
from tests.compile.decode import vendor
from xmodel.errors import ArtifactError

# The last convolution and pool of a public network for the 8PE, as the sheet on the instruction set annotates it.
ANNOTATED = """
    08000002 0090007f 0000007f 000a2100 0000007f
    90010044 00008003 04000007 2c002007 00000000
    60000101 01010000 00002007 00000000
    0047e038 00ff003f 0006003f 00070100 0000063f
    81800002 00000038 04046000 20000084 00000000
    c4200008 00010001 0080208c 00000000 00000000
    4800008c 0008003f 0000403f 60000000
    4020008c 0009003f 0000403f 60000080
    72000000
"""


def _code(text: str) -> bytes:
    return np.array([int(word, 16) for word in text.split()], "<u4").tobytes()


def test_annotated_program() -> None:
    bias, window, weights, compute = instructions(_code(ANNOTATED))
    assert bias == Load(bank=144, line=2, line_jump=1, register=0, address=663808, jump=128, size=128, count=1,
                        rows=1, row_jump=128, fills=False)  # fmt: skip
    assert window == Window(depthwise=False, kernel_w=5, kernel_h=5, groups=1)
    assert weights == Load(bank=255, line=56, line_jump=1, register=0, address=459008, jump=64, size=64, count=25,
                           rows=64, row_jump=1600, fills=False)  # fmt: skip
    assert compute == Compute(depthwise=False, weights=56, bias=2)


def test_release_2_0_packs_pooling_tighter() -> None:
    old = ANNOTATED.replace("60000101 01010000 00002007 00000000", "60000101 01010000 00002007")
    old = old.replace("c4200008 00010001 0080208c 00000000 00000000", "c4200008 00010001 0080208c 00000000")
    assert list(instructions(_code(old))) == list(instructions(_code(ANNOTATED)))


def test_depthwise_instructions() -> None:
    window, compute = vendor.window(3, 5, 2, depthwise=True), vendor.compute(8191, 7, depthwise=True)
    assert list(instructions(vendor.code(window, compute))) == [Window(True, 5, 3, 2), Compute(True, 8191, 7)]


@pytest.mark.parametrize(
    "code",
    [
        b"",
        b"\0\0\0",
        _code("70000000 70000000"),  # something behind END
        _code("00000000 00000000 00000000 00000000 00000000"),  # no END
        _code("00000000 00000000 00000000 70000000"),  # END inside a LOAD
        _code("10000000 70000000"),  # no such opcode
        _code(ANNOTATED)[:-8],
    ],
)
def test_no_program(code: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"machine code (has [03] bytes|is no program of the DPUCVDX8H)"):
        instructions(code)
