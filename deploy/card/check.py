"""`unmask card check` as a job: read, judge, save, report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deploy.card.evidence import files_of, from_files
from deploy.card.judge import Judgement, judged
from deploy.card.live import Depth, Machinery, read
from deploy.card.save import save
from deploy.console import Output


@dataclass(frozen=True, slots=True)
class CheckJob:
    """What to check and where to write. `source`: saved output instead of this machine."""

    device: str | None = None
    depth: Depth = Depth.NORMAL
    source: Path | None = None
    save: Path | None = None
    mask: bool = False
    html: Path | None = None


def check(job: CheckJob, output: Output, here: Machinery | None = None) -> Judgement:
    """Run the job. Raises `UsageError` for folders that cannot be used, `UnavailableError` for an unknown device."""
    if job.source is not None:
        files = dict(files_of(job.source))
        evidence = from_files(files.items())
        judgement = judged(evidence, job.depth, device=job.device)
        files = {name: data for name, data in files.items() if name not in evidence.unrecognised}
    else:
        readout = read(here or Machinery.here(), job.depth, job.device, output.note)
        files = readout.files
        judgement = judged(readout.evidence, job.depth, True, readout.missing, job.device)
    if job.save is not None:
        save(files, job.save, job.mask)
        output.note(f"Saved {len(files)} file{'s' * (len(files) != 1)} to {job.save}.")
    if job.html is not None:
        from deploy.card.page import write_page

        write_page(job.html, judgement)
        output.note(f"Report: {job.html}")
    return judgement
