"""Stage `compare`: float, quantized and compiled on the same unseen crops, with a gate on their agreement."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy import plots
from deploy.compare import Comparison, compare
from deploy.console import Output
from deploy.crops import digest, find_masks, list_crops, read_labels
from deploy.deployed import Deployed
from deploy.detectors import FloatNetwork, compiled_detector, float_detector, graph_detector
from deploy.files import compiled_file, existing, float_file, quantized_file
from deploy.judge import Judge
from deploy.report import provenance, write_html
from deploy.report_samples import LAYER_IMAGES, noise
from xmodel import artifact
from xmodel.errors import GateError, UnmaskError

REPORT, PAGE = "compare.json", "compare.html"


@dataclass(frozen=True, slots=True)
class CompareJob:
    """Run `crops` through `network`, `quantized` and `compiled`; at least `min_agreement` of the labels must agree."""

    network: FloatNetwork
    quantized: Path
    compiled: Path
    crops: Path
    out: Path
    labels: Path | None = None
    masks: Path | None = None
    min_agreement: float = 0.98
    limit: int | None = None


def compare_stage(job: CompareJob, out: Output) -> tuple[dict[str, Any], bool]:
    """Run the stage unless it is up to date: the content of compare.json, and whether it ran."""
    quantized, compiled = quantized_file(job.quantized), compiled_file(job.compiled)
    crops = list_crops(job.crops, job.limit)
    labels = existing(job.labels, "label file")
    masks = find_masks(job.masks, job.crops, out)
    judge = Judge(read_labels(labels) if labels else None, masks)
    paths = {quantized.name: quantized, compiled.name: compiled, "labels": labels, "masks": masks}
    inputs = {name: artifact.sha256(path) for name, path in paths.items() if path}
    inputs |= {"crops": digest(crops), **job.network.inputs()}
    arguments = {"model": job.network.model, "seed": job.network.seed, "min_agreement": job.min_agreement}
    wanted = artifact.record("compare", inputs, arguments)
    _warn_of_other_weights(job.network, quantized, out)

    def work() -> list[str]:
        from xmodel import file

        start = time.perf_counter()
        out.note(f"Comparing float, quantized and compiled on {len(crops)} crops …")
        graph = file.read(quantized)
        deployed = Deployed.load(compiled)
        detectors = [float_detector(job.network), graph_detector(graph), compiled_detector(deployed)]
        result = compare(detectors, crops, judge, out)
        kept = float_file(quantized)
        readable = [crop for crop in crops if crop not in result.failures]
        data = result.data()
        report = {
            "model": graph.name,
            "target": deployed.target,
            "crops": len(readable),
            **data,
            "last": detectors[-1].name,
            "labelled": data["forms"]["float"]["accuracy"] is not None,
            "missing_labels": [p.file for p in result.predictions["float"] if p.label is None],
            "bad_masks": [{"file": name, "reason": reason} for name, reason in judge.bad_masks.items()],
            "min_agreement": job.min_agreement,
            "passed": data["gate"] >= job.min_agreement,
            "layer_crops": LAYER_IMAGES,
            "layers": noise(graph, file.read(kept), readable) if kept.is_file() else [],
            "seconds": time.perf_counter() - start,
        }
        artifact.write_json(job.out / REPORT, report)
        drawn = {"scatter": _scatter(result)}
        rows = provenance(wanted)
        write_html(job.out / PAGE, "compare.html.j2", r=report, plots=drawn, provenance=rows, record=wanted)
        return [REPORT, PAGE]

    ran = artifact.run_stage(job.out, wanted, work)
    return artifact.read_json(job.out / REPORT), ran


def _warn_of_other_weights(network: FloatNetwork, quantized: Path, out: Output) -> None:
    """The quantize stage's record says which network it had; another one makes every difference meaningless."""
    with suppress(UnmaskError, KeyError, TypeError):
        made = artifact.read_json(quantized.parent / artifact.RUN_FILE)
        mine = (network.inputs().get("weights"), network.model, network.seed)
        if mine != (made["inputs"].get("weights"), made["arguments"]["model"], made["arguments"]["seed"]):
            out.warn(f"{quantized} was made from another network or other weights than those compared here.")


def _scatter(result: Comparison) -> str:
    first, last = result.detectors[0].name, result.detectors[-1].name
    x, y = ([p.p_real for p in result.predictions[name]] for name in (first, last))
    return plots.scatter(x, y, f"P(real), {first}", f"P(real), {last}")


def demand_agreement(report: dict[str, Any]) -> None:
    """Raise `GateError` when too few labels agree."""
    if not report["passed"]:
        raise GateError(
            f"Float and {report['last']} agree on {report['gate']:.2%} of the labels; "
            f"{report['min_agreement']:.2%} are demanded.",
            hint="The report ranks the layers by noise; calibrate on more and more typical crops.",
        )
