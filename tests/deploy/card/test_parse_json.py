"""JSON reports: what they say, and that nothing that is missing or misspelt is taken for good."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deploy.card import parse_json
from deploy.card.facts import (
    Clock,
    Complaint,
    Era,
    Fact,
    Firewall,
    Host,
    Link,
    Memory,
    Outcome,
    Power,
    Rail,
    Shell,
    Temperature,
    Trial,
    Unreadable,
    Validation,
)
from tests.deploy.card import samples


def _facts(document: bytes) -> list[Fact]:
    return parse_json.facts_of(json.loads(document), "x")


def _of(kind: type[Any], document: bytes) -> list[Any]:
    return [fact for fact in _facts(document) if isinstance(fact, kind)]


def test_the_host() -> None:
    (host,) = _of(Host, samples.host("2.11.648"))
    assert (host.xrt, host.cards, host.source.era) == ("2.11.648", 1, Era.XRT_2021)
    assert [name for name, _ in host.drivers] == ["xocl", "xclmgmt"]
    (shell,) = _of(Shell, samples.host())
    assert (shell.bdf, shell.vbnv, shell.uuid, shell.ready) == (samples.BDF, samples.GEN4, samples.UUID, True)


def test_no_cards_is_an_empty_text() -> None:
    (host,) = _of(Host, samples.dumps({"system": {"host": {"xrt": {"version": "2.14.354"}, "devices": []}}}))
    assert host.cards == 0


def test_whether_a_card_is_ready_must_be_readable() -> None:
    assert _of(Shell, samples.host(ready=False))[0].ready is False
    assert [u.reason for u in _of(Unreadable, samples.host(ready="perhaps"))] == [
        f"whether card {samples.BDF} is ready"
    ]


def test_temperatures() -> None:
    found = _of(Temperature, samples.device(**samples.thermals(device="98,5", cage_temp_0="61")))
    assert [(t.sensor, t.celsius) for t in found] == [
        ("PCB", 41.0), ("device", 98.5), ("vccint", 55.0), ("cage_temp_0", 61.0),
    ]  # fmt: skip


@pytest.mark.parametrize("reading", ["", "NA", None, [98], {"value": 98}, "98 F", "ninety", 0])
def test_a_reading_that_is_no_temperature_is_kept_as_such(reading: object) -> None:
    part = samples.thermals()
    part["thermals"][1] = {"location_id": "device", "temp_C": reading, "is_present": "true"}
    document = {"devices": [{"device_id": samples.BDF, **part}]}
    assert [t.celsius for t in parse_json.facts_of(document, "x") if isinstance(t, Temperature)][1] is None


def test_rails_and_power() -> None:
    document = samples.device(**samples.electrical(48, **{"12v_aux_1": ("0,041", "0")}))
    rails = {r.rail: (r.volts, r.amps) for r in _of(Rail, document)}
    assert rails["12v_pex"] == (12.05, 1.7) and rails["3v3_aux"] == (3.32, None) and rails["12v_aux_1"] == (0.041, 0.0)
    assert _of(Power, document)[0].watts == 48.0
    assert [u.reason for u in _of(Unreadable, samples.device(**samples.electrical(**{"12v_pex": (12, "much")})))] == [
        "the current of rail 12v_pex"
    ]


def test_the_link_speed_is_a_generation() -> None:
    (link,) = _of(Link, samples.device(**samples.pcie(3, 4)))
    assert (link.generation, link.lanes, link.expected_generation, link.expected_lanes) == (3, 4, 4, 8)
    assert link.device == 0x5049
    (link,) = _of(Link, samples.device(**samples.pcie("16.0", "?")))
    assert (link.generation, link.lanes) == (4, None)


def test_the_platform() -> None:
    document = samples.device(**samples.platform("false"))
    (shell,) = _of(Shell, document)
    assert (shell.vbnv, shell.sc, shell.sc_expected) == (samples.GEN4, "4.4.35", "4.4.35")
    assert _of(Memory, document)[0].calibrated is False
    assert [(c.clock, c.mhz) for c in _of(Clock, document)] == [("DATA_CLK", 350.0)]


def test_the_management_tool_tells_what_is_installed() -> None:
    current = {"vbnv": "xilinx_vck5000_gen4x8_qdma_base_1", "sc_version": "4.4.32"}
    partitions = {"current_shell": current, "available_shells": [{"vbnv": samples.GEN4, "sc_version": "4.4.35"}]}
    found = _of(Shell, samples.device("0000:21:00.0", platforms=[partitions]))
    assert [(s.vbnv, s.sc, s.running, s.source.tool) for s in found] == [
        ("xilinx_vck5000_gen4x8_qdma_base_1", "4.4.32", True, "xbmgmt examine"),
        (samples.GEN4, "4.4.35", False, "xbmgmt examine"),
    ]


def test_firewalls() -> None:
    good = {"firewall_level": 0, "firewall_status": "0x0", "status": "(GOOD)"}
    bad = {"firewall_level": 1, "firewall_status": "0x80000", "status": "(WRITE_RESPONSE_BUSY)"}
    assert [f.tripped for f in _of(Firewall, samples.device(firewall=good))] == [False]
    assert [f.tripped for f in _of(Firewall, samples.device(firewall=[good, bad]))] == [False, True]
    assert not _of(Firewall, samples.device(firewall=[]))


def test_a_pass_with_a_warning_is_told_from_its_log() -> None:
    found = _of(Trial, samples.validation(log={0: [("Warning", "Link is active")]}))
    assert [t.outcome for t in found] == [Outcome.WARNED, *[Outcome.PASSED] * 5]
    assert found[3].name == "dma" and "9011.2 MB/s" in found[3].text and found[3].source.era is Era.XRT_2022


def test_a_skip_with_errors_is_no_good_end() -> None:
    document = samples.validation({2: "SKIPPED"}, log={2: [("Error", "Failed to find /opt/xilinx/firmware")]})
    assert _of(Validation, document)[0].passed is False
    assert _of(Trial, document)[2].errors == ("Failed to find /opt/xilinx/firmware",)


def test_statuses_may_be_lower_case_and_unknown_ones_are_unreadable() -> None:
    found = _of(Trial, samples.validation({2: "passed", 3: "OK", 4: ""}))
    assert [t.outcome for t in found[2:5]] == [Outcome.PASSED, Outcome.UNREADABLE, Outcome.UNREADABLE]


def test_validating_nothing_is_told() -> None:
    assert [c.kind for c in _of(Complaint, b'{"logical_devices": ""}')] == ["no devices"]


@pytest.mark.parametrize(
    "part",
    [
        {"thermalz": [{"location_id": "device", "temp_C": "98"}]}, {"thermals": []}, {"thermals": "hot"},
        {"thermals": ["hot"]}, {}, {"electrical": []}, {"platforms": []},
    ],
)  # fmt: skip
def test_reports_without_what_they_are_for_are_unreadable(part: dict[str, Any]) -> None:
    assert _of(Unreadable, samples.device(**part))


@pytest.mark.parametrize("part", [{"mechanical": {"fans": {"error_msg": "x"}}}, {"mem_topology": {"error_msg": "x"}}])
def test_reports_that_no_check_needs_are_no_trouble(part: dict[str, Any]) -> None:
    assert not _of(Unreadable, samples.device(**part))


@pytest.mark.parametrize("document", [None, [], "devices", 3, {"a": 1}, {"package": {"devices": []}}])
def test_json_of_other_programs_is_passed_over(document: object) -> None:
    assert parse_json.facts_of(document, "x") == []
