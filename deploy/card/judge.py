"""The judgement: all checks of all cards, and one exit code. Healthy is only what has shown it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from arch.releases import RELEASES
from deploy.card import checks_card, checks_machine, checks_sensors, checks_validate
from deploy.card.facts import UNNAMED, Evidence, PciFunction, Report, Unreadable, normal_bdf, slot_of
from deploy.card.known import CardFacts, card
from deploy.card.live import Depth
from deploy.card.verdict import BAD, Case, Check, Status
from xmodel.errors import ExitCode, GateError, UnavailableError

_FOUR = ("thermals", "electrical", "platform", "pcie")  # what a report of everything has
SAVE = "Give a folder that `unmask card check --save FOLDER` wrote on the machine with the card."
EMULATOR = "Without a card everything else runs on the emulator: `unmask infer --device emulator`."


@dataclass(frozen=True, slots=True)
class CardVerdict:
    """One card with its checks."""

    card: CardFacts
    checks: tuple[Check, ...]

    @property
    def healthy(self) -> bool:
        """Has no check failed?"""
        return not any(check.status in BAD for check in self.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.status in BAD)

    @property
    def warnings(self) -> tuple[Check, ...]:
        """The checks with a warning."""
        return tuple(check for check in self.checks if check.status is Status.WARNING)

    @property
    def unseen(self) -> tuple[Check, ...]:
        """What was not looked at, or told by nothing."""
        return tuple(check for check in self.checks if check.status is Status.SKIPPED)


@dataclass(frozen=True, slots=True)
class Judgement:
    """The machine's checks, the cards', and the exit code. `depth` and `live`: what was looked at."""

    machine: tuple[Check, ...]
    cards: tuple[CardVerdict, ...]
    exit_code: ExitCode
    depth: Depth
    live: bool
    unrecognised: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The judgement in a sentence."""
        if self.exit_code is ExitCode.ENVIRONMENT:
            bad = [c for c in self.machine if c.status in BAD]
            why = "; ".join(c.measured.rstrip(".") for c in bad) or "nothing here shows a VCK5000"
            return f"No usable card: {why}."
        unhealthy = [v for v in self.cards if not v.healthy]
        if self.exit_code is ExitCode.GATE:
            names = "; ".join(f"{v.card.slot}: {', '.join(c.name for c in v.failed)}" for v in unhealthy)
            own = ", ".join(c.name for c in self.machine if c.status in BAD)
            return f"Not healthy: {'; '.join(part for part in (own, names) if part)}."
        warnings = sum(len(v.warnings) for v in self.cards)
        said = f"{len(self.cards)} card{'s' if len(self.cards) != 1 else ''} healthy"
        if self.depth is Depth.QUICK:
            said = "No fault found by the quick check, which leaves out `validate`: not yet a proof of health"
        return f"{said}{f', {warnings} warning' + 's' * (warnings != 1) if warnings else ''}."

    def data(self) -> dict[str, Any]:
        """The judgement for `--json`."""
        return {
            "healthy": self.exit_code is ExitCode.DONE, "exit": int(self.exit_code), "verdict": self.sentence,
            "depth": str(self.depth), "live": self.live, "machine": [check.data() for check in self.machine],
            "cards": [_data(verdict) for verdict in self.cards], "unrecognised": list(self.unrecognised),
        }  # fmt: skip


def _data(verdict: CardVerdict) -> dict[str, Any]:
    facts = verdict.card
    return {
        "bdf": facts.user or facts.management or facts.slot, "shell": facts.vbnv, "kind": facts.kind,
        "satellite": facts.sc, "healthy": verdict.healthy, "checks": [check.data() for check in verdict.checks],
    }  # fmt: skip


def judged(
    evidence: Evidence,
    depth: Depth = Depth.NORMAL,
    live: bool = False,
    missing: tuple[str, ...] = (),
    device: str | None = None,
) -> Judgement:
    """Judge every card in the evidence, or the one that `device` names. `missing`: tools that are not installed.

    Raises `UnavailableError` when there is no such device.
    """
    tools, readable = checks_machine.tools(evidence, missing, live), checks_machine.readable(evidence)
    cards = cards_of(evidence, device)
    verdicts = tuple(_verdict(Case(evidence, facts, depth, live)) for facts in cards)
    code = _exit_code(evidence, tools, readable, verdicts)
    machine = (tools, readable) if cards else (checks_machine.bus(evidence), tools, readable)
    return Judgement(machine, verdicts, code, depth, live, evidence.unrecognised)


def cards_of(evidence: Evidence, device: str | None) -> list[CardFacts]:
    """The VCK5000s, and what may be one; other cards only when there is nothing else. `device` picks one of them.

    Raises `UnavailableError` when there are cards and `device` is none of them.
    """
    found = [card(evidence, slot) for slot in evidence.slots]
    cards = [facts for facts in found if facts.kind != "other"] or found
    if device is None or not cards:
        return cards
    slot = slot_of(normal_bdf(device)) or device
    picked = [facts for facts in cards if facts.slot in (slot, UNNAMED)]
    if not picked:
        there = ", ".join(facts.slot for facts in cards)
        raise UnavailableError(f"There is no card {device!r} here.", hint=f"--device takes one of: {there}.")
    return picked


def _verdict(case: Case) -> CardVerdict:
    layers = (checks_machine, checks_card, checks_sensors, checks_validate)
    checks = [check for layer in layers for check in layer.of_card(case)]
    return CardVerdict(case.card, (*checks, *_incomplete(case)))


def _incomplete(case: Case) -> list[Check]:
    """A file that holds all but one of the four reports has lost it, and with it perhaps the bad news."""
    by_file: dict[tuple[str, str], set[str]] = {}
    for report in case.evidence.all(Report, case.slot):
        by_file.setdefault((report.source.file, report.source.form), set()).add(report.part)
    found = []
    for (file, _), parts in by_file.items():
        absent = [part for part in _FOUR if part not in parts]
        if len(absent) == 1:
            said = f"{file} has every report but {absent[0]}"
            advice = "Run `xbutil examine --report all` again."
            found.append(Check("Complete report", "card", Status.FAILED, said, ", ".join(_FOUR), advice, (file,)))
    return found


def _exit_code(evidence: Evidence, tools: Check, readable: Check, cards: Sequence[CardVerdict]) -> ExitCode:
    if not cards:
        return ExitCode.GATE if evidence.all(Unreadable) else ExitCode.ENVIRONMENT
    if tools.status in BAD or (_only_other(evidence, cards) and tools.status is not Status.OK):
        return ExitCode.ENVIRONMENT
    healthy = all(verdict.healthy for verdict in cards) and readable.status not in BAD
    return ExitCode.DONE if healthy else ExitCode.GATE


def _only_other(evidence: Evidence, cards: Sequence[CardVerdict]) -> bool:
    return bool(evidence.all(PciFunction)) and all(verdict.card.kind == "other" for verdict in cards)


def demand(judgement: Judgement, packages: str = "apt-get") -> None:
    """Raise for anything but health: `GateError` when a check failed, `UnavailableError` without card or tools."""
    if judgement.exit_code is ExitCode.GATE:
        worst = [c for v in judgement.cards for c in v.failed] + [c for c in judgement.machine if c.status in BAD]
        advice = dict.fromkeys(check.advice for check in worst[:4] if check.advice)
        raise GateError(judgement.sentence, hint=" ".join(advice))
    if judgement.exit_code is ExitCode.ENVIRONMENT:
        silent = not (judgement.live or any(check.status in BAD for check in judgement.machine))
        hint = "\n    ".join((SAVE if silent else checks_machine.RESEAT, *installation(packages), EMULATOR))
        raise UnavailableError(judgement.sentence, hint=hint)


def installation(packages: str) -> list[str]:
    """Which commands install the tools, for the last release of each kind of card."""
    suffix = "deb" if packages == "apt-get" else "rpm"
    last = {release.card.name: release for release in RELEASES}
    return [
        f"{name} with Vitis AI {r.version}: `sudo {packages} install ./xrt_{r.xrt}_*.{suffix}` (AMD's package); "
        f"all steps: `unmask card setup --release {r.version}`."
        for name, r in last.items()
    ]
