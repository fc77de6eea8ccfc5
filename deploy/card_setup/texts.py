"""The steps as text for a terminal, as data, and as the page docs/card-setup.md."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from arch.releases import RELEASES, Overlay, Release
from deploy.card_setup.host import GENERIC, Host
from deploy.card_setup.steps import Step, steps

_HEAD = """\
# Setting up a VCK5000

Generated: `python -m deploy.card_setup.texts > docs/card-setup.md`. On the machine itself
`unmask card setup --release 3.0 --dry-run` prints the same steps for its system, its card and the DPU variant you
name, and without `--dry-run` tells which of them are done. Neither runs anything as root.

Which release? The card and its shell decide: an engineering sample (ES1) ends with 1.4.1, a production card with
3.0. `unmask doctor` reads what is there and names the release that fits. Nothing of this is needed to quantize,
compile and run on the emulator.

| Vitis AI | card | shell | XRT | PCIe | overlays |
|---|---|---|---|---|---|
"""


def lines(found: Sequence[Step], states: Mapping[int, str] | None = None) -> list[str]:
    """The steps for a terminal; `states`: what is known of the steps, by their index."""
    out: list[str] = []
    for index, step in enumerate(found):
        state = f"   [{states[index]}]" if states and index in states else ""
        inside = "" if step.where == "host" else " (in the container)"
        out.append(f"\n{index + 1}. {step.title}{inside}{state}")
        out += [f"     {command}" for command in step.commands]
        out += _wrapped("expect", step.expect) + (_wrapped("else", step.trouble) if step.trouble else [])
    return out


def data(found: Sequence[Step], states: Mapping[int, str]) -> list[dict[str, Any]]:
    """The steps for `--json`."""
    return [{**asdict(step), "state": states.get(index)} for index, step in enumerate(found)]


def document() -> str:
    """The page: every release's steps on a host like the one its packages are made for."""
    rows = [_row(release) for release in RELEASES]
    parts = [_section(release, release.overlays[0], GENERIC) for release in reversed(RELEASES)]
    return _HEAD + "\n".join(rows) + "\n" + "".join(parts)


def _row(release: Release) -> str:
    overlays = ", ".join(overlay.target for overlay in release.overlays)
    link = "Gen{} x{}".format(*release.link)
    return f"| {release.version} | {release.card.name} | `{release.shell}` | {release.xrt} | {link} | {overlays} |"


def _section(release: Release, overlay: Overlay, host: Host) -> str:
    out = [f"\n## Vitis AI {release.version}\n"]
    if len(release.overlays) > 1:
        out.append(f"For the variant {overlay.target}; `--variant` chooses another.\n")
    for number, step in enumerate(steps(release, overlay, host), 1):
        inside = "" if step.where == "host" else " (in the container)"
        out += [f"### {number}. {step.title}{inside}\n", "```bash", *step.commands, "```", f"\nExpect: {step.expect}\n"]
        if step.trouble:
            out.append(f"Else: {step.trouble}\n")
    return "\n".join(out)


def _wrapped(name: str, text: str) -> list[str]:
    return textwrap.wrap(f"{name}: {text}", 110, initial_indent="   ", subsequent_indent=" " * (len(name) + 5))


if __name__ == "__main__":
    print(document(), end="")
