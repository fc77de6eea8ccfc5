"""The second layer: shell, firmware, link, clocks, memory and firewall of one card."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from arch.releases import RELEASES, Release
from deploy.card import limits
from deploy.card.facts import Clock, Firewall, Kernels, Link, Memory, Outcome, Report, Shell, Trial
from deploy.card.known import is_golden
from deploy.card.verdict import Case, Check, Status, files

_LAYER = "card"
_GEN = re.compile(r"gen\s*(\d)\s*x\s*(\d{1,2})(?!\d)", re.IGNORECASE)
_LOST = 1 / 8  # of the expected bandwidth, such as one lane of eight: not a slower slot, something is wrong
FLASH = "Program the shell of the release (`unmask card setup` prints the commands), then power off and on."


def of_card(case: Case) -> Iterator[Check]:
    """The card as its tools describe it."""
    yield _shell(case)
    yield _satellite(case)
    yield _link(case)
    yield _clocks(case)
    yield _memory(case)
    yield _firewall(case)


def _shell(case: Case) -> Check:
    name, card = "Shell", case.card
    shells = [s for s in case.evidence.all(Shell, case.slot) if s.running and (s.vbnv or s.sc)]
    limit = " or ".join(dict.fromkeys(r.shell for r in RELEASES if card.kind in ("", r.card.name)))
    said, used = ", ".join(card.shells), files(shells)
    if card.golden:
        advice = f"The card runs its factory (golden) image. {FLASH}"
        return Check(name, _LAYER, Status.FAILED, f"golden image: {said or 'SC inactive'}", limit, advice, used)
    if not card.shells:
        status = Status.FAILED if case.live else Status.SKIPPED
        return Check(name, _LAYER, status, "no output names it", limit, FLASH if case.live else "")
    if len(card.shells) > 1:
        advice = "Outputs of different times or cards are mixed; save them again, of one card at one time."
        return Check(name, _LAYER, Status.WARNING, f"several: {said}", limit, advice, used)
    pending = [shell for shell in card.installed if shell != card.vbnv and not is_golden(shell)]
    if not any(r.shell == card.vbnv for r in RELEASES):
        there = f"; installed on the host: {', '.join(pending)}" if pending else ""
        advice = f"No release of Vitis AI is made for this shell. {FLASH}"
        return Check(name, _LAYER, Status.WARNING, said + there, limit, advice, used)
    if pending:
        advice = "The host holds another shell than the card runs: if that one is wanted, program it and boot cold."
        said += f"; installed on the host: {', '.join(pending)}"
        return Check(name, _LAYER, Status.WARNING, said, limit, advice, used)
    return Check(name, _LAYER, Status.OK, said, limit, "", used)


def _releases(case: Case) -> list[Release]:
    return [r for r in RELEASES if r.shell in case.card.shells]


def _satellite(case: Case) -> Check:
    name, sc = "Satellite controller", case.card.sc
    used = files(s for s in case.evidence.all(Shell, case.slot) if s.running and s.sc)
    stated = next((r.satellite for r in _releases(case) if r.satellite), "")
    expected = case.card.sc_expected or stated or ""
    limit = f"firmware {expected}" if expected else ""
    advice = (
        "Update it together with the shell: `xbmgmt program --base` (2.x: `xbmgmt flash --update`), then boot cold."
    )
    if sc.upper() == "INACTIVE":
        return Check(name, _LAYER, Status.FAILED, "inactive", limit, advice, used)
    if not sc:
        return Check(name, _LAYER, Status.SKIPPED, "no output tells its version", limit)
    if expected and sc != expected:
        return Check(name, _LAYER, Status.WARNING, sc, limit, advice, used)
    return Check(name, _LAYER, Status.OK, sc, limit, "", used)


@dataclass(frozen=True, slots=True)
class LinkState:
    """A link as (generation, lanes): now, and as it should be (None: not told)."""

    now: tuple[int, int]
    expected: tuple[int, int] | None

    @property
    def share(self) -> float:
        """Bandwidth now, of the expected one; 1 where that is not known."""
        wanted = limits.bandwidth(*self.expected) if self.expected else 0.0
        return min(1.0, limits.bandwidth(*self.now) / wanted) if wanted else 1.0


def link_state(case: Case) -> LinkState | None:
    """The slowest link that any output shows; None where none shows one in a readable way."""
    states = [
        LinkState((x.generation, x.lanes), _expected(case, x))
        for x in case.evidence.all(Link, case.slot)
        if x.generation and x.lanes
    ]
    for trial in _link_trials(case):
        pairs = [(int(a), int(b)) for a, b in _GEN.findall(trial.text)]
        if len(pairs) == 2:  # plugged into Gen 4x8, instead of Gen 3x8
            states.append(LinkState(pairs[1], pairs[0]))
    return min(states, key=lambda state: (state.share, limits.bandwidth(*state.now)), default=None)


def _link_trials(case: Case) -> list[Trial]:
    return [t for t in case.evidence.all(Trial, case.slot) if t.name == "pcie-link"]


def _expected(case: Case, link: Link) -> tuple[int, int] | None:
    if link.expected_generation and link.expected_lanes:
        return link.expected_generation, link.expected_lanes
    named = next((m for shell in case.card.shells if (m := _GEN.search(shell))), None)
    return (int(named[1]), int(named[2])) if named else None


def _link(case: Case) -> Check:
    name, links, trials = "PCIe link", case.evidence.all(Link, case.slot), _link_trials(case)
    used, state = files([*links, *trials]), link_state(case)
    if any(x.generation is None or x.lanes is None for x in links):
        advice = "Run `xbutil examine --report pcie-info` again."
        return Check(name, _LAYER, Status.FAILED, "a report does not tell generation and lanes", "", advice, used)
    if state is None:
        if any(t.outcome is Outcome.PASSED for t in trials):
            return Check(name, _LAYER, Status.OK, "as expected, says `validate`", "", "", used)
        status = Status.FAILED if case.live else Status.SKIPPED
        return Check(name, _LAYER, status, "no output tells it", "", "Save `xbutil examine --report pcie-info`.")
    now, expected = state.now, state.expected
    gigabytes = limits.bandwidth(*now)
    said = f"Gen{now[0]} x{now[1]}, {gigabytes:.1f} GB/s"
    if expected is None:
        said += "; what it should be is not told"
        return Check(name, _LAYER, Status.WARNING, said, "", "Save `xbutil examine --report pcie-info` as JSON.", used)
    limit = f"Gen{expected[0]} x{expected[1]}, {limits.bandwidth(*expected):.1f} GB/s"
    if state.share >= 0.99:
        return Check(name, _LAYER, Status.OK, said, limit, "", used)
    crops = limits.crops_per_second(gigabytes)
    said += f", {state.share:.0%} of what the shell can use"
    effect = (
        f"The detector's crops still fit (up to {crops:,.0f} a second); weights and large masks load slowly. Use a "
        "slot with all lanes wired to the processor, and look for its generation in the BIOS."
    )
    if state.share <= _LOST:
        advice = "Reseat the card, leave out risers, try another slot."
        return Check(name, _LAYER, Status.FAILED, said, limit, advice, used)
    return Check(name, _LAYER, Status.WARNING, said, limit, effect, used)


def _clocks(case: Case) -> Check:
    name, clocks = "Clocks", case.evidence.all(Clock, case.slot)
    units = [n for k in case.evidence.all(Kernels, case.slot) for n in k.names if "DPU" in n.upper()]
    limit = f"{limits.DPU_MHZ:g} MHz with a DPU overlay"
    said = ", ".join(dict.fromkeys(f"{c.clock} {'unreadable' if c.mhz is None else f'{c.mhz:g} MHz'}" for c in clocks))
    if not clocks:
        return Check(name, _LAYER, Status.SKIPPED, "none reported: they show once an overlay is loaded", limit)
    if any(not c.mhz for c in clocks):
        advice = "A clock stands still: after an overheating shutdown only a cold boot starts it again."
        idle = not units and all(c.mhz is not None for c in clocks)  # without an overlay nothing needs it
        return Check(name, _LAYER, Status.WARNING if idle else Status.FAILED, said, limit, advice, files(clocks))
    if units and max(c.mhz or 0.0 for c in clocks) < 0.95 * limits.DPU_MHZ:
        advice = "The DPU runs slower than its overlay was made for: load the overlay again, look at the temperatures."
        return Check(name, _LAYER, Status.WARNING, said, limit, advice, files(clocks))
    return Check(name, _LAYER, Status.OK, said, limit, "", files(clocks))


def _memory(case: Case) -> Check:
    name, limit, memories = "Memory calibrated", "true", case.evidence.all(Memory, case.slot)
    used = files(memories)
    if not memories:
        status = Status.FAILED if case.live else Status.SKIPPED
        return Check(name, _LAYER, status, "no platform report", limit, "Save `xbutil examine --report platform`.")
    if any(m.calibrated is False for m in memories):
        advice = "Boot cold; when it stays, program the shell again; when it still stays, the card's memory is broken."
        return Check(name, _LAYER, Status.FAILED, "false", limit, advice, used)
    if any(m.calibrated is None for m in memories):
        advice = "Run `xbutil examine --report platform` again."
        return Check(name, _LAYER, Status.FAILED, "a platform report does not tell it", limit, advice, used)
    return Check(name, _LAYER, Status.OK, "true", limit, "", used)


def _firewall(case: Case) -> Check:
    name, limit, levels = "Firewall", "no level tripped", case.evidence.all(Firewall, case.slot)
    if not levels:
        reported = any(r.part == "firewall" for r in case.evidence.all(Report, case.slot))
        status = Status.NOT_APPLICABLE if reported else Status.SKIPPED
        return Check(name, _LAYER, status, "this shell has no levels" if reported else "no report of it", limit)
    bad = [f for f in levels if f.tripped]
    if bad:
        advice = "A kernel made an illegal access and the card cut it off: `xbutil reset`, or boot cold."
        said = ", ".join(f"level {f.level} tripped" for f in bad)
        return Check(name, _LAYER, Status.FAILED, said, limit, advice, files(bad))
    if any(f.tripped is None for f in levels):
        return Check(name, _LAYER, Status.FAILED, "a level's status is not readable", limit, "", files(levels))
    return Check(name, _LAYER, Status.OK, f"{len({f.level for f in levels})} levels good", limit, "", files(levels))
