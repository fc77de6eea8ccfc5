"""Stage `quantize`: a float network and calibration images become `<Name>_int.xmodel` and a report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy import finetuning, quantize_report, vendor_quantizer
from deploy.calibration import Calibration, ImageFolder
from deploy.compare import compare
from deploy.console import Output
from deploy.crops import find_masks, read_labels
from deploy.detectors import Detector, float_detector, graph_detector
from deploy.fidelity import fidelity, read_class_labels
from deploy.files import existing, float_file
from deploy.judge import Judge
from deploy.report_samples import LAYER_IMAGES, Samples, from_crops, from_images
from deploy.roles import roles
from deploy.sources import Registered, Source
from xmodel import artifact
from xmodel.errors import ArtifactError, UsageError
from xmodel.graph import Graph

if TYPE_CHECKING:
    from quantize.pipeline import Quantized, Settings
    from quantize.vitis.job import VitisSettings

REPORT, PAGE = "quant_report.json", "quant_report.html"
STATE = "calibration_state.json"  # of a calibration that was stopped; gone when the stage is done
FEW = 100  # images; below this the most frequent fix position of a tensor is a matter of chance


@dataclass(frozen=True, slots=True)
class QuantizeJob:
    """Quantize the network of `source`, calibrated on `calibration`, into `out`.

    Afterwards float and quantized run on `evaluate` of these images, evenly spread, and the report compares them.
    `labels` is a DFDC `metadata.json` (folders of crops) or a `.npy` of class indices; `notes` go to the report.
    With `vitis` the vendor's quantizer does it. `golden` embeds the first image and every tensor it leads to.
    Finetuning, where the settings ask for it, is on the first `finetune_images` of the images.
    """

    source: Source
    calibration: Calibration
    out: Path
    settings: Settings
    labels: Path | None = None
    evaluate: int = 16
    report_images: int = 4  # for the ranking of the layers; 0: none
    notes: tuple[str, ...] = ()
    vitis: VitisSettings | None = None
    golden: bool = False
    finetune_images: int = finetuning.IMAGES


def quantize_stage(job: QuantizeJob, out: Output) -> tuple[dict[str, Any], bool]:
    """Run the stage unless it is up to date: quant_report.json with the `seconds` it took, and whether it ran."""
    if job.calibration.count < FEW:
        out.warn(f"{job.calibration.count} calibration images are few: 100 to 1000 give steadier fix positions.")
    truth = _truth(job, out)
    wanted = _record(job)
    ran = artifact.run_stage(job.out, wanted, lambda: _work(job, truth, wanted, out))
    return {**artifact.read_json(job.out / REPORT), "seconds": artifact.seconds(job.out)}, ran


@dataclass(frozen=True, slots=True)
class _Truth:
    """What is known of the images: `judge` for the crops of a detector, `classes` by index for other networks."""

    judge: Judge
    classes: Sequence[int | None] | None


def _truth(job: QuantizeJob, out: Output) -> _Truth:
    labels, images = existing(job.labels, "label file"), job.calibration
    if labels is not None and labels.suffix.lower() == ".npy":
        return _Truth(Judge(), read_class_labels(labels, images.count))
    if not isinstance(images, ImageFolder):
        if labels is not None:
            raise UsageError(
                "The images of a .npy file have no names to find labels by.",
                where=str(labels),
                hint="Give class indices, one an image, as a .npy file.",
            )
        return _Truth(Judge(), None)
    found = read_labels(labels) if labels else None
    judge = Judge(found, find_masks(None, images.crops[0].path.parent, out))
    return _Truth(judge, [found.of(crop) for crop in images.crops] if found else None)


def _record(job: QuantizeJob) -> dict[str, Any]:
    inputs = {"calib": job.calibration.digest(), **job.source.inputs()}
    inputs |= {"labels": artifact.sha256(job.labels)} if job.labels else {}
    arguments = {
        **job.source.arguments(),
        "batch_size": _split(job.calibration.sizes),
        "evaluate": job.evaluate,
        "report_images": job.report_images,
        **asdict(job.settings),
        **({"finetune_images": job.finetune_images} if job.settings.finetune != "none" else {}),
        **vendor_quantizer.arguments(job.vitis),
        "notes": list(job.notes),
        **({"golden": True} if job.golden else {}),
    }
    return artifact.record("quantize", inputs, arguments)


def _split(sizes: int | Sequence[int]) -> int | str:
    return sizes if isinstance(sizes, int) else ",".join(map(str, sizes))


def _work(job: QuantizeJob, truth: _Truth, wanted: dict[str, Any], out: Output) -> list[str]:
    from quantize import pipeline
    from xmodel import file

    out.note(f"Quantizing {job.source.title}, calibrated on {job.calibration.count} images …")
    graph = job.source.graph()
    quantized = _calibrate(job, graph, wanted, out)
    if job.golden:
        quantized = replace(quantized, graph=_with_golden(job, quantized.graph, out))
    files = pipeline.export(quantized, job.out)
    kept = float_file(job.out / files[0]).name
    file.write(job.out / kept, quantized.float_graph)
    report = _head(job, quantized, files[0])
    samples = _samples(job, quantized.float_graph, truth)
    report |= quantize_report.measure(quantized, samples, job.settings.equalize, out)
    report["comparison"], report["fidelity"] = _evaluate(job, graph, quantized.graph, truth, out)
    artifact.write_json(job.out / REPORT, report)
    quantize_report.write_page(job.out / PAGE, report, wanted)
    (job.out / STATE).unlink(missing_ok=True)
    return [*files, kept, REPORT, PAGE, *vendor_quantizer.log_files(job.vitis)]


def _with_golden(job: QuantizeJob, graph: Graph, out: Output) -> Graph:
    from deploy.golden import record

    out.note("Recording the golden run with the emulator's reference …")
    image = from_images(job.calibration.sample(graph, 1), graph, None, 0).images[0]
    return record(graph, {graph.inputs[0].output.name: image}, "calibration")


def _calibrate(job: QuantizeJob, graph: Graph, wanted: dict[str, Any], out: Output) -> Quantized:
    """Quantize `graph`, our own quantizer going on where an earlier run of the same inputs and settings was stopped."""
    if job.vitis is not None:
        return vendor_quantizer.quantize(graph, job.calibration, job.out, job.vitis, out)
    from quantize import pipeline
    from quantize.resume import Checkpoint

    key = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
    checkpoint = Checkpoint(job.out / STATE, key)
    if checkpoint.ignored:
        out.note(f"{job.out / STATE} is not used: {checkpoint.ignored}. Calibration starts anew.")
    if checkpoint.batches:
        out.note(f"Going on after {checkpoint.images} images, which an earlier run has done.")
    seen = done = checkpoint.images
    tuning = job.settings.finetune != "none"
    chosen = finetuning.first_images(job.calibration, graph, job.finetune_images) if tuning else None
    try:
        with finetuning.Bars(out) as bars:
            if job.settings.finetune != "adaquant":
                bars.show("calibrating", seen, job.calibration.count)

            def progress(images: int) -> None:
                nonlocal seen
                seen = max(seen, images)
                bars.show("calibrating", seen, job.calibration.count)

            quantized = pipeline.quantize_graph(
                graph, job.calibration.batches(graph), job.settings, progress, checkpoint, chosen,
                lambda layers, total: bars.show("finetuning", layers, total),
            )  # fmt: skip
    except KeyboardInterrupt:
        if seen and job.settings.finetune != "adaquant":
            out.warn(
                f"Calibration stopped after {seen} of {job.calibration.count} images; they need not be done again."
            )
        raise
    if done and checkpoint.ignored:  # found out on the way
        out.note(f"{job.out / STATE} was not used after all: {checkpoint.ignored}. Calibration was done anew.")
    return quantized


def _head(job: QuantizeJob, quantized: Quantized, name: str) -> dict[str, Any]:
    return {
        "model": quantized.graph.name,
        "network": job.source.title,
        "xmodel": str(job.out / name),
        "images": quantized.images,
        "batches": quantized.batches,
        "settings": asdict(job.settings),
        "clamps": [asdict(clamp) for clamp in quantized.clamps],
        "tuning": finetuning.record(quantized.tuning),
        "notes": [
            *job.notes,
            *quantized.notes,
            *([finetuning.note(quantized.tuning)] if quantized.tuning else []),
        ],
        "unreadable": [{"file": name, "reason": reason} for name, reason in job.calibration.failures.items()],
    }


def _samples(job: QuantizeJob, graph: Graph, truth: _Truth) -> Samples:
    """What the report measures on: crops of a detector with what is known of them, else images of any kind."""
    if isinstance(job.calibration, ImageFolder) and _is_detector(graph):
        return from_crops(job.calibration.readable, graph, truth.judge, job.report_images)
    images = job.calibration.sample(graph, max(job.report_images, LAYER_IMAGES))
    return from_images(images, graph, truth.classes, job.report_images)


def _evaluate(
    job: QuantizeJob, graph: Graph, quantized: Graph, truth: _Truth, out: Output
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """(comparison of a detector's verdicts, comparison of any other network's outputs), None for what is not there."""
    if not job.evaluate:
        return None, None
    if isinstance(job.calibration, ImageFolder) and _is_detector(graph):
        readable = job.calibration.readable
        spread = readable[:: max(1, -(-len(readable) // job.evaluate))]
        return compare([_float_form(job, graph), graph_detector(quantized)], spread, truth.judge, out).data(), None
    return None, fidelity(graph, quantized, job.calibration.sample(graph, job.evaluate), truth.classes)


def _is_detector(graph: Graph) -> bool:
    try:
        roles(graph)
    except ArtifactError:
        return False
    return True


def _float_form(job: QuantizeJob, graph: Graph) -> Detector:
    if isinstance(job.source, Registered):
        return float_detector(job.source.network)
    return replace(graph_detector(graph), name="float", title=f"float32 ({job.source.title})")
