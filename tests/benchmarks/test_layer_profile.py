from __future__ import annotations

import numpy as np

from benchmarks import layer_profile
from runtime.emulator.program import Program
from tests.runtime.emulator.networks import Builder


def test_every_op_of_a_run_has_a_row() -> None:
    net = Builder("net")
    x = net.data(8, 8, 3)
    convolution = net.conv(x, 4)
    pool = net.pool(convolution)
    program = Program(net.graph(), "reference")
    feeds = {program.inputs[0].name: np.zeros((2, 8, 8, 3), np.int8)}
    rows = layer_profile.rows(net.graph(), program, feeds, rounds=2)
    assert [row["op"] for row in rows] == [convolution, pool]
    assert [row["shape"] for row in rows] == [[1, 8, 8, 4], [1, 4, 4, 4]]
    assert abs(sum(row["share"] for row in rows) - 1) < 1e-9
    seconds = rows[0]["ms_per_image"] / 1000
    assert abs(rows[0]["products_per_second"] * seconds - 8 * 8 * 4 * 9 * 3) < 1e-3
    assert rows[1]["products_per_second"] is None
