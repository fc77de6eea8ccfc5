"""Stage `quantize`: a float network and calibration crops become `<Name>_int.xmodel` and a report."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy.batches import Reader, to_nchw
from deploy.compare import compare
from deploy.console import Output
from deploy.crops import Crop, digest, find_masks, list_crops, read_labels
from deploy.detectors import FloatNetwork, float_detector, graph_detector
from deploy.files import existing, float_file
from deploy.judge import Judge, nothing_readable
from deploy.report import provenance, write_html
from xmodel import artifact
from xmodel.graph import Graph
from xmodel.preprocess import Preprocessing

REPORT, PAGE = "quant_report.json", "quant_report.html"
FEW = 100  # crops; below this the most frequent fix position of a tensor is a matter of chance
LAYER_CROPS = 4  # crops over which the SQNR is taken: every layer's tensors of two networks, one crop at a time


@dataclass(frozen=True, slots=True)
class QuantizeJob:
    """Quantize `network`, calibrated on at most `limit` crops of `calib` in batches of `batch_size`, into `out`.

    Afterwards float and quantized run on `evaluate` of these crops, evenly spread, and the report compares them.
    """

    network: FloatNetwork
    calib: Path
    out: Path
    labels: Path | None = None
    limit: int | None = None
    batch_size: int = 32
    evaluate: int = 16


def quantize_stage(job: QuantizeJob, out: Output) -> tuple[dict[str, Any], bool]:
    """Run the stage unless it is up to date: the content of quant_report.json, and whether it ran."""
    crops = list_crops(job.calib, job.limit)
    if len(crops) < FEW:
        out.warn(f"{len(crops)} calibration images are few: 100 to 1000 give steadier fix positions.")
    labels = existing(job.labels, "label file")
    inputs = {"calib": digest(crops), **job.network.inputs()}
    inputs |= {"labels": artifact.sha256(labels)} if labels else {}
    arguments = {
        "model": job.network.model,
        "seed": job.network.seed,
        "batch_size": job.batch_size,
        "evaluate": job.evaluate,
    }
    wanted = artifact.record("quantize", inputs, arguments)
    judge = Judge(read_labels(labels) if labels else None, find_masks(None, job.calib, out))
    ran = artifact.run_stage(job.out, wanted, lambda: _work(job, crops, judge, wanted, out))
    return artifact.read_json(job.out / REPORT), ran


def _work(job: QuantizeJob, crops: tuple[Crop, ...], judge: Judge, wanted: dict[str, Any], out: Output) -> list[str]:
    from model import registry
    from quantize import pipeline
    from xmodel import file

    start = time.perf_counter()
    name = registry.find(job.network.model).class_name
    out.note(f"Quantizing {job.network.model}, calibrated on {len(crops)} images …")
    module, spec = job.network.load()
    graph = pipeline.float_graph(module, name, np.zeros((1, 3, spec.height, spec.width), np.float32), spec)
    reader = Reader(crops, spec)
    with out.progress("calibrating", len(crops)) as advance:
        quantized = pipeline.quantize_graph(graph, _calibration(job, reader, advance))
    files = pipeline.export(quantized, job.out)
    kept = float_file(job.out / files[0]).name
    file.write(job.out / kept, quantized.float_graph)
    calibrated = time.perf_counter() - start
    report: dict[str, Any] = {
        "model": name,
        "network": job.network.model,
        "xmodel": str(job.out / files[0]),
        "images": quantized.images,
        "batches": quantized.batches,
        "calibration_seconds": calibrated,
        "clamps": [asdict(clamp) for clamp in quantized.clamps],
        "notes": list(quantized.notes),
        "unreadable": [{"file": c.name, "reason": r} for c, r in reader.failures.items()],
    }
    readable = [c for c in crops if c not in reader.failures]
    report["layers"] = noise(quantized.graph, quantized.float_graph, readable)
    report["comparison"] = _evaluate(job, quantized.graph, readable, judge, out)
    report["seconds"] = time.perf_counter() - start
    artifact.write_json(job.out / REPORT, report)
    rows = provenance(wanted)
    write_html(job.out / PAGE, "quantize.html.j2", r=report, provenance=rows, record=wanted, layer_crops=LAYER_CROPS)
    return [*files, kept, REPORT, PAGE]


def _calibration(job: QuantizeJob, reader: Reader, advance: Callable[[int], None]) -> Iterator[NDArray[np.float32]]:
    for taken, images in reader.batches(job.batch_size):
        yield to_nchw(images, reader.spec)
        advance(len(taken))
    if len(reader.failures) == len(reader.crops):
        raise nothing_readable(reader.failures)


def _evaluate(
    job: QuantizeJob, quantized: Graph, crops: Sequence[Crop], judge: Judge, out: Output
) -> dict[str, Any] | None:
    if not job.evaluate:
        return None
    spread = crops[:: max(1, -(-len(crops) // job.evaluate))]
    return compare([float_detector(job.network), graph_detector(quantized)], spread, judge, out).data()


def noise(quantized: Graph, float_graph: Graph, crops: Sequence[Crop]) -> list[dict[str, Any]]:
    """Per quantized tensor, over the first `LAYER_CROPS` crops: fix point, SQNR in dB (None: no noise or no
    signal), share of the int8 range in use, share of saturated values."""
    from quantize.analyze import analyze

    reader = Reader(crops[:LAYER_CROPS], Preprocessing.load(quantized))
    images = (to_nchw(batch, reader.spec).transpose(0, 2, 3, 1) for _, batch in reader.batches(1))
    return [
        {
            "name": layer.name,
            "type": layer.type,
            "source": layer.source,
            "fix_point": layer.fix_point,
            "sqnr": layer.sqnr_db if math.isfinite(layer.sqnr_db) else None,
            "used": layer.used,
            "saturated": layer.saturated,
        }
        for layer in analyze(quantized, float_graph, images)
    ]
