"""What a card's sensors read at one moment, each with its limit and how far it is from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from deploy.card import limits
from deploy.card.checks_sensors import heat_status, load_status, voltage_status
from deploy.card.facts import Clock, Evidence, Link, Power, Rail, Temperature
from deploy.card.known import card
from deploy.card.sensors import rail, sensor
from deploy.card.verdict import Status

_GROUPS = ("temperature", "power", "voltage", "clock", "link")


@dataclass(frozen=True, slots=True)
class Reading:
    """One number: `limit` is where the card acts (None: there is none), `what` it does there.

    `value` is None where the sensor gives none. `status` is ok, warning or failed; not applicable without a limit.
    """

    group: str
    name: str
    value: float | None
    unit: str
    limit: float | None = None
    what: str = ""
    status: Status = Status.NOT_APPLICABLE

    @property
    def headroom(self) -> float | None:
        """How far the value is below its limit."""
        return None if self.limit is None or self.value is None else self.limit - self.value

    @property
    def shown(self) -> str:
        """The value with its unit."""
        digits = {"V": 2, "W": 1, "GB/s": 1}.get(self.unit, 0)
        return "no reading" if self.value is None else f"{self.value:.{digits}f} {self.unit}"

    @property
    def key(self) -> str:
        """A name for a column."""
        return f"{self.name} [{self.unit}]"


def readings(evidence: Evidence, slot: str) -> tuple[Reading, ...]:
    """Everything that is measured on the card in `slot`: temperatures, power, rails, clocks, link.

    Each name is there once; of several readings of one sensor it is the gravest, then the one nearest to its limit.
    """
    found: dict[tuple[str, str], Reading] = {}
    for reading in (*_heat(evidence, slot), *_power(evidence, slot), *_clocks(evidence, slot), *_link(evidence, slot)):
        other = found.get((reading.group, reading.name))
        if other is None or _gravity(reading) > _gravity(other):
            found[reading.group, reading.name] = reading
    return tuple(sorted(found.values(), key=lambda reading: _GROUPS.index(reading.group)))


def _gravity(reading: Reading) -> tuple[bool, bool, float]:
    room = reading.headroom
    return reading.status is Status.FAILED, reading.status is Status.WARNING, -room if room is not None else 0.0


def _heat(evidence: Evidence, slot: str) -> Iterator[Reading]:
    for fact in evidence.all(Temperature, slot):
        kind = sensor(fact.sensor)
        first, what = limits.HEAT.get(kind, limits.OTHER_HEAT).first
        status = Status.FAILED if fact.celsius is None else heat_status(kind, fact.celsius)
        shared = kind != fact.sensor and kind in ("PCB", "QSFP cage")
        name = f"{kind} ({fact.sensor})" if shared else kind
        yield Reading("temperature", name, fact.celsius, "°C", first, what, status)


def _power(evidence: Evidence, slot: str) -> Iterator[Reading]:
    for total in evidence.all(Power, slot):
        status = Status.FAILED if total.watts is None else load_status(total.watts, limits.TOTAL)
        yield Reading("power", "total", total.watts, "W", limits.TOTAL.throttle, "throttling", status)
    for fact in evidence.all(Rail, slot):
        name = rail(fact.rail)
        known = name in limits.VOLTS
        status = voltage_status(name, fact.volts) if known else Status.NOT_APPLICABLE
        yield Reading("voltage", name, fact.volts, "V", status=status)
        if fact.volts is not None and fact.amps is not None:
            watts, draw = fact.volts * fact.amps, limits.SLOT_12V if name == "12v_pex" else None
            if draw is None:
                yield Reading("power", name, watts, "W")
            else:
                status = load_status(watts, draw)
                yield Reading("power", name, watts, "W", draw.throttle, "throttling", status)


def _clocks(evidence: Evidence, slot: str) -> Iterator[Reading]:
    for fact in evidence.all(Clock, slot):
        status = Status.OK if fact.mhz else Status.FAILED
        yield Reading("clock", fact.clock, fact.mhz, "MHz", status=status)


def _link(evidence: Evidence, slot: str) -> Iterator[Reading]:
    for fact in evidence.all(Link, slot):
        if fact.generation and fact.lanes:
            now = limits.bandwidth(fact.generation, fact.lanes)
            wanted = limits.bandwidth(fact.expected_generation or 0, fact.expected_lanes or 0)
            status = Status.WARNING if now < 0.99 * wanted else Status.OK
            yield Reading("link", f"Gen{fact.generation} x{fact.lanes}", now, "GB/s", status=status)


def title(evidence: Evidence, slot: str) -> str:
    """The card's name for a heading."""
    facts = card(evidence, slot)
    return " · ".join(part for part in (facts.user or facts.slot, facts.kind, facts.vbnv) if part)
