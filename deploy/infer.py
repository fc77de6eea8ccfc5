"""Stage `infer`: a folder of crops through the deployed network: arrays, masks, predictions, report."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy import pictures, plots
from deploy.console import Output, printable
from deploy.crops import FAKE, NAMES, REAL, Crop, digest, find_masks, list_crops, read_labels
from deploy.deployed import Deployed, Device, backend
from deploy.files import compiled_file, existing
from deploy.judge import Judge, nothing_readable
from deploy.kernels import KernelChoice
from deploy.predictions import Prediction, score, score_masks, write_csv
from deploy.report import provenance, write_html
from deploy.rows import Rows, rows
from xmodel import artifact
from xmodel.errors import UsageError

SEGMENTATION = "segmentation_output_array.npy"
CLASSIFICATION = "classification_output_array.npy"
PREDICTIONS = "predictions.csv"
REPORT, PAGE, MASKS = "report.json", "report.html", "masks"


@dataclass(frozen=True, slots=True)
class InferJob:
    """Run the compiled `model` (a file, or the compile stage's folder) over the folder `crops` into `out`."""

    model: Path
    crops: Path
    out: Path
    labels: Path | None = None
    masks: Path | None = None
    device: Device = "auto"
    threads: int | None = None
    kernels: KernelChoice = "auto"
    limit: int | None = None


@dataclass(slots=True)
class Sink:
    """Takes the results in the order of the crops and writes them as they come."""

    crops: Sequence[Crop]
    judge: Judge
    folder: Path
    segmentation: Rows
    classification: Rows
    predictions: list[Prediction] = field(default_factory=list)

    def take(self, index: int, logits: NDArray[np.float32], p_real: float) -> None:
        """The result of crop `index`: mask logits (H, W, 2) and P(real)."""
        prediction, mask = self.judge.judge(self.crops[index], logits, p_real)
        self.segmentation.append(logits)
        self.classification.append(np.array([p_real], np.float32))
        artifact.write_bytes(self.folder / MASKS / prediction.mask, pictures.png(mask))
        self.predictions.append(prediction)

    def fail(self, index: int, reason: str) -> None:
        """Crop `index` has no result; a mask that an earlier run left for it goes."""
        prediction = self.judge.failed(self.crops[index], printable(reason))
        with suppress(FileNotFoundError):
            (self.folder / MASKS / prediction.mask).unlink()
        self.predictions.append(prediction)


def infer_stage(job: InferJob, out: Output) -> tuple[dict[str, Any], bool]:
    """Run the stage unless it is up to date: the content of report.json, and whether it ran.

    A crop that cannot be read gets no row and is named in `unreadable`. Raises `UsageError`,
    `UnavailableError` (no card, no space), `ArtifactError` (the model), `GateError` (nothing readable).
    """
    source = compiled_file(job.model)
    crops = list_crops(job.crops, job.limit)
    labels = existing(job.labels, "label file")
    truth = find_masks(job.masks, job.crops, out)
    if truth and truth.resolve() == (job.out / MASKS).resolve():
        raise UsageError("The output's masks would overwrite the true masks.", where=str(truth), hint="Change --out.")
    judge = Judge(read_labels(labels) if labels else None, truth)
    device = backend(job.device)
    inputs = {source.name: artifact.sha256(source), "crops": digest(crops)}
    inputs |= {name: artifact.sha256(path) for name, path in (("labels", labels), ("masks", truth)) if path}
    wanted = artifact.record("infer", inputs, {"device": device, "kernels": job.kernels, "threads": job.threads})

    def work() -> list[str]:
        out.note(f"Judging {len(crops)} crops on the {device} …")
        deployed = Deployed.load(source, job.kernels)
        with (
            rows(job.out / SEGMENTATION, deployed.mask_shape) as segmentation,
            rows(job.out / CLASSIFICATION, (1,)) as classification,
            out.progress("judging", len(crops)) as advance,
        ):
            sink = Sink(crops, judge, job.out, segmentation, classification)
            speed = deployed.run([crop.path for crop in crops], sink.take, sink.fail, job.threads, advance)
            if not classification.count:
                raise nothing_readable({c: p.error for c, p in zip(crops, sink.predictions, strict=True)})
        report = _report(deployed, sink.predictions, judge, speed)
        write_csv(job.out / PREDICTIONS, sink.predictions)
        artifact.write_json(job.out / REPORT, report)
        _write_page(job.out, report, wanted, sink.predictions, {c.name: c for c in crops}, deployed)
        masks = [f"{MASKS}/{p.mask}" for p in sink.predictions if not p.error]
        return [SEGMENTATION, CLASSIFICATION, PREDICTIONS, REPORT, PAGE, *masks]

    ran = artifact.run_stage(job.out, wanted, work)
    return artifact.read_json(job.out / REPORT), ran


def _report(
    deployed: Deployed, predictions: Sequence[Prediction], judge: Judge, speed: dict[str, Any]
) -> dict[str, Any]:
    read = [p for p in predictions if not p.error]
    real = sum(p.verdict == REAL for p in read)
    return {
        "model": deployed.description,
        "counts": {"inputs": len(predictions), "read": len(read), "real": real, "fake": len(read) - real},
        "accuracy": score(predictions),
        "masks": score_masks(predictions),
        "speed": speed,
        "unreadable": [{"file": p.file, "reason": p.error} for p in predictions if p.error],
        "missing_labels": [p.file for p in read if p.label is None] if judge.labels else [],
        "bad_masks": [{"file": name, "reason": reason} for name, reason in judge.bad_masks.items()],
    }


def _write_page(
    folder: Path,
    report: dict[str, Any],
    wanted: dict[str, Any],
    predictions: Sequence[Prediction],
    crops: dict[str, Crop],
    deployed: Deployed,
) -> None:
    read = [p for p in predictions if not p.error]
    groups = [
        ("fake", "fakes", [p.p_real for p in read if p.label == FAKE]),
        ("real", "genuine", [p.p_real for p in read if p.label == REAL]),
        ("unknown", "without label", [p.p_real for p in read if p.label is None]),
    ]
    shown = {
        kind: [_figure(folder, p, crops[p.file], deployed) for p in chosen]
        for kind, chosen in pictures.pick(read).items()
    }
    curve = report["accuracy"]["roc"] if report["accuracy"] else {"fpr": [], "tpr": []}
    drawn = {
        "roc": plots.roc(curve["fpr"], curve["tpr"], report["accuracy"]["auc"]) if report["accuracy"] else "",
        "scores": plots.histogram([(kind, values) for kind, _, values in groups], "P(real)"),
        "groups": [(kind, text) for kind, text, values in groups if values],
    }
    rows_ = provenance(wanted)
    write_html(folder / PAGE, "infer.html.j2", r=report, plots=drawn, figures=shown, provenance=rows_, record=wanted)


def _figure(folder: Path, prediction: Prediction, crop: Crop, deployed: Deployed) -> dict[str, Any]:
    image = deployed.picture(crop.path)
    mask = pictures.read_mask(folder / MASKS / prediction.mask)
    return {
        "file": prediction.file,
        "verdict": NAMES[prediction.verdict],
        "label": None if prediction.label is None else NAMES[prediction.label],
        "p_real": prediction.p_real,
        "share": prediction.share,
        "plain": pictures.data_uri(image),
        "overlay": pictures.data_uri(pictures.overlay(image, mask)),
    }
