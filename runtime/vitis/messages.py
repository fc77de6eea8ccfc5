"""What the vendor's runtime says when it fails on a card, and what that means for a user.

Sources: public reports by users of the VCK5000 and its relatives, collected in the project's sheet on them.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from arch.releases import FIRMWARE
from arch.targets import by_fingerprint
from xmodel.errors import UnavailableError, UsageError

RESET = (
    "Reset the card (`xbutil reset --device BDF`) or, better, switch the machine off and on; `unmask card check` then "
    "shows whether it is well. Compile and run with the same release. --device emulator computes without the card."
)
_SHOWN = 3  # lines of the vendor's that an error repeats
_LONGEST = 300  # characters of one of them
_TRACE = re.compile(r"\s*(@|#\d|\*\*\*|PC:|Aborted|Segmentation fault)")


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a line of the runtime's means. `spoils`: what the card computes from then on is not to be trusted."""

    pattern: re.Pattern[str]
    what: Callable[[re.Match[str]], str]
    hint: str
    spoils: bool = False


def _variant(text: str) -> str:
    """A fingerprint with its target's name."""
    try:
        return f"{by_fingerprint(int(text, 16)).name} ({text})"
    except (ValueError, UsageError):
        return text


_DENIED = "permission denied|operation not permitted|EPERM|EACCES"
_NUMBER = "(?:0[xX])?([0-9a-fA-F]{1,16})"
_MEANINGS = (
    Meaning(
        re.compile(r"\bcu[ _]?time-?out|task time-?out", re.IGNORECASE),
        lambda _m: "A compute unit of the card did not answer in time; results from then on cannot be trusted (such "
        "cards were seen to give one and the same output until they were powered off)",
        RESET,
        spoils=True,
    ),
    Meaning(
        re.compile(rf"fingerprint fail.*?model_fingerprint\W+{_NUMBER}.*?dpu_fingerprint\W+{_NUMBER}", re.IGNORECASE),
        lambda m: f"The file is compiled for {_variant('0x' + m[1])} and the card runs {_variant('0x' + m[2])}",
        f"Compile for what the card runs (`unmask compile --backend vitis --target ...`), or name the overlay of the "
        f"file's variant in {FIRMWARE}.",
    ),
    Meaning(
        re.compile(rf"find or create target with fingerprint\W*{_NUMBER}", re.IGNORECASE),
        lambda m: f"This release of the runtime does not know the DPU {_variant('0x' + m[1])}",
        "An engineering sample (ES1 shell) works with Vitis AI 1.4.1 alone, that is XRT 2.11.648 and the target "
        "DPUCVDX8H_ISA1_F2W2; production cards with 2.0 to 3.0.",
    ),
    Meaning(
        re.compile(r"could not acquire cu", re.IGNORECASE),
        lambda _m: "The runtime got no compute unit of the card",
        f"The overlay is not loaded, or another process (or XRM) holds the card: check {FIRMWARE} and who has "
        "/dev/dri/renderD* open (`ls -l /dev/dri`, `fuser -v /dev/dri/renderD*`).",
    ),
    Meaning(
        re.compile(r"cannot open (?:library|shared)|undefined symbol|loading shared libraries", re.IGNORECASE),
        lambda _m: "A library of the runtime's is missing or of another release",
        "Files for the VCK5000 ask for librt-engine.so, which the vendor's container of the same release has: use its "
        "Python, and source its setup script, which also sets LD_LIBRARY_PATH, in every new shell.",
    ),
    Meaning(
        re.compile(rf"(?:{_DENIED}).*render|render.*(?:{_DENIED}|no such)", re.IGNORECASE),
        lambda _m: "The card's device node cannot be used",
        "Give the container the host's nodes (--device /dev/dri --device /dev/xclmgmt...) and the user the group that "
        "owns /dev/dri/renderD*.",
    ),
    Meaning(
        re.compile(r"failed to (?:down)?load xclbin|xclbin.*(?:not found|no such file|invalid)", re.IGNORECASE),
        lambda _m: "The overlay could not be loaded onto the card",
        f"{FIRMWARE} must name an xclbin made for the card's shell; if it does, `dmesg` says more, and flashing the "
        "shell again with a cold boot helps.",
    ),
    Meaning(
        re.compile(r"VART_TENSOR_BUFFER_INVALID"),
        lambda _m: "The runtime refused the batch",
        "Report this with the file: the batch is the one that the runtime itself stated.",
    ),
)  # fmt: skip
_SIGNALS: Mapping[str, str] = {
    "SIGABRT": "The vendor's libraries end the process where they could raise an error.",
    "SIGBUS": "Known with damaged installations and with a card that fell off the bus: try `unmask card check`.",
    "SIGSEGV": "Known with libraries of different releases in one process: use the vendor's container as it is.",
    "SIGKILL": "The system may have run out of memory: use fewer --threads.",
}


def spoils(line: str) -> UnavailableError | None:
    """The error to stop with when the runtime prints `line` and the card cannot be trusted after it."""
    for meaning in _MEANINGS:
        if meaning.spoils and (found := meaning.pattern.search(line)):
            return UnavailableError(f"{meaning.what(found)}.", where=_cut(line), hint=meaning.hint)
    return None


def explained(text: str) -> UnavailableError | None:
    """The error for a text of the runtime's that is known, else None."""
    for meaning in _MEANINGS:
        if found := meaning.pattern.search(text):
            return UnavailableError(f"{meaning.what(found)}.", where=_cut(text), hint=meaning.hint)
    return None


def refused(why: str, lines: Sequence[str] = ()) -> UnavailableError:
    """The error for a call that the vendor's modules refused with the exception `why`, having printed `lines`."""
    for text in (why, *reversed(lines)):
        if error := explained(text):
            return error
    return UnavailableError(
        f"The vendor's runtime refused: {_cut(why).rstrip('.')}.", hint="--device emulator computes without the card."
    )


def hung(seconds: float) -> UnavailableError:
    """The error for a job that was ended after `seconds`."""
    return UnavailableError(f"A job on the card gave no result for {seconds:g} s and was ended.", hint=RESET)


def ended(code: int, lines: Sequence[str], limit: float) -> UnavailableError:
    """The error for a worker that ended by itself with exit `code` (negative: a signal) after printing `lines`.

    What it printed explains best; then how it ended.
    """
    name = _signal(-code) if code < 0 else ""
    if name == "SIGALRM":
        return hung(limit)
    how = f"crashed ({name})" if name else f"ended with exit code {code}"
    for line in reversed(lines):
        if error := explained(line):
            return UnavailableError(
                f"{error.what[:-1]}; the vendor's runtime {how}.", where=error.where, hint=error.hint
            )
    said = [_cut(line) for line in lines if line.strip() and not _TRACE.match(line)][-_SHOWN:]
    last = f"it last said: {' | '.join(said)}" if said else "it said nothing"
    hint = f"{_SIGNALS.get(name, '')} --device emulator computes without the card.".strip()
    return UnavailableError(f"The vendor's runtime {how}; {last.rstrip('.')}.", hint=hint)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _cut(line: str) -> str:
    line = " ".join(line.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."
