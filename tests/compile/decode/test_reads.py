"""Loads replayed: where each convolution's weights and biases came from."""

from __future__ import annotations

import pytest

from compile.decode import reads as reads_module
from compile.decode.reads import Read, reads
from tests.compile.decode.vendor import code, compute, load, window
from xmodel.errors import ArtifactError

WEIGHTS, BIAS = load(255, 1000, 64, count=9, rows=24, pitch=576), load(144, 500, 128)


def test_one_convolution() -> None:
    found = reads(code(WEIGHTS, BIAS, window(3, 3, 1), compute()), 256)
    assert found == [Read(1000, 500, 9, 24, 576, 3, 3, 1, False)]


def test_a_read_is_told_once_and_in_order_of_addresses() -> None:
    more = [load(255, 40, 64, line=20), load(144, 7, 128, line=3), window(1, 1, 1), compute(20, 3), compute(20, 3)]
    found = reads(code(WEIGHTS, BIAS, window(3, 3, 1), compute(), compute(), *more), 256)
    assert [(read.weights, read.bias) for read in found] == [(40, 7), (1000, 500)]


def test_lines_are_a_ring() -> None:
    program = code(load(255, 0, 64, count=9, pitch=576, line=250), BIAS, window(3, 3, 1), compute(250))
    assert reads(program, 256)[0].weights == 0
    other = code(load(255, 0, 64, count=9, pitch=576, line=250), BIAS, window(1, 1, 1), compute(2))
    assert reads(other, 256)[0].weights == 8 * 64
    assert reads(other, 512)[0].weights == -1


def test_one_item_may_fill_several_lines() -> None:
    program = code(load(255, 64, 192, rows=48, pitch=192), BIAS, window(1, 1, 3), compute())
    assert reads(program, 256) == [Read(64, 500, 3, 48, 192, 1, 1, 3, False)]


@pytest.mark.parametrize(
    "other",
    [
        load(255, 5000, 64, line=4),  # another layer's line in the middle
        [word | (1 << 29 if place == 3 else 0) for place, word in enumerate(load(255, 1256, 64, line=4))],  # REG_1
        [word | (1 << 30 if place == 1 else 0) for place, word in enumerate(load(255, 1256, 64, line=4))],  # fill
        load(255, 1256, 63, rows=24, pitch=576, line=4),  # less than a line
        load(255, 1256, 64, rows=24, pitch=640, line=4),  # another pitch
    ],
)
def test_lines_that_do_not_lie_together_have_no_address(other: list[int]) -> None:
    (read,) = reads(code(WEIGHTS, BIAS, other, window(3, 3, 1), compute()), 256)
    assert (read.weights, read.bias) == (-1, 500)


def test_a_line_that_was_loaded_again_from_its_place() -> None:
    again = load(255, 1256, 64, rows=8, pitch=576, line=4)
    (read,) = reads(code(WEIGHTS, BIAS, again, window(3, 3, 1), compute()), 256)
    assert (read.weights, read.rows) == (1000, 8)


def test_depthwise() -> None:
    program = [load(145, 64, 32, count=18), load(146, 0, 32, count=2), window(3, 3, 1, depthwise=True)]
    found = reads(code(*program, compute(depthwise=True)), 512)
    assert found == [Read(64, 0, 18, 1, 0, 3, 3, 1, True)]


def test_windows_of_both_kinds_stay() -> None:
    lines = [WEIGHTS, BIAS, load(145, 64, 32, count=2), load(146, 0, 32, count=2)]
    program = [*lines, window(3, 3, 1), window(1, 1, 1, depthwise=True), compute(), compute(depthwise=True)]
    assert [read.kernel_h for read in reads(code(*program), 512)] == [1, 3]


def test_more_lines_than_the_memory_has() -> None:
    with pytest.raises(ArtifactError, match="loads 300 lines into a memory of 256"):
        reads(code(load(255, 0, 64, count=300)), 256)
    (read,) = reads(code(load(255, 0, 64, count=256), BIAS, window(16, 16, 2), compute()), 256)
    assert read.weights == -1


def test_unknown_bank() -> None:
    with pytest.raises(ArtifactError, match="memory bank 16, which is not known"):
        reads(code(load(16, 0, 64)), 256)


def test_feature_maps_are_no_concern() -> None:
    assert reads(code(load(15, 0, 4096, count=1024)), 256) == []


def test_no_window() -> None:
    with pytest.raises(ArtifactError, match="convolves before it says with which window"):
        reads(code(WEIGHTS, BIAS, window(3, 3, 1, depthwise=True), compute()), 256)


def test_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reads_module, "MAX_CODE", 100)
    with pytest.raises(ArtifactError, match="has 104 bytes; real programs have at most 100"):
        reads(bytes(104), 256)
