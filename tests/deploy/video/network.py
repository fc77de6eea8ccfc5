"""A detector small enough to follow by eye: a pixel with more red than green is manipulated, blue speaks for real."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arch import targets
from compile.pipeline import compile_graph
from tests.compile.build import Builder
from xmodel import file
from xmodel.preprocess import Preprocessing

SIDE = 16


class _Told(Builder):
    """Weights as they are given, in steps of 1/64."""

    def __init__(self, **values: Any) -> None:
        super().__init__("Told")
        self.values = values

    def weights(self, name: str, shape: Sequence[int], point: int = 6) -> str:
        return self.constant(name, np.asarray(self.values[name], np.float32).reshape(tuple(shape)), point)


def write(folder: Path) -> Path:
    """Compile it into `folder`, which is what `unmask compile` leaves as far as other stages read it."""
    b = _Told(
        mask_w=[[0, 1, 0], [1, 0, 0]], mask_b=[0, 0], coarse_w=[[-1, -0.5, 1.5]], coarse_b=[0],
        score_w=np.random.default_rng(4).uniform(0, 1, 16), score_b=[0],
    )  # fmt: skip
    x = b.data((1, SIDE, SIDE, 3))
    mask = b.fix(b.conv("mask", x, 2, kernel=1, pad=0), 6)
    coarse = b.fix(b.conv("coarse", b.fix(b.pool("pool", "maxpool2d", x, 4), 6), 1, kernel=1, pad=0), 5)
    score = b.fix(b.linear("score", coarse, 1), 5)
    graph = b.graph(mask, b.unary("prob", "sigmoid", score))
    folder.mkdir(parents=True)
    file.write(folder / "Told.xmodel", compile_graph(Preprocessing(SIDE, SIDE).store(graph), targets.find("8PE")))
    return folder
