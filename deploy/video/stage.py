"""Stage `video`: a clip through the deployed network: overlay, scores a frame, verdict, report."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy.console import Output, printable
from deploy.deployed import Deployed
from deploy.devices import Device, choose
from deploy.files import compiled_file, existing
from deploy.kernels import KernelChoice
from deploy.video.boxes import read_boxes
from deploy.video.clip import AFTER_DAMAGE, DAMAGED, Clip, library, opened
from deploy.video.drawing import Blend, Drawing, Drawn
from deploy.video.faces import Cascade, YuNet
from deploy.video.page import write_page
from deploy.video.reading import Centre, Reading, Selection, Shot, Where, Whole
from deploy.video.results import Results, write_frames
from deploy.video.spool import Spool
from deploy.video.verdict import MEMORY, TRIMMED
from xmodel import artifact
from xmodel.errors import ArtifactError, GateError, UsageError

OVERLAY, FRAMES, REPORT, PAGE = "overlay.mp4", "frames.csv", "report.json", "report.html"


@dataclass(frozen=True, slots=True)
class VideoJob:
    """Run the compiled `model` (a file, or the compile stage's folder) over `clip` into `out`.

    At most one of `whole_frame`, `boxes` and `face_model` says where to look; without one, faces are searched for.
    """

    model: Path
    clip: Path
    out: Path
    whole_frame: bool = False
    boxes: Path | None = None
    face_model: Path | None = None
    every: int = 1
    limit: int | None = None
    blend: Blend = "published"
    device: Device = "auto"
    threads: int | None = None
    kernels: KernelChoice = "auto"
    vitis_python: Path | None = None


@dataclass(slots=True)
class Pass:
    """What the judging pass left: how fast it was, where was looked, and the clip as far as it could be read."""

    speed: dict[str, Any]
    where: Where
    clip: Clip
    reading: Reading
    notes: list[str] = field(default_factory=list)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright frames."""
        geometry = self.clip.geometry
        return (0, 0) if geometry is None else (geometry.width, geometry.height)


def video_stage(job: VideoJob, out: Output) -> tuple[dict[str, Any], bool]:
    """Run the stage unless it is up to date: the content of report.json, and whether it ran.

    The clip is read twice: once to judge its frames, once to draw the overlay. Raises `UsageError`,
    `UnavailableError` (no card, no PyAV, no space), `ArtifactError` (the model, the clip, the boxes) and `GateError`
    (not one frame could be judged).
    """
    library()
    source = compiled_file(job.model)
    given = [name for name, value in (("--whole-frame", job.whole_frame), ("--boxes", job.boxes),
                                      ("--face-model", job.face_model)) if value]  # fmt: skip
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} exclude each other: each says where the face is.")
    with opened(job.clip):
        pass  # what is wrong with the file is told before anything else is done
    named = {"boxes": existing(job.boxes, "file of boxes"), "face model": existing(job.face_model, "face model")}
    where = _where(job, out)
    device = choose(job.device, source, job.vitis_python)
    inputs = {source.name: artifact.sha256(source), "clip": artifact.sha256(job.clip)}
    inputs |= {name: artifact.sha256(path) for name, path in named.items() if path}
    arguments = {"clip": job.clip.name, "where": where.name, "every": job.every,
                 "limit": job.limit, "blend": job.blend, **device.arguments, "kernels": job.kernels,
                 "threads": job.threads}  # fmt: skip
    wanted = artifact.record("video", inputs, arguments)
    wanted["versions"] |= {name: metadata.version(name) for name in ("av", "scikit-image")}

    def work() -> list[str]:
        for note in device.notes:
            out.warn(note)
        deployed = Deployed.load(source, job.kernels, where=device)
        height, width, _ = deployed.mask_shape
        with closing(Spool(job.out, (height, width))) as spool:
            judged = _judge(job, deployed, where, spool, out)
            results = write_frames(job.out / FRAMES, spool, judged.clip.clock)
            if not results.scores.frames:
                raise _nothing(job, judged, results)
            drawing = Drawing(job.clip, judged.size, spool, results, job.every, job.blend)
            drawn = drawing.write(job.out / OVERLAY, out)
        report = _report(job, deployed, judged, results, drawn)
        artifact.write_json(job.out / REPORT, report)
        write_page(job.out / PAGE, report, results.timeline, drawn.figures, wanted)
        return [OVERLAY, FRAMES, REPORT, PAGE]

    ran = artifact.run_stage(job.out, wanted, work)
    return artifact.read_json(job.out / REPORT), ran


def _where(job: VideoJob, out: Output) -> Where:
    if job.whole_frame:
        return Whole()
    if job.boxes is not None:
        return read_boxes(job.boxes)
    if job.face_model is None:
        return Cascade()
    model = YuNet(job.face_model)
    if not model.known:
        out.warn(f"{job.face_model} is no face model known here (by its sha256); it is used as it is.")
    return model


# --- first pass: judging ------------------------------------------------------------------------


def _judge(job: VideoJob, deployed: Deployed, where: Where, spool: Spool, out: Output) -> Pass:
    """Judge the clip; where the cascade finds no face in all of it, the centre of its frames, and say so."""
    found = _judge_in(job, deployed, where, spool, out)
    if isinstance(where, Cascade) and not found.reading.judged and found.reading.faceless:
        out.warn("No face was found in the whole clip: the centre of its frames is judged instead. "
                 "--boxes says where the face is, --whole-frame that the clip shows nothing else.")  # fmt: skip
        spool.clear()
        found = _judge_in(job, deployed, Centre(), spool, out)
        found.notes.append("No face was found in the whole clip, so the centre of its frames was judged.")
    return found


def _judge_in(job: VideoJob, deployed: Deployed, where: Where, spool: Spool, out: Output) -> Pass:
    selection = Selection(job.every, job.limit)

    def take(index: int, logits: NDArray[np.float32], p_real: float) -> None:
        spool.result(p_real, logits[..., 1] > logits[..., 0])

    def fail(index: int, reason: str) -> None:
        spool.failed(reason)

    def draining() -> None:
        out.note("Stopping: what is in flight is finished first. Ctrl-C again stops at once.")

    with opened(job.clip) as clip, out.progress("judging", selection.expected(clip.info.frames)) as advance:
        reading = Reading(clip, where, selection, spool, advance)

        def load(shot: Shot) -> NDArray[np.int8]:
            return reading.prepare(shot, deployed.spec, deployed.fix_point)

        speed = deployed.stream(reading.shots(), load, take, fail, job.threads, advance, draining)
        if not reading.considered:
            raise ArtifactError(
                f"Not one frame of this clip could be decoded; {clip.damage.packets} packets are damaged.",
                where=str(job.clip),
                hint="Copy the clip again, or repair it with a video tool.",
            )
    return Pass({**speed, "reading": reading.seconds}, where, clip, reading, notes=_notes(clip))


def _notes(clip: Clip) -> list[str]:
    """What a reader of the report should know about how the clip was taken."""
    notes = []
    if clip.geometry is not None and clip.geometry.orientation.told:
        notes.append(f"The frames are {clip.geometry.orientation.told}, as the file asks for.")
    if clip.video.sample_aspect_ratio not in (None, 0, 1):
        notes.append(f"Its pixels are {clip.video.sample_aspect_ratio} as wide as high; the frames are made square.")
    if clip.resized:
        notes.append(f"{clip.resized} frames have another size than the first and are brought to that.")
    if clip.clock.repaired:
        notes.append(f"{clip.clock.repaired} timestamps are missing or do not rise and were repaired.")
    if clip.damage.packets:
        notes.append(f"{clip.damage.packets} packets could not be decoded; their frames are missing.")
    if clip.damage.ended:
        notes.append(f"The file is not read to its end: {clip.damage.ended}.")
    return notes


# --- the report ---------------------------------------------------------------------------------


def _nothing(job: VideoJob, judged: Pass, results: Results) -> GateError:
    told = "; ".join(f"{count} frames: {reason}" for reason, count in results.reasons.items())
    return GateError(
        f"Not one of {judged.reading.considered} frames could be judged.",
        where=f"{job.clip} ({told})"[:600],
        hint="Check the boxes, or use --whole-frame for a clip that shows a face crop.",
    )


def _report(job: VideoJob, deployed: Deployed, judged: Pass, results: Results, drawn: Drawn) -> dict[str, Any]:
    info, damage, (width, height) = judged.clip.info, judged.clip.damage, judged.size
    unjudged = judged.reading.considered - results.scores.frames
    return {
        "model": deployed.description,
        "clip": {
            "file": printable(job.clip.name),
            "container": info.format,
            "codec": info.codec,
            "width": width,
            "height": height,
            "rate": float(info.rate) if info.rate else None,
            "audio": info.audio,
            "from": results.first,
            "to": results.last,
        },
        "verdict": results.scores.summary(),
        "definitions": {
            "p_real": "that of the trimmed mean, from which on 0.5 the verdict is REAL",
            "trimmed_mean": f"mean without the floor({TRIMMED} n) lowest and as many highest of the n judged frames",
            "smoothed": f"exponential average over time, time constant {MEMORY} s",
        },
        "counts": {
            "considered": judged.reading.considered,
            "judged": results.scores.frames,
            "not_judged": unjudged,
            "damaged": sum(count for reason, count in results.reasons.items() if reason in (DAMAGED, AFTER_DAMAGE)),
            "damaged_packets": damage.packets,
        },
        "where": judged.where.name,
        "every": job.every,
        "reasons": [{"reason": reason, "frames": count} for reason, count in results.reasons.items()],
        "damage": damage.first,
        "cut_short": damage.ended,
        "overlay": {"frames": drawn.frames, "width": drawn.width, "height": drawn.height, "codec": drawn.codec,
                    "audio": drawn.audio, "blend": job.blend},
        "notes": [*judged.notes, *drawn.notes],
        "speed": judged.speed,
    }  # fmt: skip
