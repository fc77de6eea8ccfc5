"""The fourth layer: XRT's own tests, each by name, and the speeds that they measured."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from arch.releases import ES1
from deploy.card import limits
from deploy.card.checks_card import link_state
from deploy.card.facts import Outcome, Trial, Validation
from deploy.card.live import Depth
from deploy.card.testnames import NEVER_RUN, REQUIRED
from deploy.card.text import number
from deploy.card.verdict import Case, Check, Status, files

_LAYER = "validate"
_RANK = (
    Outcome.PASSED, Outcome.WARNED, Outcome.SILENT, Outcome.SKIPPED, Outcome.UNREADABLE, Outcome.FAILED,
)  # fmt: skip
_FIGURE = r"([\d.,' \u00a0\u202f]{1,24}?)\s*"
_WRITE = re.compile(rf"Host\s*->.{{0,40}}?bandwidth\s*[=:]\s*{_FIGURE}MB/s", re.IGNORECASE)
_READ = re.compile(rf"Host\s*<-.{{0,40}}?bandwidth\s*[=:]\s*{_FIGURE}MB/s", re.IGNORECASE)
# A figure in another form than the patterns above expect.
_ANY_RATE = re.compile(r"MB/s|bandwidth\s*[=:]|throughput.{0,60}?[=:]\s*\d", re.IGNORECASE)
_ANY_COUNT = re.compile(r"IOPS\D{0,3}\d|\d\s*IOPS", re.IGNORECASE)
_SIZE = re.compile(r"Buffer size\s*-\s*'([\d.,]{1,10})\s*([KMG]?B)'", re.IGNORECASE)
_MEMORY = re.compile(rf"throughput.{{0,60}}?[=:]\s*{_FIGURE}MB/s", re.IGNORECASE)
_IOPS = re.compile(r"IOPS\s*[=:]\s*(\d{1,3}(?:[,' ]\d{3})+|\d{1,9})(?![\d.])", re.IGNORECASE)
_UNITS = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}
_AGAIN = "Run `xbutil validate --device BDF --verbose` and save its whole output."


def of_card(case: Case) -> Iterator[Check]:
    """How `validate` ended, each test, and the figures."""
    trials: dict[str, list[Trial]] = {name: [] for name in REQUIRED}
    for trial in case.evidence.all(Trial, case.slot):
        trials.setdefault(trial.name, []).append(trial)
    yield _run(case)
    for name, found in trials.items():
        yield _test(case, name, found)
    yield from _transfer(case, trials.get("dma", []))
    yield _figure("Memory bandwidth", "MB/s", limits.MEMORY_MBS, _MEMORY, trials.get("mem-bw", []), case)
    yield _figure("IOPS", "a second", limits.IOPS, _IOPS, trials.get("iops", []), case)


def _run(case: Case) -> Check:
    name, limit, runs = "validate", "completed", case.evidence.all(Validation, case.slot)
    if not runs:
        return _not_run(case, name, limit)
    used = files(runs)
    if any(run.passed is False for run in runs):
        advice = "See the tests below. When this was before a repair, leave that file out."
        return Check(name, _LAYER, Status.FAILED, "failed", limit, advice, used)
    if any(run.passed is None or not run.tests for run in runs):
        return Check(name, _LAYER, Status.FAILED, "its output ends before its end", limit, _AGAIN, used)
    return Check(name, _LAYER, Status.OK, f"completed, {max(run.tests for run in runs)} tests", limit, "", used)


def _not_run(case: Case, name: str, limit: str) -> Check:
    if case.depth is Depth.QUICK:
        return Check(name, _LAYER, Status.SKIPPED, "not asked for (--quick)", limit, "Run without --quick.")
    return Check(name, _LAYER, Status.FAILED, "did not run", limit, _AGAIN)


def _test(case: Case, test: str, trials: Sequence[Trial]) -> Check:
    name, required = f"validate: {test}", test in REQUIRED
    limit = "PASSED" if required else ""
    if not trials:
        if any(run.passed is False for run in case.evidence.all(Validation, case.slot)):
            return Check(name, _LAYER, Status.FAILED, "did not run: testing stops at the first failure", limit)
        return _not_run(case, name, limit)
    trial = max(trials, key=lambda t: (_RANK.index(t.outcome), bool(t.errors)))
    errors = next((t.errors for t in trials if t.errors), ())
    said, used = str(trial.outcome), files(trials)
    if trial.outcome is Outcome.FAILED or trial.outcome is Outcome.UNREADABLE or errors:
        more = f": {' '.join(errors)[:300]}" if errors else ""
        return Check(name, _LAYER, Status.FAILED, said + more, limit, _advice(test, trial.text), used)
    if trial.outcome is Outcome.PASSED:
        return Check(name, _LAYER, Status.OK, said, limit, "", used)
    if trial.outcome is Outcome.WARNED:
        told = " ".join(line for kind, line in trial.log if kind == "warning") or trial.text.replace("\n", " ")
        return Check(name, _LAYER, Status.WARNING, f"{said}: {told[:300]}", limit, _advice(test, told), used)
    if required:
        why = f": {trial.text[:300]}" if trial.text else ""
        return Check(name, _LAYER, Status.FAILED, said + why, limit, _advice(test, trial.text), used)
    if test in NEVER_RUN:
        return Check(name, _LAYER, Status.NOT_APPLICABLE, f"{said}: XRT has no such test for this card", limit)
    return Check(name, _LAYER, Status.SKIPPED, f"{said} {trial.text[:200]}".strip(), limit, "", used)


def _advice(test: str, said: str) -> str:
    lower = said.lower()
    if "/opt/xilinx/firmware" in lower or "xclbin not available" in lower:
        return "The platform package with the test's xclbin is missing: install the shell's package on this host."
    if "download xclbin" in lower or "err=-19" in lower:
        return "Shell and driver do not fit together: look at `dmesg`, program the shell again, boot cold."
    if "plugged in" in lower:
        return "The slot has fewer lanes or an older generation than the card; see the PCIe link above."
    return {
        "sc-version": "Update the satellite controller with the shell, then boot cold.",
        "mem-bw": "Boot cold and run again; when it stays, the card's memory is suspect.",
        "dma": "Look at the PCIe link above and at `dmesg`; another process must not hold the card.",
    }.get(test, "Run it again with --verbose and look at `dmesg`.")


def _transfer(case: Case, trials: Sequence[Trial]) -> Iterator[Check]:
    state = link_state(case)
    named = _named_link(case)
    link = state.now if state is not None else named
    wanted = limits.dma_speed(*link) if link else limits.DMA[8]
    where = f"on Gen{link[0]} x{link[1]}" if link else "on Gen3 x8"
    for index, (name, pattern) in enumerate((("DMA write", _WRITE), ("DMA read", _READ))):
        yield _speed(name, "MB/s", wanted[index], _rates(trials, pattern), where, trials, _ANY_RATE)


def _named_link(case: Case) -> tuple[int, int] | None:
    found = next((m for s in case.card.shells if (m := re.search(r"gen(\d)x(\d{1,2})", s))), None)
    return (int(found[1]), int(found[2])) if found else None


def _rates(trials: Sequence[Trial], pattern: re.Pattern[str]) -> list[float | None]:
    """What was measured with large buffers, one number a buffer size and memory."""
    rates: list[float | None] = []
    for trial in trials:
        large = True
        for _, line in trial.log:
            if size := _SIZE.search(line):
                bytes_ = (number(size[1]) or 0.0) * _UNITS.get(size[2].upper(), 1)
                large = bytes_ >= limits.SMALL
            if large:
                rates += [number(found[1]) for found in pattern.finditer(line)]
    return rates


def _figure(name: str, unit: str, known: float, pattern: re.Pattern[str], trials: Sequence[Trial], case: Case) -> Check:
    found = [match[1] for trial in trials for match in pattern.finditer(trial.text)]
    counted = pattern is _IOPS
    if counted:
        found = [re.sub(r"[,' ]", "", text) for text in found]
    where = "" if case.card.kind == ES1.name else "on an ES1"
    return _speed(
        name, unit, known, [number(text) for text in found], where, trials, _ANY_COUNT if counted else _ANY_RATE
    )


def _speed(
    name: str, unit: str, known: float, rates: list[float | None], where: str, trials: Sequence[Trial],
    any_form: re.Pattern[str],
) -> Check:  # fmt: skip
    limit = f"about {known:,.0f} {unit} {where}".strip()
    used = files(t for t in trials if any_form.search(t.text))
    if not rates and not used:
        return Check(name, _LAYER, Status.SKIPPED, "no figure printed", limit)
    if not rates or any(rate is None for rate in rates):
        return Check(name, _LAYER, Status.FAILED, "a figure is not readable", limit, _AGAIN, used)
    slowest = min(rate for rate in rates if rate is not None)
    said = f"{slowest:,.0f} {unit}, {slowest / known:.0%} of a healthy card's"
    advice = "Look at the PCIe link, at other processes on the card, and at the host's power saving (BIOS, governor)."
    if slowest < limits.BAD * known:
        return Check(name, _LAYER, Status.FAILED, said, limit, advice, used)
    if slowest < limits.POOR * known:
        return Check(name, _LAYER, Status.WARNING, said, limit, advice, used)
    return Check(name, _LAYER, Status.OK, said, limit, "", used)
