"""The vendor's quantizer in place of our own, as a step of stage `quantize`: its options, its progress on screen."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from deploy.calibration import Calibration
from deploy.console import Output
from xmodel.errors import UsageError
from xmodel.graph import Graph

if TYPE_CHECKING:
    from quantize.pipeline import Quantized, Settings
    from quantize.vitis.job import VitisSettings

Backend = Literal["auto", "unmask", "vitis"]


def choose(backend: Backend, settings: Settings, python: Path | None, config: Path | None) -> VitisSettings | None:
    """What the vendor's tool is asked for, or None for our own quantizer, which "auto" prefers.

    Raises `UsageError` for a vendor's Python that would not be used and for what the vendor's tool does not have.
    """
    if backend != "vitis":
        if python is not None:
            raise UsageError(
                f"--vitis-python {python} has no effect with --backend {backend}.", hint="Add --backend vitis."
            )
        return None
    from quantize.vitis.job import VitisSettings

    if settings.finetune == "learned":
        raise UsageError("The vendor's quantizer has no learned rounding.", hint="Use --backend unmask for it.")
    return VitisSettings(
        equalize=settings.equalize,
        bias_correction=settings.bias_correction,
        device=settings.device,
        fast_finetune=settings.finetune == "adaquant",
        config=config,
        python=python,
    )


def arguments(settings: VitisSettings | None) -> dict[str, Any]:
    """Its part of `run.json`; empty for our own quantizer."""
    if settings is None:
        return {}
    return {"vitis": {name: str(v) if isinstance(v, Path) else v for name, v in asdict(settings).items()}}


def log_files(settings: VitisSettings | None) -> list[str]:
    """What the vendor's tool leaves in the output folder besides what our own quantizer does."""
    return [] if settings is None else ["vitis.log"]


def quantize(graph: Graph, images: Calibration, folder: Path, settings: VitisSettings, out: Output) -> Quantized:
    """Quantize the float `graph` into `folder`; raises the errors of `quantize_with_vitis`."""
    from quantize.vitis.backend import quantize_with_vitis

    with ExitStack() as bar:
        seen, advance = 0, None

        def progress(count: int) -> None:
            nonlocal seen, advance
            advance = advance or bar.enter_context(out.progress("calibrating", images.count))
            advance(count - seen)
            seen = count

        def say(text: str) -> None:
            nonlocal advance
            bar.close()
            advance = None
            out.note(text)

        return quantize_with_vitis(graph, images.batches(graph), folder, settings, progress, say)
