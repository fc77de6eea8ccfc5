"""Do a compiled file, the card's shell, its overlay and the runtime belong together: asked before anything runs.

Sources: the vendor's matrix of releases and what users of mixed ones report, in the project's sheets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from arch.releases import (
    ES1,
    FIRMWARE,
    LAST,
    RELEASES,
    OverlayName,
    Release,
    by_version,
    card_of_shell,
    compiler_version,
    read_overlay_name,
)
from arch.targets import Target, by_fingerprint, find
from runtime.vitis.machine import Machine
from xmodel.errors import UnavailableError, UsageError
from xmodel.graph import Graph, Subgraph

FAMILY = "DPUCVDX8H"  # the design that the VCK5000 runs
_EMULATOR = "--device emulator runs the file without a card."


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not fit; `refuses`: the card cannot be used, otherwise it may go wrong."""

    refuses: bool
    what: str
    hint: str

    def __str__(self) -> str:
        return f"{self.what} {self.hint}".strip()


def demand(findings: Sequence[Finding]) -> tuple[str, ...]:
    """Raise `UnavailableError` with everything that refuses; else the warnings."""
    refusals = [finding for finding in findings if finding.refuses]
    if refusals:
        hints = dict.fromkeys(finding.hint for finding in refusals if finding.hint)
        what = " ".join(finding.what for finding in refusals)
        raise UnavailableError(f"The card cannot be used: {what}", hint=" ".join((*hints, _EMULATOR)))
    return tuple(map(str, findings))


def preflight(graph: Graph, machine: Machine, runtime: str | None) -> tuple[Finding, ...]:
    """All findings for the compiled `graph` on `machine`, under a runtime of version `runtime` ("2.5.0", None: not
    known). In order: the card, the file, the overlay, the shell, the releases."""
    parts = [child for child in (graph.root.children if graph.root else ()) if child.get("device") == "DPU"]
    findings = [*_card(machine), *_file(graph, parts)]
    target = _target(parts)
    if target is None or target.type != FAMILY:
        return tuple(findings) if any(f.refuses for f in findings) else (*findings, _other_card(parts, target))
    overlay = read_overlay_name(machine.firmware.name) if machine.firmware else None
    findings += [*_overlay(target, machine, overlay), *_shell(target, machine, overlay)]
    return (*findings, *_releases(graph, machine, overlay, runtime))


def _card(machine: Machine) -> Iterator[Finding]:
    if not machine.has_card:
        yield Finding(True, "There is no VCK5000 in this machine.", "`unmask card check` looks closer.")
    elif not machine.nodes and machine.closed:
        yield Finding(
            True,
            f"The card's node {machine.closed[0]} cannot be opened.",
            "Start the container with --device /dev/dri (and /dev/xclmgmt*), and join the group that owns the node.",
        )
    elif not machine.nodes:
        yield Finding(
            True,
            f"The card ({machine.cards[0]}) has no node in /dev/dri.",
            "Load XRT's driver on the host (`modprobe xocl`); `dmesg` says why it does not take the card.",
        )


def _file(graph: Graph, parts: Sequence[Subgraph]) -> Iterator[Finding]:
    if not parts:
        yield Finding(True, f"Nothing of {graph.name!r} is compiled for a DPU.", recompile(None))
        return
    if any(not part.get("mc_code") for part in parts):
        yield Finding(
            True,
            f"{graph.name!r} holds no machine code: Unmask compiled it, for the emulator.",
            recompile(_target(parts)),
        )
    if len({part.get("dpu_fingerprint") for part in parts}) > 1:
        yield Finding(True, f"The DPU subgraphs of {graph.name!r} are for different DPUs.", recompile(None))


def _target(parts: Sequence[Subgraph]) -> Target | None:
    fingerprint = parts[0].get("dpu_fingerprint") if parts else None
    try:
        return by_fingerprint(fingerprint) if isinstance(fingerprint, int) else None
    except UsageError:
        return None


def _other_card(parts: Sequence[Subgraph], target: Target | None) -> Finding:
    fingerprint = parts[0].get("dpu_fingerprint")
    known = f"0x{fingerprint:016x}" if isinstance(fingerprint, int) else "none"
    name = f"{target.name}, a DPU of the {target.card}" if target else f"an unknown DPU (fingerprint {known})"
    return Finding(True, f"The file is compiled for {name}; the VCK5000's are {FAMILY}.", recompile(None))


def recompile(target: Target | None) -> str:
    """How to make a file for `target` (None: the usual one) with the vendor's compiler."""
    if target is None or target.folder is None:
        return "Compile the quantized file with the vendor's compiler: `unmask compile --backend vitis`."
    return (
        f"Compile the quantized file with the vendor's compiler: `unmask compile --backend vitis --target {target.name}"
        f"`, or in its container `vai_c_xir -x X_int.xmodel -a /opt/vitis_ai/compiler/arch/{target.type}/"
        f"{target.folder}/arch.json -o compiled -n X`."
    )


def _overlay(target: Target, machine: Machine, overlay: OverlayName | None) -> Iterator[Finding]:
    firmware = machine.firmware
    if firmware is None:
        yield Finding(True, f"{FIRMWARE} does not name an overlay (xclbin).", _name_overlay(target, machine))
    elif not firmware.is_file():
        yield Finding(True, f"{FIRMWARE} names {firmware}, which is no file here.", _name_overlay(target, machine))
    elif overlay is None or overlay.target is None:
        yield Finding(
            False, f"The name of the overlay {firmware.name} does not tell its DPU, which was not compared.", ""
        )
    elif overlay.target != target.name:
        other = find(overlay.target)
        yield Finding(
            True,
            f"The file is compiled for {target.name} (fingerprint {target.fingerprint_text}), the overlay "
            f"{firmware.name} holds {other.name} (fingerprint {other.fingerprint_text}).",
            f"{_name_overlay(target, machine)} Or keep the overlay: {recompile(other)}",
        )
    if machine.unchecked:
        yield Finding(
            False,
            "XLNX_ENABLE_FINGERPRINT_CHECK=0 keeps the runtime from comparing the file with what the card runs.",
            "Unset it.",
        )


def _name_overlay(target: Target, machine: Machine) -> str:
    """Which files the variable may name."""
    releases = [r for r in RELEASES if r.overlay(target.name) and (not machine.shells or r.shell in machine.shells)]
    files = {r.version: str(o.file) for r in releases if (o := r.overlay(target.name))}
    if not files:
        return f"No release has an overlay of {target.name} for the shell {' or '.join(machine.shells)}."
    listed = "; ".join(f"{file} (Vitis AI {version})" for version, file in files.items())
    return f"Set {FIRMWARE} to the variant's file: {listed}."


def _shell(target: Target, machine: Machine, overlay: OverlayName | None) -> Iterator[Finding]:
    if not machine.shells:
        if machine.has_card:
            yield Finding(False, "`xbutil examine` does not tell the card's shell, which was not compared.", "")
        return
    told = " and ".join(machine.shells)
    cards = {card_of_shell(shell) for shell in machine.shells}
    if cards == {ES1} and LAST[ES1.name] not in {r.version for r in RELEASES if r.overlay(target.name)}:
        release = next(r for r in RELEASES if r.card == ES1)
        yield Finding(
            True,
            f"The card is an engineering sample (shell {told}); it runs {release.overlays[0].target} of Vitis AI "
            f"{release.version} alone, and the file is for {target.name}.",
            f"Use Vitis AI {release.version} ({release.image[0]}:{release.image[1]}*) with XRT {release.xrt_build}, "
            f"and compile for {release.overlays[0].target} there.",
        )
    elif overlay is not None and overlay.shell not in machine.shells:
        right = [r for r in RELEASES if r.shell == overlay.shell]
        yield Finding(
            True,
            f"The overlay is made for the shell {overlay.shell}; the card has {told}.",
            f"{_name_overlay(target, machine)} Or flash the shell of Vitis AI {_versions(right)} "
            "(`unmask card setup` tells how).",
        )


def _releases(graph: Graph, machine: Machine, overlay: OverlayName | None, runtime: str | None) -> Iterator[Finding]:
    """The compiler's release against the runtime's, the overlay's and the shell's."""
    version = compiler_version(graph.get("libs_info"))
    if version is None:
        yield Finding(False, "The file does not say which compiler made it; its release was not compared.", "")
        return
    compiled = by_version(version)
    here: list[tuple[str, Sequence[Release]]] = []
    if runtime is not None:
        here.append(("the runtime here", [r for r in RELEASES if r == by_version(runtime)]))
    if overlay is not None and machine.firmware is not None:
        name = machine.firmware.name
        made = [r for r in RELEASES if any(PurePosixPath(o.path).name == name for o in r.overlays)]
        here.append((f"the overlay {name}", made))
    if machine.shells:
        here.append((f"the shell {machine.shells[0]}", [r for r in RELEASES if r.shell in machine.shells]))
    for what, releases in here:
        if releases and compiled not in releases:
            yield Finding(
                False,
                f"The file was compiled by release {version}, and {what} is of Vitis AI {_versions(releases)}: such "
                "pairs were seen to time out and then to give wrong results.",
                f"Compile it again with Vitis AI {_versions(releases)}.",
            )
            return


def _versions(releases: Sequence[Release]) -> str:
    return " or ".join(release.version for release in releases)
