"""The array's order, byte by byte as the sheet on the instruction set states it."""

from __future__ import annotations

import numpy as np

from compile.decode import layout


def _place(o: int, c: int) -> tuple[int, int]:
    """Row and byte of output channel o and input channel c, as the sheet's formulas say."""
    i2, i1, i0 = o % 8 >> 2 & 1, o % 8 >> 1 & 1, o & 1
    pos = 32 * i2 + 64 * i1 + i0 + 2 * (c % 16)
    stored_o = 8 * (o // 8) + pos // 16
    stored_c = 8 * (c // 16) + 32 * ((pos % 16) // 8) + pos % 8
    row = 16 * (stored_o // 16) + stored_o if stored_o < 64 else 16 * (stored_o // 16) - 112 + stored_o
    return row, stored_c


def test_conv_weights() -> None:
    block = np.arange(128 * 3 * 64).reshape(128, 3, 64)
    found = layout.conv_weights(block)
    wanted = [[[block[_place(o, c)[0], line, _place(o, c)[1]] for c in range(64)] for line in range(3)]
              for o in range(128)]  # fmt: skip
    np.testing.assert_array_equal(found, wanted)
    assert len(np.unique(found)) == found.size


def test_conv_weights_of_known_channels() -> None:
    block = np.arange(128 * 64).reshape(128, 1, 64)
    places = {
        (o, c): divmod(int(layout.conv_weights(block)[o, 0, c]), 64) for o, c in ((0, 0), (1, 0), (4, 1), (64, 63))
    }
    assert places == {(0, 0): (0, 0), (1, 0): (0, 1), (4, 1): (2, 2), (64, 63): (17, 62)}


def test_banks_take_blocks_of_16_rows_crosswise() -> None:
    assert [int(row) // 16 for row in layout.bank_row(np.arange(0, 128, 16))] == [0, 2, 4, 6, 1, 3, 5, 7]


def test_conv_bias() -> None:
    found = layout.conv_bias(np.arange(128))
    assert found[:18].tolist() == [*range(8), *range(32, 40), 8, 9]
    assert found[64] == 64 and sorted(found) == list(range(128))


def test_depthwise() -> None:
    found = layout.depthwise(np.arange(2 * 64).reshape(2, 64))
    assert found[0, ::8].tolist() == [0, 32, 8, 40, 16, 48, 24, 56]
    assert found[1, 9] == 64 + 33
