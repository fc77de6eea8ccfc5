"""`unmask video`: clips → scores a frame, a verdict, an overlay and a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from deploy.console import Json, Output, Quiet
from deploy.kernels import Kernels
from deploy.verbs.infer import Device, Threads, VitisPython


def video(
    context: typer.Context,
    clips: Annotated[list[Path], typer.Argument(help="A video file; or several, or folders of them.")],
    model: Annotated[Path, typer.Option(help="Compiled .xmodel, or the folder that holds it.")] = Path("build/compile"),
    out: Annotated[Path, typer.Option(help="Output folder; of several clips each gets a folder in it.")] = Path(
        "build/video"
    ),
    whole_frame: Annotated[bool, typer.Option("--whole-frame", help="The clip shows a face crop already.")] = False,
    boxes: Annotated[Path | None, typer.Option(help="JSON file of face boxes (docs/video.md).")] = None,
    face_model: Annotated[Path | None, typer.Option(help="YuNet model file (.onnx) that finds the face.")] = None,
    every: Annotated[int, typer.Option(min=1, max=100_000, help="Judge every Nth frame.")] = 1,
    limit: Annotated[int | None, typer.Option(min=1, help="Judge the first N of these frames only.")] = None,
    blend: Annotated[
        Literal["published", "tint"],
        typer.Option(help="Mask in the overlay: as the published project blends it, or orange."),
    ] = "published",
    device: Device = "auto",
    vitis_python: VitisPython = None,
    threads: Threads = None,
    kernels: Kernels = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Judge the face in every frame of a clip.

    Writes overlay.mp4, frames.csv, report.json and report.html. Exit 1 when frames are damaged or one of several
    clips could not be judged; the results of the others are kept.
    """
    from deploy.video.many import demand, judge_clips
    from deploy.video.stage import VideoJob

    def job(clip: Path, folder: Path) -> VideoJob:
        return VideoJob(model, clip, folder, whole_frame, boxes, face_model, every, limit, blend, device, threads,
                        kernels, vitis_python)  # fmt: skip

    output = Output.of(context, json, quiet)
    done = judge_clips(clips, out, job, output)
    data: dict[str, Any] = done[0].report if len(done) == 1 else {"clips": [item.told for item in done]}
    output.result(data, "\n".join(line for item in done for line in item.lines))
    demand(done)
