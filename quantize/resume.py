"""A calibration that was stopped goes on where it was: the calibrator's state on disk after each batch."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from quantize.calibrate import Calibrator, most_frequent
from xmodel.artifact import read_json, write_text
from xmodel.errors import UnmaskError

_EVERY = 5.0  # seconds between two writes: what a kill can cost, and next to nothing beside a batch


class Checkpoint:
    """The file `path` with the state of the calibration that `key` identifies (its inputs and settings).

    A file of another key or with damaged content is not used. The state holds positions, bias corrections and
    counts, exactly, so that a resumed calibration gives the bytes of one that was never stopped.
    """

    def __init__(self, path: Path, key: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.path, self.key = path, key
        self.ignored = ""  # why a file that was there is not used
        self._clock, self._written = clock, clock()
        self._found = self._read()
        self._latest: dict[str, Any] | None = None

    @property
    def batches(self) -> int:
        """Batches that are done, by the file."""
        return int(self._found["batches"]) if self._found else 0

    @property
    def images(self) -> int:
        """Images that are done, by the file."""
        return int(self._found["images"]) if self._found else 0

    def restore(self, calibrator: Calibrator) -> None:
        """Bring a fresh `calibrator` to where the file says it was, or leave it when the file does not fit."""
        if self._found is None:
            return
        try:
            state = _decode(self._found, calibrator)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError):
            self._found, self.ignored = None, "its content is damaged"
            return
        state(calibrator)

    def update(self, calibrator: Calibrator, images: int) -> None:
        """Take over the state after a batch; written when some seconds have passed since the last time."""
        self._latest = {"key": self.key, "images": images, **_encode(calibrator)}
        if self._clock() - self._written >= _EVERY:
            self.write()

    def write(self) -> None:
        """Write the latest state, atomically."""
        if self._latest is not None:
            write_text(self.path, json.dumps(self._latest))
            self._written = self._clock()

    def remove(self) -> None:
        """Delete the file: the results that it led to are there."""
        with suppress(OSError):
            self.path.unlink()

    def _read(self) -> dict[str, Any] | None:
        if not self.path.exists():
            return None
        try:
            content = read_json(self.path)
            if content["key"] != self.key:
                self.ignored = "it belongs to other inputs or settings"
                return None
            done, images = content["batches"], content["images"]
            if type(done) is not int or type(images) is not int or not 0 < done <= images:
                raise ValueError("counts that make no sense")
        except (UnmaskError, KeyError, TypeError, ValueError):
            self.ignored = "its content is damaged"
            return None
        return dict(content)


def _encode(calibrator: Calibrator) -> dict[str, Any]:
    # JSON keeps a float32 or float64 exactly, NaN and infinity included as Python writes them
    return {
        "batches": calibrator.batches,
        "history": {name: list(positions) for name, positions in calibrator.history.items()},
        "skipped": dict(calibrator.skipped),
        "corrections": {
            name: {
                "bias": correction.bias.tolist(),
                "eff_mean": correction.eff_mean,
                "dev_mean": correction.dev_mean,
                "stopped": correction.stopped,
            }
            for name, correction in calibrator.corrections.items()
        },
    }


def _decode(content: Mapping[str, Any], calibrator: Calibrator) -> Callable[[Calibrator], None]:
    """Check everything first, so that a damaged file changes nothing; the result applies it."""
    history = {str(name): [_whole(p) for p in positions] for name, positions in content["history"].items()}
    skipped = {str(name): _whole(count) for name, count in content["skipped"].items()}
    if not all(history.values()) or not set(history) | set(skipped) <= calibrator.plan.activations:
        raise ValueError("other tensors")
    seen = {name: len(history.get(name, ())) + skipped.get(name, 0) for name in calibrator.plan.activations}
    if set(seen.values()) != {content["batches"]} or set(content["corrections"]) != set(calibrator.corrections):
        raise ValueError("other batches or layers")
    biases: dict[str, torch.Tensor] = {}
    for name, correction in calibrator.corrections.items():
        stored = content["corrections"][name]
        biases[name] = torch.tensor(stored["bias"], dtype=correction.bias.dtype, device=correction.bias.device)
        numbers = (stored["eff_mean"], stored["dev_mean"])
        if biases[name].shape != correction.bias.shape or not all(isinstance(n, float) for n in numbers):
            raise ValueError("another layer")
        if not isinstance(stored["stopped"], bool):
            raise TypeError("not a flag")

    def apply(target: Calibrator) -> None:
        target.batches = content["batches"]
        target.history.update(history)
        target.positions.update({name: most_frequent(found) for name, found in history.items()})
        target.skipped.update(skipped)
        for name, correction in target.corrections.items():
            stored = content["corrections"][name]
            correction.bias = biases[name]
            correction.eff_mean, correction.dev_mean = stored["eff_mean"], stored["dev_mean"]
            correction.stopped = stored["stopped"]

    return apply


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError("not a whole number")
    return value
