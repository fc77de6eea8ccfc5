"""`unmask card status --soak` as a job: load, sampling, report, verdict."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from deploy.card.live import Machinery
from deploy.card.load import load_of
from deploy.card.sampling import Log, Sample, of_machine
from deploy.card.soak import INTERRUPTED, Soak, soak
from deploy.card.soak_page import headline, write_soak_page
from deploy.console import Output
from deploy.devices import Device
from xmodel.errors import GateError


@dataclass(frozen=True, slots=True)
class SoakJob:
    """Run `model` for `seconds`, sample every `interval` seconds; `device`: one card's address; `on`: what runs it."""

    model: Path
    seconds: float
    interval: float
    device: str | None
    on: Device
    threads: int | None
    csv: Path | None
    html: Path


def soak_job(job: SoakJob, output: Output, here: Machinery | None = None) -> Soak:
    """Run the job and write its report. Raises `GateError` unless it was completed below all limits."""
    _, take = of_machine(here or Machinery.here(), job.device)
    load, device, notes = load_of(job.model, job.on, job.threads)
    for note in notes:
        output.warn(note)
    if device == "emulator":
        output.warn("The load runs on this host's processor: the card stays idle.")
    output.note(f"Running {job.model} on the {device} for {job.seconds:g} s …")
    with ExitStack() as stack:
        log = stack.enter_context(Log(job.csv)) if job.csv is not None else None
        advance = stack.enter_context(output.progress("under load", int(job.seconds)))
        past = [0]

        def seen(sample: Sample) -> None:
            advance(int(sample.seconds) - past[0])
            past[0] = int(sample.seconds)
            if log is not None:
                log.add(sample)

        found = soak(take, load, job.seconds, job.interval, seen)
    write_soak_page(job.html, found, job.model.name, device)
    output.result(_data(found), found.sentence, f"Report: {job.html}")
    if found.ended == INTERRUPTED:
        raise KeyboardInterrupt
    if not found.passed:
        raise GateError(f"{headline(found)}: {found.sentence}", hint="More air; `unmask card check` has the limits.")
    return found


def _data(found: Soak) -> dict[str, object]:
    return {
        "passed": found.passed, "verdict": found.sentence, "seconds": found.seconds, "samples": len(found.samples),
        "slowed": found.slowed, "fps": found.speed.get("fps"),
        "temperatures": [
            {"card": c.card, "name": c.name, "first": c.first, "highest": c.highest, "limit": c.limit, "what": c.what,
             "headroom": c.headroom, "rising": c.rising}
            for c in found.curves
        ],
    }  # fmt: skip
