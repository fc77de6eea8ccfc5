"""Several clips: found in folders, judged one after the other, one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.console import Output
from deploy.video.clip import SUFFIXES
from deploy.video.stage import PAGE, VideoJob, video_stage
from xmodel.errors import ArtifactError, GateError, UsageError

_KEPT = "Finished clips are kept; the same command starts over at the one that was stopped."
_NOTHING_KEPT = "The same command starts this clip over."


@dataclass(frozen=True, slots=True)
class Done:
    """One clip: the folder of its results, its report, or why there is none."""

    clip: Path
    folder: Path
    report: dict[str, Any] = field(default_factory=dict)
    ran: bool = False
    error: str = ""

    @property
    def told(self) -> dict[str, Any]:
        """Its entry in the list of several clips."""
        entry = {"clip": str(self.clip), "out": str(self.folder)}
        return {**entry, "error": self.error} if self.error else {**entry, "report": self.report}

    @property
    def lines(self) -> list[str]:
        """For the terminal."""
        if self.error:
            return [f"{self.clip.name}: no result. {self.error}"]
        verdict, counts, speed = self.report["verdict"], self.report["counts"], self.report["speed"]
        return [
            f"{self.clip.name}: {verdict['verdict']}, P(real) {verdict['p_real']:.3f} (trimmed mean; mean "
            f"{verdict['mean']:.3f}, median {verdict['median']:.3f}); {verdict['frames_fake']} of {counts['judged']} "
            f"frames called fake",
            f"  {counts['judged']} of {counts['considered']} frames judged on the {speed['device']} "
            f"({speed['fps']:.1f} frames/s, {'now' if self.ran else 'up to date'}), where: {self.report['where']}",
            *(f"  {item['frames']} frames not judged: {item['reason']}" for item in self.report["reasons"]),
            *(f"  Note: {note}" for note in self.report["notes"]),
            f"  Report: {self.folder / PAGE}",
        ]


def judge_clips(named: Sequence[Path], out: Path, job: Callable[[Path, Path], VideoJob], output: Output) -> list[Done]:
    """Judge the clips that `named` names, files and the clips in folders: one into `out`, several into folders there.

    `job` makes the job of a clip and a folder. The error of a single clip is raised; of several, one that cannot be
    read is told and the others go on.
    """
    clips = list_clips(named)
    try:
        return _judged(clips, out, job, output)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(_KEPT if len(clips) > 1 else _NOTHING_KEPT) from stop


def _judged(clips: Sequence[Path], out: Path, job: Callable[[Path, Path], VideoJob], output: Output) -> list[Done]:
    if len(clips) == 1:
        report, ran = video_stage(job(clips[0], out), output)
        return [Done(clips[0], out, report, ran)]
    done: list[Done] = []
    for clip, folder in zip(clips, folders(clips, out), strict=True):
        output.note(f"{clip.name} ({len(done) + 1} of {len(clips)}) …")
        work = job(clip, folder)
        shared = (work.model, work.boxes, work.face_model)
        try:
            report, ran = video_stage(work, output)
            done.append(Done(clip, folder, report, ran))
        except (ArtifactError, GateError) as error:
            if any(error.where.startswith(str(path)) for path in shared if path):
                raise  # no other clip would escape it
            output.warn(f"{clip.name}: {error.what}")
            done.append(Done(clip, folder, error=error.what))
    return done


def list_clips(named: Sequence[Path]) -> list[Path]:
    """Files as they are named, folders by the clips directly in them, in the order of their names."""
    clips: list[Path] = []
    for path in named:
        if not path.is_dir():
            clips.append(path)
            continue
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file() and p.name[0] != ".")
        if not found:
            raise UsageError(f"There is no clip in this folder; looked for {', '.join(SUFFIXES)}.", where=str(path))
        clips += found
    return list(dict.fromkeys(clips))


def folders(clips: Sequence[Path], out: Path) -> list[Path]:
    """A folder for each clip: named as the file without its suffix, with it where two would be alike."""
    stems = [clip.stem for clip in clips]
    names = [clip.stem if stems.count(clip.stem) == 1 else clip.name for clip in clips]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"Two clips are called {twice!r}, so that their results would be mixed up.",
                         hint="Judge them one at a time, each with its own --out.")  # fmt: skip
    return [out / name for name in names]


def demand(done: Sequence[Done]) -> None:
    """Raises `GateError` for clips without a result and for damaged ones."""
    failed = [item for item in done if item.error]
    if failed:
        raise GateError(
            f"{len(failed)} of {len(done)} clips could not be judged"
            + ("; the results of the others are kept." if len(failed) < len(done) else "."),
            where="; ".join(f"{item.clip.name}: {item.error}" for item in failed[:5]),
            hint="Repair or remove these files and run again.",
        )
    damaged = [item for item in done if _damaged(item.report)]
    if damaged:
        raise GateError(
            f"{len(damaged)} of {len(done)} clips are damaged; what could be read of them is judged.",
            where="; ".join(f"{item.clip.name}: {_damaged(item.report)}" for item in damaged[:5]),
            hint="Copy these clips again from where they come from, if you can.",
        )


def _damaged(report: dict[str, Any]) -> str:
    counts = report["counts"]
    named = {"frames": counts["damaged"], "packets": counts["damaged_packets"]}
    return ", ".join(
        [*(f"{count} {name}" for name, count in named.items() if count), *filter(None, [report["cut_short"]])]
    )
