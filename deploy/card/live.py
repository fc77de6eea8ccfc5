"""The card of this machine: runs the tools and keeps what they said, in the form in which it can be saved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain

from deploy.card.evidence import facts_of, from_files
from deploy.card.facts import Evidence, Fact, PciFunction, Shell, gathered, normal_bdf, slot_of
from deploy.card.machine import SAVED_AS, Machine
from deploy.card.tools import EXAMINE, VALIDATE, Answer, Tools

Files = dict[str, bytes]
Say = Callable[[str], None]
# One command each: a report that one release does not know does not take the others with it.
REPORTS = (
    "platform", "thermal", "electrical", "pcie-info", "firewall", "memory", "mechanical", "dynamic-regions",
)  # fmt: skip
SENSORS = ("thermal", "electrical", "pcie-info", "platform")
_ROUNDS = 3  # times that the full check loads link and memory again, and looks at the temperatures after it


class Depth(StrEnum):
    """How much is run on the card."""

    QUICK = "quick"
    NORMAL = "normal"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Machinery:
    """This machine and its tools; tests put others in their place."""

    machine: Machine
    tools: Tools

    @staticmethod
    def here() -> Machinery:
        """The real ones."""
        return Machinery(Machine(), Tools.here())


@dataclass(frozen=True, slots=True)
class Readout:
    """What was run, as files, and the evidence in them together with what only a live machine shows."""

    files: Files
    evidence: Evidence
    missing: tuple[str, ...] = ()  # tools that are not installed


def identify(here: Machinery) -> Readout:
    """Which cards there are and what they run: fast, and changes nothing on the card."""
    files: Files = {SAVED_AS: here.machine.lspci()}
    missing = [name for name in ("xbutil", "xbmgmt") if here.tools.find(name) is None]
    _keep(files, "lspci", here.tools.ask("lspci", ("-vvnn", "-D", "-d", "10ee:"), json=False))
    _keep(files, "xbutil-examine", here.tools.ask("xbutil", ("examine",)))
    for bdf in users(from_files(files.items())):
        _keep(files, f"platform-{_name(bdf)}", _examine(here, bdf, "platform"))
    return Readout(files, _evidence(files, here), tuple(missing))


def read(here: Machinery, depth: Depth, device: str | None, say: Say = lambda _: None) -> Readout:
    """Run everything that `depth` asks for on every card, or on `device` alone."""
    first = identify(here)
    files = dict(first.files)
    for bdf in users(first.evidence, device):
        reports = ((report, _examine(here, bdf, report)) for report in REPORTS[1:])
        loads = ((f"{label}-{n}", answer) for n, (label, answer) in enumerate(_loads(here, bdf, depth, say)))
        for label, answer in chain(reports, loads):
            _keep(files, f"{label}-{_name(bdf)}", answer)
            if answer is not None and answer.problem:
                say(f"{bdf}: xbutil {answer.problem}; the rest is left out.")
                break  # a hung driver hangs every command, each for its whole time
    for bdf in managers(first.evidence, device):
        arguments = ("examine", "--device", bdf, "--report", "platform")
        _keep(files, f"xbmgmt-platform-{_name(bdf)}", here.tools.ask("xbmgmt", arguments))
    return Readout(files, _evidence(files, here), first.missing)


def sample(here: Machinery, bdf: str) -> list[Fact]:
    """The sensors of one card, now."""
    files: Files = {}
    for report in SENSORS:
        _keep(files, report, _examine(here, bdf, report))
    return [fact for name, data in files.items() for fact in facts_of(data, name)]


def _loads(here: Machinery, bdf: str, depth: Depth, say: Say) -> Iterator[tuple[str, Answer | None]]:
    """The validate runs of this depth; each is one command, so that a later one runs although an earlier one failed."""
    if depth is Depth.QUICK:
        return
    say(f"{bdf}: xbutil validate; this takes some minutes.")
    yield "validate", _validate(here, bdf)
    if depth is Depth.FULL:
        for test in ("aie-pl", "bist"):
            say(f"{bdf}: xbutil validate --run {test}")
            yield f"validate-{test}", _validate(here, bdf, test)
        for turn in range(_ROUNDS):
            say(f"{bdf}: link and memory under load, round {turn + 1} of {_ROUNDS}")
            yield f"soak-{turn}", _validate(here, bdf, "dma", "mem-bw")
            yield f"soak-{turn}-thermal", _examine(here, bdf, "thermal")
            yield f"soak-{turn}-electrical", _examine(here, bdf, "electrical")


def _validate(here: Machinery, bdf: str, *tests: str) -> Answer | None:
    chosen = ("--run", *tests) if tests else ()
    return here.tools.ask("xbutil", ("validate", "--device", bdf, *chosen, "--verbose"), VALIDATE)


def _examine(here: Machinery, bdf: str, report: str) -> Answer | None:
    return here.tools.ask("xbutil", ("examine", "--device", bdf, "--report", report), EXAMINE)


def users(evidence: Evidence, device: str | None = None) -> tuple[str, ...]:
    """The user functions, which xbutil wants; of the card that `device` names alone when it is given."""
    return _functions(evidence, "xbutil examine", "1", device)


def managers(evidence: Evidence, device: str | None = None) -> tuple[str, ...]:
    """The management functions, which xbmgmt wants."""
    return _functions(evidence, "xbmgmt examine", "0", device)


def _functions(evidence: Evidence, tool: str, function: str, device: str | None) -> tuple[str, ...]:
    wanted = slot_of(normal_bdf(device)) if device else None
    listed = [s.bdf for s in evidence.all(Shell) if s.source.tool == tool and s.bdf.endswith(f".{function}")]
    driver = "xocl" if function == "1" else "xclmgmt"
    listed += [f.bdf for f in evidence.all(PciFunction) if f.driver == driver]
    return tuple(bdf for bdf in dict.fromkeys(listed) if wanted in (None, slot_of(bdf)))


def _keep(files: Files, name: str, answer: Answer | None) -> None:
    if answer is not None:
        files[f"{name}.txt"] = answer.text
        if answer.report:
            files[f"{name}.json"] = answer.report


def _name(bdf: str) -> str:
    return bdf.replace(":", "-")


def _evidence(files: Files, here: Machinery) -> Evidence:
    saved = from_files(files.items())
    return gathered((*saved.facts, *here.machine.nodes()), saved.files, saved.unrecognised)
