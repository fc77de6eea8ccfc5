"""Stage `infer`: a folder of crops through the deployed network: arrays, masks, predictions, report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy import journal, pictures, plots
from deploy.console import Output, printable
from deploy.crops import FAKE, NAMES, REAL, Crop, digest, find_masks, list_crops, read_labels
from deploy.deployed import Compat, Deployed
from deploy.devices import Device, Where, choose
from deploy.files import compiled_file, existing
from deploy.journal import Entry, Journal
from deploy.judge import Judge, nothing_readable
from deploy.kernels import KernelChoice
from deploy.predictions import Prediction, score, score_masks, write_csv
from deploy.report import provenance, write_html
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
    resume: bool = True
    compat: Compat | None = None
    vitis_python: Path | None = None


@dataclass(slots=True)
class Sink:
    """Takes the results in the order of the crops and writes them as they come; begins with the journal's."""

    crops: Sequence[Crop]
    judge: Judge
    folder: Path
    journal: Journal
    predictions: list[Prediction] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.predictions += [entry.prediction for entry in self.journal.done]
        self.judge.bad_masks |= {e.prediction.file: e.bad_mask for e in self.journal.done if e.bad_mask is not None}

    @property
    def left(self) -> Sequence[Crop]:
        """The crops without a result so far."""
        return self.crops[len(self.predictions) :]

    def take(self, index: int, logits: NDArray[Any], p_real: float) -> None:
        """The result of crop `index`: mask logits (H, W, 2), int8 or real, and P(real)."""
        prediction, mask = self.judge.judge(self.crops[index], logits, p_real)
        picture = pictures.png(mask)
        artifact.write_bytes(self.folder / MASKS / prediction.mask, picture)
        self._keep(prediction, logits, picture)

    def fail(self, index: int, reason: str) -> None:
        """Crop `index` has no result; a mask that an earlier run left for it goes."""
        prediction = self.judge.failed(self.crops[index], printable(reason))
        with suppress(FileNotFoundError):
            (self.folder / MASKS / prediction.mask).unlink()
        self._keep(prediction, None, b"")

    def _keep(self, prediction: Prediction, logits: NDArray[Any] | None, picture: bytes) -> None:
        bad_mask = self.judge.bad_masks.get(prediction.file)
        crcs = (0 if logits is None else journal.logits_crc(logits), journal.checksum(picture))
        self.journal.add(Entry(prediction, bad_mask, *crcs), logits)
        self.predictions.append(prediction)


def infer_stage(job: InferJob, out: Output) -> tuple[dict[str, Any], bool]:
    """Run the stage unless it is up to date: the content of report.json, and whether it ran.

    A crop that cannot be read gets no row and is named in `unreadable`. Raises `UsageError`,
    `UnavailableError` (no card, no space), `ArtifactError` (the model), `GateError` (nothing readable). What is
    done before the process is stopped stays, and the same job goes on there unless `resume` is off.
    """
    source = compiled_file(job.model)
    crops = list_crops(job.crops, job.limit)
    labels = existing(job.labels, "label file")
    truth = find_masks(job.masks, job.crops, out)
    if truth and truth.resolve() == (job.out / MASKS).resolve():
        raise UsageError("The output's masks would overwrite the true masks.", where=str(truth), hint="Change --out.")
    judge = Judge(read_labels(labels) if labels else None, truth)
    where = choose(job.device, source, job.vitis_python)
    inputs = {source.name: artifact.sha256(source), "crops": digest(crops)}
    inputs |= {name: artifact.sha256(path) for name, path in (("labels", labels), ("masks", truth)) if path}
    decisive = {**where.arguments, "kernels": job.kernels, "compat": job.compat}
    wanted = artifact.record("infer", inputs, {"threads": job.threads, **decisive})

    # Threads change no result, so a run may go on with more or fewer.
    key = sha256(json.dumps({**wanted, "arguments": decisive}, sort_keys=True).encode()).hexdigest()
    earlier = artifact.outputs_of(job.out)

    def work() -> list[str]:
        deployed = Deployed.load(source, job.kernels, job.compat, where)
        with journal.held(job.out, MASKS, not job.resume):
            kept = Journal(job.out, MASKS, SEGMENTATION, key, deployed.mask_shape, earlier, deployed.mask_step)
            with closing(kept):
                sink = Sink(crops, judge, job.out, kept)
                _tell(len(crops), sink, where, kept.ignored, out)
                speed = _judge(deployed, sink, job.threads, out)
                failures = {c: p.error for c, p in zip(crops, sink.predictions, strict=True)}
                if all(failures.values()):
                    journal.remove(job.out)
                    raise nothing_readable(failures)
                report = _report(deployed, sink.predictions, judge, speed)
                _write_scores(job.out / CLASSIFICATION, sink.predictions)
                write_csv(job.out / PREDICTIONS, sink.predictions)
                artifact.write_json(job.out / REPORT, report)
                _write_page(job.out, report, wanted, sink.predictions, {c.name: c for c in crops}, deployed)
                kept.finish()
        masks = [f"{MASKS}/{p.mask}" for p in sink.predictions if not p.error]
        outputs = [SEGMENTATION, CLASSIFICATION, PREDICTIONS, REPORT, PAGE, *masks]
        artifact.remove(job.out, kept.earlier - set(outputs))
        return outputs

    ran = artifact.run_stage(job.out, wanted, work)
    journal.remove(job.out)
    return artifact.read_json(job.out / REPORT), ran


def _tell(count: int, sink: Sink, where: Where, ignored: str, out: Output) -> None:
    if ignored:
        out.note(f"The journal of an interrupted run is not used from there on: {ignored}.")
    if sink.predictions:
        out.note(f"Going on where an interrupted run was: {len(sink.predictions)} of {count} crops are done.")
    if sink.left:
        for note in where.notes:
            out.warn(note)
        out.note(f"Judging {len(sink.left)} crops on the {where} …")


def _judge(deployed: Deployed, sink: Sink, threads: int | None, out: Output) -> dict[str, Any]:
    """Judge the crops that are left: how fast that was."""
    done, left = len(sink.predictions), [crop.path for crop in sink.left]

    def take(index: int, logits: NDArray[Any], p_real: float) -> None:
        sink.take(done + index, logits, p_real)

    def fail(index: int, reason: str) -> None:
        sink.fail(done + index, reason)

    def draining() -> None:
        out.note("Stopping: what is in flight is finished first. Ctrl-C again stops at once.")

    try:
        with out.progress("judging", len(sink.crops), done) as advance:
            return deployed.run(left, take, fail, threads, advance, draining)
    except KeyboardInterrupt as stop:
        kept = f"{len(sink.predictions)} of {len(sink.crops)} crops are done and kept"
        raise KeyboardInterrupt(f"{kept}; run the same command again to go on there.") from stop


def _write_scores(path: Path, predictions: Sequence[Prediction]) -> None:
    """P(real) of every crop with a result: float32 (count, 1)."""
    scores = np.array([[p.p_real] for p in predictions if not p.error], np.float32)
    with artifact.atomic(path) as stream:
        np.save(stream, scores, allow_pickle=False)


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
        "compat": deployed.compat and {"name": deployed.compat, "flaws": deployed.flaws},
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
