"""The quantizer end to end: module or program → float graph → calibrated int8 graph → files."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram

from quantize.approximate import approximate
from quantize.calibrate import Calibrator
from quantize.capture import capture, export_program
from quantize.clamp import Clamp, clamp_positions
from quantize.equalize import equalize
from quantize.execute import check_executable
from quantize.export import bias_corrections, quant_info, quantized_graph
from quantize.fold import fold_batch_norm
from quantize.plan import plan
from quantize.tidy import join_reshapes
from xmodel import file
from xmodel.artifact import write_bytes, write_json
from xmodel.check import check
from xmodel.errors import UsageError
from xmodel.graph import Array, Graph
from xmodel.preprocess import Preprocessing

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the vendor's tool lets one choose for a DPU; the defaults are its defaults."""

    equalize: bool = True
    bias_correction: bool = True
    device: str = "cpu"


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
    graph: Graph, batches: Iterable[Array], settings: Settings | None = None, progress: Progress | None = None
) -> Quantized:
    """Calibrate `graph` (from `float_graph`) on NCHW float32 `batches`, in order, and quantize it.

    The split into batches matters: the position of an activation is the most frequent one over the
    batches. `progress(images so far)` is called after each. Raises `UsageError` when nothing came.
    """
    settings = settings or Settings()
    equal = check(equalize(graph)) if settings.equalize else graph
    prepared = approximate(equal)
    placed = plan(prepared)
    calibrator = Calibrator(prepared, placed, settings.bias_correction, settings.device)
    shape = graph.inputs[0].output.shape
    images = 0
    for batch in batches:
        _check_batch(batch, shape)
        calibrator.observe(torch.from_numpy(np.ascontiguousarray(batch)).to(settings.device))
        images += len(batch)
        if progress is not None:
            progress(images)
    calibrator.finish()
    positions, clamps = clamp_positions(prepared, placed, calibrator.positions)
    corrections = calibrator.bias_correction()
    result = check(quantized_graph(prepared, placed, positions, corrections))
    return Quantized(
        graph=result,
        float_graph=equal,
        quant_info=quant_info(prepared, placed, positions, settings.bias_correction, "unmask"),
        bias_corr=bias_corrections(prepared, corrections),
        clamps=clamps,
        notes=tuple(graph.get("__notes", ())),
        images=images,
        batches=calibrator.batches,
    )


def _check_batch(batch: Array, shape: tuple[int, ...]) -> None:
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
