"""A deployed network: how long its device may take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from deploy.deployed import Deployed
from deploy.devices import Where
from deploy.roles import Roles
from runtime.vitis.interpreter import Interpreter
from xmodel.graph import Graph, Op, Tensor
from xmodel.preprocess import Preprocessing


def test_the_last_watch_over_a_card_comes_after_its_own_and_the_emulator_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    op = Op("mask", "data", {}, {}, Tensor("mask", (1, 4, 4, 2)))
    emulator = Deployed(Graph("net", (op,)), Path("net.xmodel"), Preprocessing(4, 4), Roles(op, op, True), 6, "auto")
    card = replace(emulator, where=Where("card", Interpreter(Path("python3"), "3.7", "1.17", "2.5.0")))
    monkeypatch.delenv("XLNX_DPU_TIMEOUT", raising=False)
    assert (emulator.limit, card.limit) == (None, 60)
    monkeypatch.setenv("XLNX_DPU_TIMEOUT", "100000")
    assert card.limit == 220
