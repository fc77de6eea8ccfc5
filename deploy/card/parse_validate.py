"""Text of `xbutil validate` since 2021.1: numbered tests, each with its fields and its status."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from deploy.card.facts import Fact, Outcome, Shell, Source, Trial, Validation, normal_bdf
from deploy.card.lines import BDF, command, interrupts
from deploy.card.testnames import canonical, era_of, outcome

_DEVICE = re.compile(rf"^\s*Validate Device\s*:\s*\[({BDF})\]", re.IGNORECASE)
_TEST = re.compile(rf"^\s*Test\s+\d+\s*\[({BDF})\]\s*:\s*(.{{0,100}}?)\s*$", re.IGNORECASE)
# Pasted text may have lost its indentation; then only the tool's own names are fields.
_OWN = r"(?:Test Status|Details|Warning\(s\)|Error\(s\)|Description|Platform(?: ID)?|SC Version|Xclbin|Testcase)\s*:\s"
_FIELD = re.compile(rf"^(?:\s+|(?={_OWN}))([A-Z][\w ()-]{{1,30}}?)\s*:\s(.*)$")
_END = re.compile(r"^\s*Validation (completed|failed)\b", re.IGNORECASE)
_EXCEPTIONS = re.compile(r"^\s*(\d{1,4})\s+device\(s\) had exceptions", re.IGNORECASE)
_SUMMARY = re.compile(r"^Validation (?:Summary|Exceptions)|^Validated successfully|^Warnings produced", re.IGNORECASE)
_EXCEPTED = re.compile(rf"^\s*-\s*\[({BDF})\]")
_FOREIGN = re.compile(r"^\s*(?:Thermals|Electrical|Platform|Pcie Info|Devices present|System Configuration)\s*$")


@dataclass(slots=True)
class _OneTest:
    bdf: str
    printed: str
    outcome: Outcome = Outcome.SILENT
    log: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Run:
    bdf: str
    vbnv: str = ""
    sc: str = ""
    uuid: str = ""
    passed: bool | None = None
    tests: list[_OneTest] = field(default_factory=list)


def facts_of(lines: Sequence[str], file: str) -> list[Fact]:
    """Every run of validate that the text shows, with its tests; [] when there is none."""
    found: list[Fact] = []
    for run in _Reader().read(lines):
        source = Source(file, "xbutil validate", era=era_of(test.printed for test in run.tests))
        if run.vbnv or run.sc:
            found.append(Shell(source, run.bdf, run.vbnv, run.uuid, run.sc))
        found.append(Validation(source, run.bdf, run.vbnv, run.passed, len(run.tests)))
        for test in run.tests:
            name = canonical(test.printed)
            found.append(Trial(source, run.bdf, name, test.printed, test.outcome, tuple(test.log)))
    return found


class _Reader:
    """The state between lines: the run, the test and the field that a line may continue."""

    def __init__(self) -> None:
        self.runs: list[_Run] = []
        self.run: _Run | None = None
        self.test: _OneTest | None = None
        self.kind = ""
        self.since = 0  # the first run of the command whose output this is
        self.excepting = False

    def read(self, lines: Sequence[str]) -> list[_Run]:
        for line in lines:
            if command(line) or _FOREIGN.match(line):
                self.run = self.test = None
                self.since, self.excepting = len(self.runs), False
            elif not self._frame(line) and not interrupts(line):
                self._inside(line)
        return self.runs

    def _frame(self, line: str) -> bool:
        """Lines that begin or end a run or a test."""
        if device := _DEVICE.match(line):
            self.run, self.test, self.kind = _Run(normal_bdf(device[1])), None, ""
            self.runs.append(self.run)
        elif test := _TEST.match(line):
            bdf = normal_bdf(test[1])
            if self.run is None or self.run.bdf != bdf:
                self.run = next((r for r in self.runs[self.since :] if r.bdf == bdf), None) or _Run(bdf)
                if self.run not in self.runs:
                    self.runs.append(self.run)
            self.test, self.kind = _OneTest(bdf, test[2]), ""
            self.run.tests.append(self.test)
        elif end := _END.match(line):
            self._end(end[1].lower() == "completed")
        elif exceptions := _EXCEPTIONS.match(line):
            self.excepting = int(exceptions[1]) > 0
        elif _SUMMARY.match(line):
            self.test = None
            self.excepting = self.excepting and line.lower().startswith("validation exceptions")
        elif self.excepting and (card := _EXCEPTED.match(line)):
            for run in self.runs[self.since :]:
                run.passed = False if run.bdf == normal_bdf(card[1]) else run.passed
        else:
            return False
        return True

    def _end(self, completed: bool) -> None:
        for run in self.runs[self.since :]:
            run.passed = completed if run.passed is None else run.passed and completed
        self.test = None

    def _inside(self, line: str) -> None:
        pair = _FIELD.match(line)
        if pair is None:
            if self.test is not None and self.kind and line.strip(" -"):
                self.test.log.append((self.kind, line.strip()))
            return
        key, value = pair[1].strip().lower(), pair[2].strip()
        if self.test is not None:
            self._field(self.test, key, value)
        elif self.run is not None:
            if key == "platform":
                self.run.vbnv = value
            elif key == "sc version":
                self.run.sc = value
            elif key == "platform id":
                self.run.uuid = "" if value in ("0x0", "N/A") else value

    def _field(self, test: _OneTest, key: str, value: str) -> None:
        if key == "test status":
            # A second status is that of a test whose name was lost: neither can be told then.
            seen = test.outcome is not Outcome.SILENT
            test.outcome, self.kind = Outcome.UNREADABLE if seen else outcome(value), ""
        else:
            self.kind = "error" if "err" in key else "warning" if "warn" in key else "detail"
            test.log.append((self.kind, value))
