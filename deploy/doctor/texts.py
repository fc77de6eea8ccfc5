"""The doctor's findings for a person, and as data."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from deploy.doctor.fit import Mismatch, Verdict
from deploy.doctor.here import Row
from deploy.doctor.situation import Situation


def texts(found: Situation, verdict: Verdict, rows: Sequence[Row]) -> list[str]:
    """What to print, in order: what is here, the card, the model, what fits, what does not."""
    return [*_rows(rows), *_card(found), *_model(found), *_verdict(verdict), *_mismatches(verdict.mismatches)]


def data(found: Situation, verdict: Verdict, rows: Sequence[Row]) -> dict[str, Any]:
    """The same for `--json`."""
    release = verdict.release
    fitting = None
    if release is not None:
        overlay = release.overlay(verdict.variant or "")
        fitting = {
            "vitis_ai": release.version, "card": release.card.name, "xrt": release.xrt, "shell": release.shell,
            "xclbin": str(overlay.file) if overlay else None, "variant": verdict.variant,
        }  # fmt: skip
    return {
        "fits": verdict.fits,
        "release": fitting,
        "why": verdict.why,
        "mismatches": [asdict(mismatch) for mismatch in verdict.mismatches],
        "found": asdict(found),
        "here": [asdict(row) for row in rows],
    }


def _rows(rows: Sequence[Row]) -> Iterator[str]:
    section = ""
    width = max((len(row.name) for row in rows), default=0)
    for row in rows:
        if row.section != section:
            section = row.section
            yield f"\n{section.capitalize()}"
        mark = {True: "+", False: "-", None: " "}[row.good]
        yield _wrapped(f" {mark} {row.name:<{width}}  ", row.value)


def _card(found: Situation) -> Iterator[str]:
    state = found.card
    if state is None:
        yield "\nCard\n   none found: everything runs on the emulator (`unmask card check` tells why it is not seen)"
        return
    link = "" if state.link is None else ", Gen{} x{}".format(*state.link)
    where = f" at {state.function}" if state.function else ""
    golden = ", its factory image" if state.golden else ""
    yield f"\nCard\n   {state.card.name}{where}, shell {state.shell or 'unknown'}{golden}{link}"


def _model(found: Situation) -> Iterator[str]:
    model = found.model
    if model is None:
        return
    batch = f", {model.batch} images a job" if model.batch else ""
    code = "with machine code" if model.code else "without machine code (for the emulator)"
    yield f"\nModel\n   {model.file}: {model.kind}, {code}{batch}"
    for name, fingerprint in zip(model.targets, model.fingerprints, strict=False):
        yield f"   for {name}, fingerprint 0x{fingerprint:016x}"
    if model.compiler is not None:
        yield f"   compiled with Vitis AI {model.compiler}; the runtime loads {model.runner or 'no library'}"


def _verdict(verdict: Verdict) -> Iterator[str]:
    release = verdict.release
    if release is None:
        yield f"\nWhat fits\n   {verdict.why}"
        return
    overlay = release.overlay(verdict.variant or "")
    yield f"\nWhat fits: Vitis AI {release.version}. {verdict.why}"
    yield f"   XRT {release.xrt}, shell {release.shell},"
    if overlay is not None:
        yield f"   DPU {overlay.target}, xclbin {overlay.file}"


def _mismatches(mismatches: Sequence[Mismatch]) -> Iterator[str]:
    if not mismatches:
        yield "\nNothing disagrees with it."
    for mismatch in mismatches:
        yield f"\n{'WRONG' if mismatch.grade == 'wrong' else 'Unwise'}: {mismatch.what}"
        for name in ("found", "needed", "symptom", "remedy"):
            yield _wrapped(f"   {name:<9}", getattr(mismatch, name))


def _wrapped(head: str, text: str) -> str:
    if " " not in text or "/" in text:  # a command or a path is not broken
        return head + text
    return textwrap.fill(text, 116, initial_indent=head, subsequent_indent=" " * len(head), break_long_words=False)
