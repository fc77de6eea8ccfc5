"""The quantizer end to end: module or program → float graph → calibrated int8 graph → files.

    graph = float_graph(module.eval(), "Net", example=images[:1])
    result = quantize_graph(graph, (images[i : i + 8] for i in range(0, len(images), 8)))
    export(result, Path("out"))

`images` is NCHW float32, preprocessed as the network wants it. The batches may be a generator: one at a time
is held. `module` is not changed.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.export import ExportedProgram

from quantize import refine
from quantize.approximate import approximate
from quantize.calibrate import Calibrator
from quantize.capture import capture, export_program
from quantize.clamp import Clamp
from quantize.device import full_precision, resolve
from quantize.equalize import equalize
from quantize.execute import check_executable
from quantize.export import bias_corrections, quant_info, quantized_graph
from quantize.fold import fold_batch_norm
from quantize.plan import plan
from quantize.resume import Checkpoint
from quantize.tidy import join_reshapes
from quantize.tuning import Progress as LayerProgress
from quantize.tuning import Tuning
from xmodel import file
from xmodel.artifact import write_bytes, write_json
from xmodel.check import check
from xmodel.errors import ArtifactError, UnmaskError, UsageError
from xmodel.graph import Array, Graph
from xmodel.preprocess import Preprocessing

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the vendor's tool lets one choose for a DPU; the defaults are its defaults.

    `device` is "cpu", "cuda" or "auto". `finetune` tunes the weights after calibration: "adaquant" is the vendor's
    fast finetune, "learned" chooses for each weight whether to round it up or down.
    """

    equalize: bool = True
    bias_correction: bool = True
    device: str = "cpu"
    finetune: Literal["none", "adaquant", "learned"] = "none"


@dataclass(frozen=True, slots=True)
class Quantized:
    """A quantized network: `graph` (float ops and `fix`), the `float_graph` it came from, and the records."""

    graph: Graph
    float_graph: Graph
    quant_info: Mapping[str, Any]
    bias_corr: Mapping[str, Array]
    clamps: tuple[Clamp, ...]
    notes: tuple[str, ...]
    images: int
    batches: int
    tuning: Tuning | None = None  # what finetuning did


def float_graph(
    source: torch.nn.Module | ExportedProgram,
    name: str,
    example: Array | None = None,
    preprocessing: Preprocessing | None = None,
) -> Graph:
    """Capture a module (with a (1, C, H, W) float32 example) or an exported program; batch norms folded.

    Raises `UsageError` for what cannot be captured, naming the op and its source line.
    """
    if isinstance(source, torch.nn.Module):
        if example is None:
            raise UsageError("A module is captured with an example input.")
        source = export_program(source, torch.from_numpy(np.ascontiguousarray(example, np.float32)))
    graph = check(fold_batch_norm(join_reshapes(capture(source, name))))
    check_executable(graph)
    if len(graph.inputs) != 1:
        raise UsageError(f"{name!r} has {len(graph.inputs)} inputs; one image input is expected.")
    return graph if preprocessing is None else preprocessing.store(graph)


def quantize_graph(
    graph: Graph,
    batches: Iterable[Array],
    settings: Settings | None = None,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
    finetune_batches: Iterable[Array] | None = None,
    finetune_progress: LayerProgress | None = None,
) -> Quantized:
    """Calibrate `graph` (from `float_graph`) on NCHW float32 `batches`, in order, and quantize it.

    The split into batches matters: the position of an activation is the most frequent one over the
    batches. `progress(images so far)` is called after each. With a `checkpoint` a calibration that was
    stopped goes on: `batches` are the same again, and those that are done are passed over. With
    `settings.finetune` the weights are tuned on `finetune_batches`, which are held in memory;
    `finetune_progress(layers done, layers)` is called after each layer. The vendor's fast finetune makes a
    step per batch and takes the positions from these batches too; it does not resume. Raises `UsageError`
    when nothing came and `UnavailableError` for a device that is not there.
    """
    settings = settings or Settings()
    device = resolve(settings.device)
    equal = check(equalize(graph)) if settings.equalize else graph
    prepared = approximate(equal)
    placed = plan(prepared)
    with full_precision():
        if settings.finetune == "none":
            tuning = []
        else:
            tuning = [_tensor(batch, prepared, device) for batch in finetune_batches or ()]
            if not tuning:
                raise UsageError("There was nothing to finetune with.", hint="Give 32 to 1000 images.")
        if settings.finetune == "adaquant":
            calibration = _Counted(batches, prepared, device, progress or _ignore)
            found = refine.finetuned(
                prepared, placed, tuning, calibration, settings.bias_correction, device, finetune_progress
            )
            images, count = calibration.images, calibration.batches
            if not images:
                raise UsageError("There was nothing to calibrate with.", hint="Give 100 to 1000 images.")
        else:
            calibrator = Calibrator(prepared, placed, settings.bias_correction, device)
            images = _observe(calibrator, batches, progress or _ignore, checkpoint)
            calibrator.finish()
            count = calibrator.batches
            found = refine.learned(calibrator, tuning, finetune_progress) if tuning else refine.plain(calibrator)
    result = check(quantized_graph(found.graph, placed, found.positions, found.corrections))
    return Quantized(
        graph=result,
        float_graph=equal,
        quant_info=quant_info(
            prepared, placed, found.positions, settings.bias_correction, "unmask", finetuned=bool(tuning)
        ),
        bias_corr=bias_corrections(prepared, found.corrections),
        clamps=found.clamps,
        notes=tuple(graph.get("__notes", ())),
        images=images,
        batches=count,
        tuning=found.tuning,
    )


def _observe(
    calibrator: Calibrator, batches: Iterable[Array], progress: Progress, checkpoint: Checkpoint | None
) -> int:
    """Feed what is not done yet; the number of images, those done earlier included."""
    if checkpoint is not None:
        checkpoint.restore(calibrator)
    done, seen, images = calibrator.batches, 0, 0
    try:
        for batch in batches:
            _check_batch(batch, calibrator.graph)
            seen, images = seen + 1, images + len(batch)
            if seen > done:
                calibrator.observe(_tensor(batch, calibrator.graph, calibrator.device))
                if checkpoint is not None:
                    checkpoint.update(calibrator, images)
            del batch  # before the next one is made
            progress(images)
    except BaseException:
        if checkpoint is not None:
            with suppress(UnmaskError):  # what stopped the calibration is what is told
                checkpoint.write()
        raise
    if seen < done:
        raise ArtifactError(f"The calibration that was stopped had {done} batches; now there are {seen}.")
    if checkpoint is not None:
        checkpoint.write()
    return images


def _ignore(_images: int) -> None:
    """Take progress that nobody watches."""


@dataclass(slots=True)
class _Counted:
    """Calibration batches as tensors, counted as they go."""

    source: Iterable[Array]
    graph: Graph
    device: str
    progress: Progress
    images: int = 0
    batches: int = 0

    def __iter__(self) -> Iterator[torch.Tensor]:
        for batch in self.source:
            self.images, self.batches = self.images + len(batch), self.batches + 1
            yield _tensor(batch, self.graph, self.device)
            self.progress(self.images)


def _tensor(batch: Array, graph: Graph, device: str) -> torch.Tensor:
    _check_batch(batch, graph)
    return torch.from_numpy(np.require(batch, requirements=["C", "W"])).to(device)


def _check_batch(batch: Array, graph: Graph) -> None:
    shape = graph.inputs[0].output.shape
    wanted = (shape[3], shape[1], shape[2]) if len(shape) == 4 else shape[1:]
    if batch.dtype != np.float32 or tuple(batch.shape[1:]) != wanted or not len(batch):
        raise UsageError(
            f"A calibration batch is {batch.dtype} {tuple(batch.shape)}; float32 (n, {', '.join(map(str, wanted))}) "
            "is expected."
        )


def export(quantized: Quantized, out: Path) -> list[str]:
    """Write `<Name>_int.xmodel`, `quant_info.json` and `bias_corr.npz` into `out`; returns the file names."""
    name = f"{quantized.graph.name}_int.xmodel"
    file.write(out / name, quantized.graph)
    write_json(out / "quant_info.json", quantized.quant_info)
    buffer = io.BytesIO()
    arrays: dict[str, Any] = dict(quantized.bias_corr)
    np.savez(buffer, **arrays)
    write_bytes(out / "bias_corr.npz", buffer.getvalue())
    return [name, "quant_info.json", "bias_corr.npz"]
