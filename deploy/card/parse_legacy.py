"""Text of the legacy `xbutil validate` (up to 2020.x, and `--legacy`): `INFO: == X test PASSED`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from deploy.card.facts import Era, Fact, Outcome, Shell, Source, Trial, Unreadable, Validation
from deploy.card.testnames import canonical, outcome

_CARD = re.compile(r"^\s*INFO:\s*Validating card\[(\d{1,3})\]:\s*(\S*)", re.IGNORECASE)
_FOUND = re.compile(r"^\s*INFO:\s*Found (\d{1,3}) cards?\b", re.IGNORECASE)
_START = re.compile(r"^\s*INFO:\s*== Starting (.{1,80}?):?\s*$", re.IGNORECASE)
_RESULT = re.compile(
    r"^\s*[A-Z]{3,8}:\s*== (.{1,80}?) (PASSED with warnings?|PASSED|FAILED|SKIPPED)[\s.]*$", re.IGNORECASE
)
_ENDED = re.compile(r"^\s*[A-Z]{3,8}:\s*Card\[(\d{1,3})\]\s+(validated successfully|failed to validate)", re.IGNORECASE)
_ALL = re.compile(r"^\s*[A-Z]{3,8}:\s*(All cards validated successfully|Some cards failed to validate)", re.IGNORECASE)


@dataclass(slots=True)
class _Card:
    number: str
    vbnv: str
    passed: bool | None = None
    tests: dict[str, tuple[Outcome, list[tuple[str, str]]]] = field(default_factory=dict)


def facts_of(lines: Sequence[str], file: str) -> list[Fact]:
    """Every card's run with its tests; [] when the text holds none. Cards have numbers here, and no address."""
    source, cards = Source(file, "xbutil validate", era=Era.LEGACY), _cards(lines)
    numbers, found = {card.number for card in cards}, list[Fact]()
    for card in cards:
        bdf = f"card[{card.number}]" if len(numbers) > 1 else ""
        found.append(Shell(source, bdf, card.vbnv))
        found.append(Validation(source, bdf, card.vbnv, card.passed, len(card.tests)))
        for name, (ended, log) in card.tests.items():
            found.append(Trial(source, bdf, canonical(name), name, ended, tuple(log)))
    promised = max((int(m[1]) for line in lines if (m := _FOUND.match(line))), default=0)
    if promised > len(numbers):
        found.append(Unreadable(source, "", f"validate found {promised} cards, and tells of {len(numbers)}"))
    return found


def _cards(lines: Sequence[str]) -> list[_Card]:
    cards: list[_Card] = []
    started = ""
    for line in lines:
        if begun := _CARD.match(line):
            cards.append(_Card(begun[1], begun[2]))
            started = ""
        elif all_of := _ALL.match(line):
            _conclude(cards, all_of[1].lower().startswith("all"))
            started = ""
        elif not cards:
            continue
        elif start := _START.match(line):
            started = start[1]
            # Until its result comes the test has none; an output that was cut off leaves it so.
            cards[-1].tests[started] = (Outcome.UNREADABLE, [])
        elif result := _RESULT.match(line):
            _finish(cards[-1], started, result[1], outcome(result[2]))
            started = ""
        elif ended := _ENDED.match(line):
            for card in cards:
                if card.number == ended[1]:
                    card.passed = ended[2].lower().startswith("validated") and card.passed is not False
        elif started and line.strip():
            kind = "error" if re.match(r"^\s*(?:\[XRT\]\s*)?ERROR:", line) else "detail"
            cards[-1].tests[started][1].append((kind, line.strip().lstrip(".")))
    return cards


def _finish(card: _Card, started: str, name: str, ended: Outcome) -> None:
    begun = next((n for n in (started, *card.tests) if n and canonical(n) == canonical(name)), name)
    _, log = card.tests.get(begun, (ended, []))
    card.tests[begun] = (ended, log)


def _conclude(cards: list[_Card], well: bool) -> None:
    """The last line is about all cards: one failed at least, or none did."""
    blamed = any(card.passed is False for card in cards)
    for card in cards:
        if card.passed is None:
            card.passed = well
        elif not well and not blamed:
            card.passed = False
