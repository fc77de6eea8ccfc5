"""What learned rounding recovers on a network whose int8 accuracy drops, and the table that shows it."""

from __future__ import annotations

import pytest

from benchmarks import finetune
from benchmarks.finetune import Result


def test_learned_rounding_recovers_what_int8_loses() -> None:
    """Four batches of 16: the vendor's finetune finds some of it, learned rounding most."""
    found = {name: result.accuracy for name, result in finetune.measure().items()}
    assert found["float"] > 0.96
    assert found["int8, equalized"] > 0.95  # the task itself suits int8
    assert found["int8"] < 0.6
    assert found["int8"] < found["fast finetune"] < 0.7
    assert found["learned rounding"] > 0.78


def test_the_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(finetune, "measure", lambda: {"float": Result(0.977, 0, 0.0), "int8": Result(0.5, 7, 1.25)})
    finetune.main()
    assert capsys.readouterr().out.splitlines()[1:] == [
        "float                  97.7%                 0       0.0",
        "int8                   50.0%                 7       1.2",
    ]
