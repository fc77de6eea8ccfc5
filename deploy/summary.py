"""The main job in one table: each stage, what it made, its time; then how good and how fast the result is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy import compare_stage, compile_stage, infer, quantize_stage
from deploy.report import number, percent, seconds
from xmodel import artifact
from xmodel.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

_REPORTS = {
    "quantize": quantize_stage.REPORT,
    "compile": compile_stage.REPORT,
    "infer": infer.REPORT,
    "compare": compare_stage.REPORT,
}


def summarize(folder: Path) -> dict[str, Any]:
    """The reports of the stages found under `folder`, by stage. Raises `UsageError` when there is none."""
    paths = {stage: folder / stage / name for stage, name in _REPORTS.items()}
    found = {
        stage: {"seconds": artifact.seconds(path.parent), **artifact.read_json(path)}
        for stage, path in paths.items()
        if path.is_file()
    }
    if not found:
        raise UsageError("No stage has left a report here.", where=str(folder), hint="`make` runs the main job.")
    return {"folder": str(folder), **found}


def tables(found: dict[str, Any]) -> list[RenderableType]:
    """`found` for the terminal."""
    from rich.table import Table

    stages = Table("stage", "what", "time")
    lines = {"quantize": _quantize, "compile": _compile, "infer": _infer, "compare": _compare}
    for stage, line in lines.items():
        if stage in found:
            stages.add_row(stage, *line(found[stage]))
    shown: list[RenderableType] = [stages]
    if "compare" in found:
        shown.append(_forms(found["compare"]))
    shown += [f"Report: {Path(found['folder'], 'infer', infer.PAGE)}"] if "infer" in found else []
    return shown


def _quantize(report: dict[str, Any]) -> tuple[str, str]:
    return f"{report['images']} crops → {Path(report['xmodel']).name}", seconds(report["seconds"])


def _compile(report: dict[str, Any]) -> tuple[str, str]:
    devices = ", ".join(item["device"] for item in report["subgraphs"])
    return f"{report['target']} → {Path(report['xmodel']).name} ({devices})", seconds(report["seconds"])


def _infer(report: dict[str, Any]) -> tuple[str, str]:
    speed, counts = report["speed"], report["counts"]
    what = f"{counts['read']} of {counts['inputs']} crops on the {speed['device']}, {number(speed['fps'], 1)} crops/s"
    return what, seconds(speed["seconds"])


def _compare(report: dict[str, Any]) -> tuple[str, str]:
    verdict = "passed" if report["passed"] else "failed"
    what = f"labels equal, float and {report['last']}: {percent(report['gate'])} ({verdict})"
    return what, seconds(report["seconds"])


def _forms(report: dict[str, Any]) -> RenderableType:
    from deploy.tables import scores

    return scores(report["forms"])
