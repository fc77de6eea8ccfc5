"""Timestamps: taken as they are where they make sense, repaired and counted where not."""

from __future__ import annotations

from fractions import Fraction

import pytest

from deploy.video.clock import Clock


@pytest.mark.parametrize(
    ("stamps", "ticks", "repaired"),
    [
        ([0, 40, 93, 120], [0, 40, 93, 120], 0),
        ([1400, 1440, 1480], [0, 40, 80], 0),
        ([None, None, None], [0, 40, 80], 3),
        ([0, None, 80], [0, 40, 80], 1),
        ([0, 40, 40, 40, 80], [0, 40, 41, 42, 80], 2),
        ([0, 40, 30, 80], [0, 40, 41, 80], 1),
        ([5000, 5040, 0, 40], [0, 40, 80, 120], 1),
        ([0, 10**12, 10**12 + 40], [0, 40, 80], 1),
        ([0, 40, -(10**15), 40 - 10**15], [0, 40, 80, 120], 1),
    ],
)
def test_ticks_rise(stamps: list[int | None], ticks: list[int], repaired: int) -> None:
    start = stamps[0] if stamps[0] in (1400, 5000) else 0 if stamps[0] is not None else None
    clock = Clock.of(Fraction(1, 1000), start, Fraction(25))
    assert [clock.tick(stamp) for stamp in stamps] == ticks
    assert clock.repaired == repaired


def test_a_start_that_makes_no_sense_is_passed_over() -> None:
    clock = Clock.of(Fraction(1, 1000), -(10**15), Fraction(25))
    assert [clock.tick(0), clock.tick(40)] == [0, 40]
    assert clock.repaired == 1


def test_the_file_may_say_nothing_about_rate_and_base() -> None:
    for rate in (None, Fraction(0), Fraction(10**9)):
        clock = Clock.of(None, None, rate)
        assert [clock.seconds(clock.tick(None)) for _ in range(3)] == [0.0, 0.04, 0.08]
