"""Finetuning as an option of `unmask quantize`: which kind is asked for, on which images, and what it did in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from deploy.calibration import Calibration, Images
from deploy.console import Output
from xmodel.errors import UsageError
from xmodel.graph import Graph

if TYPE_CHECKING:
    from quantize.tuning import Tuning

IMAGES = 128
Method = Literal["none", "adaquant", "learned"]


def choose(fast: bool, learn: bool, images: int | None, backend: str) -> tuple[Method, int]:
    """The kind of finetuning and its number of images. Raises `UsageError` for options that do not go together."""
    if fast and learn:
        raise UsageError(
            "--fast-finetune and --learn-rounding exclude each other.",
            hint="--fast-finetune is the vendor's; --learn-rounding needs fewer images and recovers more.",
        )
    if images is not None and not (fast or learn):
        raise UsageError(
            f"--finetune-images {images} has no effect without finetuning.",
            hint="Add --learn-rounding or --fast-finetune.",
        )
    if backend == "vitis" and images is not None:
        raise UsageError(
            "The vendor's quantizer finetunes on all calibration images.", hint="Leave --finetune-images out."
        )
    return "adaquant" if fast else "learned" if learn else "none", IMAGES if images is None else images


def first_images(calibration: Calibration, graph: Graph, count: int) -> Iterator[Images]:
    """The first `count` calibration images, in the calibration's batches; the last one is cut."""
    for batch in calibration.batches(graph):
        yield batch[:count]
        count -= len(batch)
        if count <= 0:
            return


class Bars:
    """One progress bar after another, for steps that take turns."""

    def __init__(self, out: Output) -> None:
        self.out, self.stack = out, ExitStack()
        self.title, self.at = "", 0

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stack.close()

    def show(self, title: str, at: int, total: int) -> None:
        """Step `title` is at `at` of `total`; a bar that begins counts what it begins with as done earlier."""
        if title != self.title:
            self.stack.close()
            self.advance = self.stack.enter_context(self.out.progress(title, total, at))
            self.title, self.at = title, at
        self.advance(max(0, at - self.at))
        self.at = max(self.at, at)


def record(tuning: Tuning | None) -> dict[str, Any] | None:
    """What was tuned, for the report."""
    return None if tuning is None else asdict(tuning)


def note(tuning: Tuning) -> str:
    """What finetuning did, in a sentence."""
    changed, weights = (sum(getattr(layer, name) for layer in tuning.layers) for name in ("changed", "weights"))
    errors = [
        f"{before:.3g} → {after:.3g}" for before, after in zip(tuning.losses_before, tuning.losses_after, strict=True)
    ]
    return (
        f"Finetuning changed {changed} of {weights} weights; root mean square error of the outputs {', '.join(errors)}."
    )
