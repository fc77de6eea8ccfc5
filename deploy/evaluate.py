"""Stage `evaluate`: how good the float network is on a folder of labelled crops."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.batches import Reader
from deploy.compare import BATCH
from deploy.console import Output
from deploy.crops import digest, find_masks, list_crops, read_labels
from deploy.detectors import FloatNetwork, float_detector
from deploy.judge import Judge, in_order, nothing_readable
from deploy.predictions import Prediction, score, score_masks, write_csv
from xmodel import artifact

REPORT = "evaluation.json"
PREDICTIONS = "predictions.csv"


@dataclass(frozen=True, slots=True)
class EvaluateJob:
    """Run `network` over the folder `crops`, labelled by the file `labels`; true masks in `masks`."""

    network: FloatNetwork
    crops: Path
    labels: Path
    out: Path
    masks: Path | None = None
    limit: int | None = None


def evaluate_stage(job: EvaluateJob, out: Output) -> tuple[dict[str, Any], bool]:
    """Run the stage unless it is up to date: its report, and whether it ran."""
    crops = list_crops(job.crops, job.limit)
    judge = Judge(read_labels(job.labels), find_masks(job.masks, job.crops, out))
    inputs = {"crops": digest(crops), "labels": artifact.sha256(job.labels), **job.network.inputs()}
    if judge.masks:
        inputs["masks"] = artifact.sha256(judge.masks)
    wanted = artifact.record("evaluate", inputs, {"model": job.network.model, "seed": job.network.seed})

    def work() -> list[str]:
        start = time.perf_counter()
        detector = float_detector(job.network)
        reader = Reader(crops, detector.spec)
        predictions: list[Prediction] = []
        with out.progress("evaluating", len(crops)) as advance:
            for taken, images in reader.batches(BATCH):
                logits, p_real = detector.run(images)
                predictions += [judge.judge(c, m, float(p))[0] for c, m, p in zip(taken, logits, p_real, strict=True)]
                advance(len(taken))
        if not predictions:
            raise nothing_readable(reader.failures)
        write_csv(job.out / PREDICTIONS, in_order(crops, predictions, reader.failures, judge))
        report = {
            "model": job.network.model,
            "inputs": len(crops),
            "accuracy": score(predictions),
            "masks": score_masks(predictions),
            "unreadable": [{"file": c.name, "reason": r} for c, r in reader.failures.items()],
            "missing_labels": [p.file for p in predictions if p.label is None],
            "seconds": time.perf_counter() - start,
        }
        artifact.write_json(job.out / REPORT, report)
        return [REPORT, PREDICTIONS]

    ran = artifact.run_stage(job.out, wanted, work)
    return artifact.read_json(job.out / REPORT), ran
