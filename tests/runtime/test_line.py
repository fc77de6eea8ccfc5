"""The engine's state: what it says of jobs that never came back."""

from __future__ import annotations

import numpy as np

from runtime.line import Job, Loaded, never_answered


def job(*sources: str) -> Job[str]:
    return Job(0, [Loaded(n, source, np.zeros(1, np.int8), "", 0.0) for n, source in enumerate(sources)], {}, 0.0)


def test_everything_in_flight_is_named_the_late_ones_first() -> None:
    error = never_answered([job("a", "b", "c"), job("d"), job("e", "f")], 30.0)
    assert error.what == "The device did not answer within 30 s on a to c; also in flight: d, e to f."
    assert "must be reset before its results are trusted" in error.hint and error.exit_code == 3
    assert never_answered([job("a", "b")], 0.5).what == "The device did not answer within 0.5 s on a to b."
