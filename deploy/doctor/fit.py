"""Which release of Vitis AI fits a situation, and what does not agree with it: pure functions of `Situation`.

The symptoms are those that users reported for the VCK5000 (issues 263, 405, 734, 858 and 931 of the vendor's
repository, and its setup notes).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from arch.releases import ES1, FIRMWARE, LAST, PRODUCTION, RELEASES, Card, Release, by_version, read_overlay_name
from arch.targets import find
from deploy.doctor.situation import Situation
from xmodel.errors import UsageError

Grade = Literal["wrong", "unwise"]
_TARGETS = {overlay.target for release in RELEASES for overlay in release.overlays}


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Two things that do not fit: what was `found`, what is `needed`, the `symptom` that it shows, the `command` or
    other remedy. "wrong": it does not run or its results cannot be trusted; "unwise": it may."""

    what: str
    found: str
    needed: str
    symptom: str
    remedy: str
    grade: Grade = "wrong"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The one `release` and DPU `variant` that fit best (None: no VCK5000 in it), why, and what disagrees."""

    release: Release | None
    variant: str | None
    why: str
    mismatches: tuple[Mismatch, ...]

    @property
    def fits(self) -> bool:
        """Nothing is wrong."""
        return all(mismatch.grade != "wrong" for mismatch in self.mismatches)


def judge(situation: Situation) -> Verdict:
    """The release that needs the least to be changed, and each mismatch with it.

    A shell is dearest to change (a flash and a reboot); then come the variants that there are overlays of, the
    container, XRT, the model, which is only compiled anew, and the overlay that is set. Among equals the youngest
    release wins.
    """
    model = situation.model
    if model is not None and model.targets and not set(model.targets) & _TARGETS and situation.card is None:
        return Verdict(None, None, f"{model.file} is for {model.targets[0]}, which is no VCK5000.", ())
    card, known_by = _card(situation)
    release = max((r for r in RELEASES if r.card == card), key=lambda r: _score(r, situation))
    variant = _variant(situation, release)
    found = [
        *_of_card(situation, release), *_of_software(situation, release), *_of_overlay(situation, release, variant),
        *_of_model(situation, release, variant), *_of_library(situation),
    ]  # fmt: skip
    return Verdict(release, variant, _why(situation, release, known_by), tuple(found))


def _card(situation: Situation) -> tuple[Card, str]:
    if situation.card is not None:
        return situation.card.card, "the card"
    named = read_overlay_name(situation.overlay.path) if situation.overlay else None
    if named is not None:
        return (ES1 if "es1" in named.shell else PRODUCTION), FIRMWARE
    if situation.model is not None and any(find(name).card == ES1.name for name in _known(situation)):
        return ES1, "the model"
    return PRODUCTION, "the model" if _known(situation) else ""


def _known(situation: Situation) -> tuple[str, ...]:
    return tuple(name for name in situation.model.targets if name in _TARGETS) if situation.model else ()


def _score(release: Release, situation: Situation) -> tuple[int, ...]:
    shell = situation.card.shell if situation.card else None
    named = read_overlay_name(situation.overlay.path) if situation.overlay else None
    compiled = situation.model.compiler if situation.model else None
    path = situation.overlay.path if situation.overlay else ""
    agree = (
        (8, shell == release.shell),
        (6, not _known(situation) or all(release.overlay(name) for name in _known(situation))),
        (3, compiled is not None and by_version(compiled) == release),
        (3, situation.xrt == release.xrt_build),
        (4, situation.container is not None and situation.container.startswith(release.image[1])),
        (1, named is not None and named.shell == release.shell),
        (2, any(path.endswith(overlay.path) for overlay in release.overlays)),
    )
    return sum(weight for weight, holds in agree if holds), RELEASES.index(release)


def _variant(situation: Situation, release: Release) -> str:
    """The model's, else the overlay's, else the release's first."""
    for name in _known(situation):
        if release.overlay(name):
            return name
    named = read_overlay_name(situation.overlay.path) if situation.overlay else None
    if named is not None and named.target and release.overlay(named.target):
        return named.target
    return release.overlays[0].target


def _why(situation: Situation, release: Release, known_by: str) -> str:
    compiled = by_version(situation.model.compiler or "") if situation.model else None
    agreeing = [
        name
        for name, holds in (
            ("the card's shell", situation.card is not None and situation.card.shell == release.shell),
            ("XRT", situation.xrt == release.xrt_build),
            ("the model's compiler", compiled == release),
        )
        if holds
    ]
    if agreeing:
        listed = " and ".join(agreeing)
        return f"{listed[0].upper()}{listed[1:]} {'is' if len(agreeing) == 1 else 'are'} of this release."
    if not known_by:
        return f"It is the last release for the {PRODUCTION.name}; nothing here asks for an earlier one."
    last = " the last one" if LAST[release.card.name] == release.version else " one"
    return f"By {known_by}, this is a {release.card.name}; of its releases this is{last} that fits."


def _of_card(situation: Situation, release: Release) -> Iterator[Mismatch]:
    state = situation.card
    if state is None:
        return
    flash = " && ".join(f"sudo {command.format(bdf=state.function or '<BDF>')}" for command in release.flash)
    reboot = "shut down, wait and power on" if release.reboot == "cold" else "reboot"
    remedy = f"{flash}; then {reboot}"
    if state.golden:
        yield Mismatch(
            "shell", f"the factory (golden) image {state.shell or ''}".strip(), release.shell,
            "Device Ready is No and the satellite controller INACTIVE; no program can use the card.", remedy,
        )  # fmt: skip
    elif state.shell is not None and state.shell != release.shell:
        yield Mismatch(
            "shell", state.shell, release.shell,
            "xbutil validate fails at its verify test (Failed to download xclbin), or the overlay cannot be loaded.",
            remedy,
        )  # fmt: skip
    if release.satellite and state.satellite and not f"{release.satellite}.".startswith(f"{state.satellite}."):
        yield Mismatch(
            "satellite controller", state.satellite, release.satellite,
            "xbutil validate warns of its firmware; sensors may read wrong.", remedy, "unwise",
        )  # fmt: skip
    if state.link is not None and _speed(state.link) < _speed(release.link) and not state.golden:
        yield Mismatch(
            "PCIe link", "Gen{} x{}".format(*state.link), "Gen{} x{}".format(*release.link),
            "xbutil validate says PASSED WITH WARNINGS; the bandwidth is lower, and with it the frames a second.",
            "Seat the card in a slot that has the lanes, and look for its speed in the BIOS.", "unwise",
        )  # fmt: skip


def _of_software(situation: Situation, release: Release) -> Iterator[Mismatch]:
    if situation.xrt is not None and situation.xrt != release.xrt_build:
        yield Mismatch(
            "XRT", situation.xrt, release.xrt_build,
            "Error: Could not acquire CU, or drivers and shell do not know each other.",
            f"Install XRT {release.xrt} (`unmask card setup --release {release.version} --dry-run`).",
            "wrong" if situation.card is not None else "unwise",
        )  # fmt: skip
    elif situation.xrt is None and situation.card is not None and situation.here:
        yield Mismatch(
            "XRT", "not installed", release.xrt_build, "No tool and no runtime can reach the card.",
            f"Install XRT {release.xrt} (`unmask card setup --release {release.version} --dry-run`).",
        )  # fmt: skip
    container = situation.container
    if container is not None and not container.startswith(release.image[1]):
        symptom = "CHECK fingerprint fail, or cannot find or create target with fingerprint=0x0501000000000fee."
        if release.card == PRODUCTION:
            symptom = "CU timeout, after which all results are the same until the card is powered off."
        yield Mismatch(
            "container", container, f"{release.image[0]}:{release.image[1]}*", symptom,
            f"docker run … {release.image[0]} with a tag that begins with {release.image[1]}",
        )  # fmt: skip
    if situation.unchecked:
        yield Mismatch(
            "fingerprint check", "XLNX_ENABLE_FINGERPRINT_CHECK=0", "the check switched on",
            "A model for another DPU variant is run instead of refused; its results are wrong.",
            "unset XLNX_ENABLE_FINGERPRINT_CHECK", "unwise",
        )  # fmt: skip


def _of_overlay(situation: Situation, release: Release, variant: str) -> Iterator[Mismatch]:
    needed = release.overlay(variant)
    assert needed is not None  # `_variant` chose among the release's
    export = f"export {FIRMWARE}={needed.file}"
    if situation.overlay is None:
        if situation.card is not None and situation.here:
            yield Mismatch(
                FIRMWARE, "not set", str(needed.file), "Error: Could not acquire CU, or the runner is not made.", export
            )
        return
    path, named = situation.overlay.path, read_overlay_name(situation.overlay.path)
    if situation.overlay.exists is False:
        remedy = f"Install {release.package} and {export}" if str(needed.file) not in situation.installed else export
        yield Mismatch(FIRMWARE, f"{path}, which is not there", str(needed.file), "The runner is not made.", remedy)
    elif named is None:
        yield Mismatch(
            FIRMWARE, path, str(needed.file), "Its name does not say what is in it, so nothing vouches for it.",
            export, "unwise",
        )  # fmt: skip
    elif named.shell != release.shell:
        yield Mismatch(
            FIRMWARE, f"for the shell {named.shell}", f"for {release.shell}",
            "The overlay cannot be loaded: Error: Could not acquire CU.", export,
        )  # fmt: skip
    elif named.target is not None and named.target != variant:
        yield Mismatch(
            FIRMWARE, f"{named.target} {_fingerprint(named.target)}", f"{variant} {_fingerprint(variant)}",
            "CHECK fingerprint fail! model_fingerprint … dpu_fingerprint …",
            f"{export}, or compile again: {_compile(named.target)}",
        )  # fmt: skip


def _of_model(situation: Situation, release: Release, target: str) -> Iterator[Mismatch]:
    model = situation.model
    if model is None:
        return
    if not model.targets:
        yield Mismatch(
            "model", f"{model.file} is {model.kind}, with no part for a DPU", "a compiled file",
            "There is no DPU subgraph to make a runner of.", _compile(target, model.file), "unwise",
        )  # fmt: skip
        return
    for name in model.targets:
        if release.overlay(name) is None:
            yield Mismatch(
                "model", f"for {name}", " or ".join(overlay.target for overlay in release.overlays),
                "CHECK fingerprint fail, or cannot find or create target with fingerprint=…", _compile(target),
            )  # fmt: skip
    if not model.code:
        yield Mismatch(
            "model", f"{model.file} holds no machine code: Unmask's own compiler made it, for the emulator",
            "machine code, for the card", "The card's runtime has nothing to load; the emulator runs it.",
            _compile(target), "wrong" if situation.card is not None else "unwise",
        )  # fmt: skip
    elif model.compiler is not None and by_version(model.compiler) != release:
        yield Mismatch(
            "model's compiler", f"Vitis AI {model.compiler}", f"Vitis AI {release.version}",
            "CU timeout, after which all results are the same until the card is powered off.",
            f"Compile it again inside the container of {release.version}: {_compile(target)}",
        )  # fmt: skip


def _of_library(situation: Situation) -> Iterator[Mismatch]:
    library = situation.library
    if library is not None and library.path is None and situation.card is not None:
        yield Mismatch(
            "runtime library", f"{library.name} is in none of {', '.join(library.searched)}", library.name,
            f"cannot open library '{library.name}'",
            "Run inside the vendor's container, whose packages vart and rt-engine bring it, or set LD_LIBRARY_PATH.",
        )  # fmt: skip


def _speed(link: tuple[int, int]) -> int:
    """Each PCIe generation doubles a lane's rate."""
    return link[1] << link[0]


def _compile(target: str, source: str = "build/quantize") -> str:
    return f"unmask compile {source} --target {target} --backend vitis"


def _fingerprint(target: str) -> str:
    try:
        return f"({find(target).fingerprint_text})"
    except UsageError:
        return ""
