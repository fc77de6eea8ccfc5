"""The third layer: supplies, power and temperatures against the firmware's limits, with head-room."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from deploy.card import limits
from deploy.card.facts import Power, Rail, Report, Temperature
from deploy.card.sensors import FPGA, PCB, VCCINT, rail, sensor
from deploy.card.verdict import Case, Check, Status, files, worst

_LAYER = "sensors"
_AUX = ("12v_aux_0", "12v_aux_1")
_WANTED_RAILS = ("12v_pex", *_AUX)  # what a gen4x8 shell's electrical report always has
_WANTED_SENSORS = (PCB, FPGA, VCCINT)  # and its thermal report; QSFP cages are empty more often than not
COOL = "Give it more air: the card is passively cooled and needs a server's airflow through its whole length."
CABLES = "Plug both AUX connectors (8 and 6 pins) into the same supply as the host, and look for a tired supply."


def of_card(case: Case) -> Iterator[Check]:
    """Electrical first, then heat."""
    yield _supplies(case, "Supply voltages", tuple(n for n in limits.VOLTS if n not in _AUX))
    yield _aux(case)
    yield _slot_power(case)
    yield _power(case)
    yield from _temperatures(case)


def _modern(case: Case) -> bool:
    return any("gen4x8" in shell for shell in case.card.shells)


def _rails(case: Case) -> dict[str, list[Rail]]:
    found: dict[str, list[Rail]] = defaultdict(list)
    for fact in case.evidence.all(Rail, case.slot):
        found[rail(fact.rail)].append(fact)
    return found


def _reported(case: Case, part: str) -> bool:
    return any(r.part == part for r in case.evidence.all(Report, case.slot))


def _missing(case: Case, name: str, limit: str, report: str) -> Check:
    status = Status.FAILED if case.live else Status.SKIPPED
    advice = f"Save `xbutil examine --report {report}`."
    return Check(name, _LAYER, status, f"no {report} report", limit, advice)


def _supplies(case: Case, name: str, names: tuple[str, ...]) -> Check:
    rails, limit = _rails(case), "12 V within 8 %, 3.3 V within 9 %"
    if not rails and not _reported(case, "electrical"):
        return _missing(case, name, limit, "electrical")
    statuses, said, used = [Status.OK], list[str](), list[Rail]()
    for own in names:
        for fact in rails.get(own, []):
            statuses.append(voltage_status(own, fact.volts))
            said.append(f"{own} {_volts(fact.volts)}")
            used.append(fact)
        if own in _WANTED_RAILS and _modern(case) and own not in rails:
            statuses.append(Status.FAILED)
            said.append(f"{own} missing")
    others = [f for n, facts in rails.items() if n not in limits.VOLTS for f in facts]
    if any(f.volts is None for f in others):
        statuses.append(Status.FAILED)
        said += [f"{f.rail} unreadable" for f in others if f.volts is None]
    if not said:
        return Check(name, _LAYER, Status.SKIPPED, "no reading", limit)
    advice = "" if worst(statuses) is Status.OK else "Look at the host's power supply and at the slot."
    return Check(name, _LAYER, worst(statuses), ", ".join(dict.fromkeys(said)), limit, advice, files([*used, *others]))


def voltage_status(name: str, volts: float | None) -> Status:
    """How a rail of `limits.VOLTS` stands; a reading that is not there has failed."""
    if volts is None:
        return Status.FAILED
    nominal, tolerance = limits.VOLTS[name]
    off = abs(volts - nominal) / nominal
    if off > tolerance:
        return Status.FAILED
    return Status.WARNING if off > 0.75 * tolerance else Status.OK


def _volts(volts: float | None) -> str:
    return "unreadable" if volts is None else f"{volts:.2f} V"


def _aux(case: Case) -> Check:
    name, rails = "AUX power", _rails(case)
    limit = f"12 V within 8 %; {limits.AUX_2X3.throttle:g} W on 6 pins, {limits.AUX_2X4.throttle:g} W on 8"
    present = [own for own in _AUX if own in rails]
    if not rails and not _reported(case, "electrical"):
        return _missing(case, name, limit, "electrical")
    if not present and not _modern(case):
        return Check(name, _LAYER, Status.SKIPPED, "the report has no AUX rail", limit)
    facts = [f for own in present for f in rails[own]]
    statuses = [Status.OK, *(voltage_status(own, f.volts) for own in present for f in rails[own])]
    said = [f"{own} {_volts(f.volts)}{_watts(f)}" for own in present for f in rails[own]]
    if _modern(case):
        statuses += [Status.FAILED for own in _AUX if own not in rails]
        said += [f"{own} missing" for own in _AUX if own not in rails]
    # Which rail is which connector is not told: the lighter load is held against the smaller connector.
    drawn = sorted(max((_drawn(f) for f in rails[own]), default=0.0) for own in present)
    both = len(drawn) == 2
    for watts, draw in zip(drawn, (limits.AUX_2X3, limits.AUX_2X4) if both else (limits.AUX_2X4,), strict=False):
        statuses.append(load_status(watts, draw))
    advice = "" if worst(statuses) is Status.OK else CABLES
    if any(f.volts is not None and f.volts < limits.UNCONNECTED for f in facts):
        advice = f"An AUX connector has no power. {CABLES}"
    return Check(name, _LAYER, worst(statuses), ", ".join(dict.fromkeys(said)), limit, advice, files(facts))


def _drawn(fact: Rail) -> float:
    return (fact.volts or 0.0) * (fact.amps or 0.0)


def _watts(fact: Rail) -> str:
    return f" {_drawn(fact):.1f} W" if fact.volts is not None and fact.amps is not None else ""


def load_status(watts: float, draw: limits.Draw) -> Status:
    """How a load stands against the limit of what it is drawn through."""
    if watts >= draw.throttle:
        return Status.FAILED
    return Status.WARNING if watts >= limits.NEAR * draw.throttle else Status.OK


def _slot_power(case: Case) -> Check:
    name, limit = "Slot power", limits.SLOT_12V.text
    facts = [f for f in _rails(case).get("12v_pex", []) if f.volts is not None and f.amps is not None]
    if not facts:
        return Check(name, _LAYER, Status.SKIPPED, "no current of the slot's 12 V is reported", limit)
    most = max(_drawn(f) for f in facts)
    status = load_status(most, limits.SLOT_12V)
    advice = "" if status is Status.OK else f"The slot carries what the AUX cables should. {CABLES}"
    return Check(name, _LAYER, status, f"{most:.1f} W", limit, advice, files(facts))


def _power(case: Case) -> Check:
    name, limit, facts = "Total power", limits.TOTAL.text, _powers(case)
    if not facts:
        return _missing(case, name, limit, "electrical")
    readings = [f.watts for f in facts if f.watts is not None]
    if len(readings) < len(facts):
        advice = "Run `xbutil examine --report electrical` again."
        return Check(name, _LAYER, Status.FAILED, "not readable", limit, advice, files(facts))
    most = max(readings)
    status = worst([load_status(most, limits.TOTAL), Status.WARNING if any(f.warning for f in facts) else Status.OK])
    warned = "; the card reports a power warning" if any(f.warning for f in facts) else ""
    advice = "" if status is Status.OK else "The card is at the limit of its supply and will slow down or shut down."
    said = f"{most:g} W, {limits.TOTAL.throttle - most:g} W below throttling{warned}"
    return Check(name, _LAYER, status, said, limit, advice, files(facts))


def _powers(case: Case) -> tuple[Power, ...]:
    return case.evidence.all(Power, case.slot)


def _temperatures(case: Case) -> Iterator[Check]:
    by_kind: dict[str, list[Temperature]] = defaultdict(list)
    for fact in case.evidence.all(Temperature, case.slot):
        by_kind[sensor(fact.sensor)].append(fact)
    if not by_kind and not _reported(case, "thermals"):
        yield _missing(case, "Temperature", limits.HEAT[FPGA].text, "thermal")
        return
    for kind in _WANTED_SENSORS if _modern(case) else (FPGA,):
        if kind not in by_kind:
            limit, advice = limits.HEAT[kind].text, "Run `xbutil examine --report thermal` again."
            yield Check(f"Temperature {kind}", _LAYER, Status.FAILED, "missing in a thermal report", limit, advice)
    order = [*limits.HEAT, *sorted(set(by_kind) - set(limits.HEAT))]
    for kind in order:
        if by_kind[kind]:
            yield _heat(kind, by_kind[kind])


def _heat(kind: str, facts: list[Temperature]) -> Check:
    heat = limits.HEAT.get(kind, limits.OTHER_HEAT)
    name, used = f"Temperature {kind}", files(facts)
    readings = [f.celsius for f in facts if f.celsius is not None]
    low, high = limits.PLAUSIBLE
    if len(readings) < len(facts) or any(not low <= c <= high for c in readings):
        advice = "Run `xbutil examine --report thermal` again; a sensor that stays silent needs a cold boot."
        shown = ", ".join(f"{c:g} °C" for c in readings)
        said = f"not readable or not possible{f' ({shown})' if shown else ''}"
        return Check(name, _LAYER, Status.FAILED, said, heat.text, advice, used)
    hottest = max(readings)
    first, what = heat.first
    said = f"{hottest:g} °C, {first - hottest:g} below {what}"
    if hottest >= first:
        said = f"{hottest:g} °C: {_reached(hottest, heat)}"
    status = heat_status(kind, hottest)
    advice = {Status.FAILED: f"Stop the load now. {COOL}", Status.WARNING: COOL}.get(status, "")
    return Check(name, _LAYER, status, said, heat.text, advice, used)


def heat_status(kind: str, celsius: float) -> Status:
    """How a temperature stands; `kind` is that of `sensors.sensor`."""
    heat = limits.HEAT.get(kind, limits.OTHER_HEAT)
    if celsius >= heat.critical:
        return Status.FAILED
    return Status.WARNING if celsius >= heat.warning else Status.OK


def _reached(celsius: float, heat: limits.Heat) -> str:
    marks = (
        ("fatal", heat.fatal), ("clocks shut down", heat.shutdown), ("critical", heat.critical),
        ("throttling", heat.throttle),
    )  # fmt: skip
    return ", ".join(f"{what} from {mark:g}" for what, mark in marks if mark is not None and celsius >= mark)
