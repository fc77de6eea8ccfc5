"""Which release and variant are meant, and which steps are done: their read-only probes, run as the user."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from arch.releases import LAST, PRODUCTION, RELEASES, Overlay, Release, by_version
from arch.targets import find
from deploy.card_setup.host import Host
from deploy.card_setup.steps import Probe, Step
from xmodel.errors import UsageError

_SECONDS = 20.0  # a hung driver can block a tool for ever


def chosen(release: str | None, variant: str | None, host: Host) -> tuple[Release, Overlay]:
    """The release called `release`, or the last one for the host's card, and its overlay for `variant`.

    Raises `UsageError` for a release that there is not for the card, and for a variant that it does not have.
    """
    text = release or LAST[(host.card or PRODUCTION).name]
    found = by_version(text)
    if found is None:
        known = ", ".join(r.version for r in RELEASES)
        last = " 3.5 has dropped the VCK5000: take 3.0." if text.removeprefix("v").startswith("3.5") else ""
        raise UsageError(f"No release {text!r} of Vitis AI is for the VCK5000.{last}", hint=f"There are {known}.")
    if variant is None:
        return found, found.overlays[0]
    target = find(variant)
    overlay = found.overlay(target.name)
    if overlay is None:
        known = ", ".join(o.target for o in found.overlays)
        raise UsageError(f"Vitis AI {found.version} has no overlay of {target.name}.", hint=f"It has {known}.")
    return found, overlay


def states(found: Sequence[Step]) -> dict[int, str]:
    """ "done" or "to do" for each step that has a probe, by its index."""
    return {
        index: "done" if _holds(step.probe) else "to do" for index, step in enumerate(found) if step.probe is not None
    }


def _holds(probe: Probe) -> bool:
    try:
        done = subprocess.run(probe.command, capture_output=True, timeout=_SECONDS, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return False
    said = done.stdout.decode(errors="replace").casefold()
    return all(want.casefold() in said for want in probe.wants)
