"""The load of a soak: the network itself, on whatever device runs it, with crops that cost no decoding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deploy.card.soak import Load
from deploy.deployed import Deployed
from deploy.devices import Device, choose
from deploy.files import compiled_file

_KINDS = 16  # different crops: noise, which keeps the arithmetic busier than a picture does


def load_of(model: Path, device: Device, threads: int | None) -> tuple[Load, str, tuple[str, ...]]:
    """The load that the compiled `model` makes, the device's name, and what to beware of.

    Raises `UsageError` or `ArtifactError` for the file, `UnavailableError` for a card that cannot be used.
    """
    source = compiled_file(model)
    where = choose(device, source)
    deployed = Deployed.load(source, where=where)
    height, width = deployed.spec.height, deployed.spec.width
    chance = np.random.default_rng(0)
    crops = chance.integers(-128, 128, (_KINDS, height, width, 3), np.int8)

    def load(stop: Callable[[], bool], done: Callable[[int], None]) -> Mapping[str, Any]:
        def numbers() -> Iterator[int]:
            count = 0
            while not stop():
                yield count % _KINDS
                count += 1

        return deployed.stream(numbers(), crops.__getitem__, _ignore, _failed, threads, done)

    return load, str(where), where.notes


def _ignore(_index: int, _mask: object, _p_real: float) -> None:
    """A soak is about the card, not about the verdicts."""


def _failed(_index: int, reason: str) -> None:
    raise AssertionError(reason)  # crops in memory always load
