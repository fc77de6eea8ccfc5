"""Text reports of `examine`, as they come out of terminals and logs."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.card import parse_examine
from deploy.card.facts import Era, Firewall, Host, Link, Memory, Power, Rail, Shell, Temperature, Unreadable
from tests.deploy.card import samples


def _of(kind: type[Any], text: str) -> list[Any]:
    return [fact for fact in parse_examine.facts_of(text.split("\n"), "x") if isinstance(fact, kind)]


def test_everything_is_read() -> None:
    text = samples.examine_text({"device": "98,0"}, "Gen3x4", rails={"12v_aux_0": "0,312 V"})
    versions = [(h.xrt, h.source.era) for h in _of(Host, text) if h.xrt]
    assert versions == [("2.14.354", Era.XRT_2022)] and [h.cards for h in _of(Host, text)] == [None, 1]
    assert {s.vbnv for s in _of(Shell, text)} == {samples.GEN4} and _of(Shell, text)[0].ready is True
    assert [(t.sensor, t.celsius) for t in _of(Temperature, text)] == [
        ("PCB", 41.0),
        ("device", 98.0),
        ("vccint", 55.0),
    ]
    assert {r.rail: (r.volts, r.amps) for r in _of(Rail, text)}["12v_aux_0"] == (0.312, None)
    assert _of(Power, text)[0].watts == 47.0
    assert [(x.generation, x.lanes) for x in _of(Link, text)] == [(3, 4)]
    assert [m.calibrated for m in _of(Memory, text)] == [True] and [f.tripped for f in _of(Firewall, text)] == [False]
    assert {f.bdf for f in _of(Temperature, text)} == {samples.BDF} and not _of(Unreadable, text)


def test_messages_in_between_change_nothing() -> None:
    noise = "WARNING: xclmgmt version is unknown.\n[XRT] WARNING: cannot open : retry\n"
    noise += "Successfully wrote the JSON file: x\n"
    plain = samples.examine_text()
    noisy = "".join(f"{line}\n{noise}" for line in plain.split("\n"))
    assert parse_examine.facts_of(noisy.split("\n"), "x") == parse_examine.facts_of(plain.split("\n"), "x")


def test_lines_without_their_indentation() -> None:
    text = "\n".join(line.strip() for line in samples.examine_text({"device": 97}).split("\n"))
    assert [t.celsius for t in _of(Temperature, text)] == [41.0, 97.0, 55.0]


@pytest.mark.parametrize("reading", ["9", "98", "", "N/A", "hot C", "98 V"])
def test_a_reading_without_its_unit_was_cut_off(reading: str) -> None:
    text = f"Thermals\n  PCB : 38 C\n  device : {reading}"
    assert [(t.sensor, t.celsius) for t in _of(Temperature, text)] == [("PCB", 38.0), ("device", None)]


def test_units_may_be_glued_to_numbers() -> None:
    text = "Thermals\n  PCB:  38C\n device :\t45°C\nElectrical\n  Power : 48Watts\n  12v_pex : 12.061V, 1.702A\n"
    assert [t.celsius for t in _of(Temperature, text)] == [38.0, 45.0]
    assert _of(Power, text)[0].watts == 48.0 and _of(Rail, text)[0].amps == 1.702


def test_older_reports_have_longer_names() -> None:
    text = "Thermals\n  FPGA : 39 C\nFans\n  FPGA Fan 1\n    Critical Trigger Temp : 36 C\nElectrical\n"
    text += "  Power : 17.423810 Watts\n  12 Volts Auxillary : 0.450 V\n"
    assert [(t.sensor, t.celsius) for t in _of(Temperature, text)] == [("FPGA", 39.0)]
    assert [(r.rail, r.volts) for r in _of(Rail, text)] == [("12 Volts Auxillary", 0.45)]


def test_a_listing_of_each_era() -> None:
    text = "Devices present\n  [0000:03:00.1] : xilinx_vck5000_gen3x16_xdma_base_1 user(inst=129)\n"
    (shell,) = _of(Shell, text)
    assert (shell.bdf, shell.ready, shell.source.tool) == ("0000:03:00.1", None, "xbutil examine")
    (shell,) = _of(Shell, "[17:00.0]  :  xilinx_u250_GOLDEN_5  n/a  mgmt(inst=5888)  No\n")
    assert (shell.bdf, shell.ready, shell.source.tool) == ("0000:17:00.0", False, "xbmgmt examine")
    (shell,) = _of(Shell, " [0] 0000:02:00.1 xilinx_vck5000-es1_gen3x16_base_2(ID=0xb376430f2629b15d) user(inst=128)\n")
    assert (shell.vbnv, shell.uuid, shell.source.era) == (
        "xilinx_vck5000-es1_gen3x16_base_2", "0xb376430f2629b15d", Era.LEGACY,
    )  # fmt: skip
    assert _of(Unreadable, f"[{samples.BDF}] : xilinx_x {samples.UUID} user(inst=1) Yess\n")


def test_no_cards() -> None:
    assert [h.cards for h in _of(Host, "Devices present\n  0 devices found\n")] == [0]
    assert [h.cards for h in _of(Host, "Devices present\n")] == [None] and _of(Unreadable, "Devices present\n")
    assert _of(Unreadable, "System Configuration\n  OS Name : Linux\nXRT\n  Version : 2.14.354\n")


def test_readings_under_an_unknown_name_are_not_passed_over() -> None:
    text = samples.examine_text({"device": 99}).replace("Thermals", "Temperatures now")
    assert [u.reason for u in _of(Unreadable, text)] == ["readings under the unknown name 'Temperatures now'"]


def test_a_tripped_firewall() -> None:
    assert [f.tripped for f in _of(Firewall, "Firewall\n  Level 1: 0x80000 (WRITE_RESPONSE_BUSY)\n")] == [True]
    assert not _of(Firewall, "Firewall\n  Level -- --: -- --\n")


def test_two_commands_in_one_log() -> None:
    log = (
        f"root@lab:~# xbutil examine -r thermal\nThermals\n  device : 45 C\nuser$ dmesg | tail\n{samples.legacy_text()}"
    )
    assert [t.celsius for t in _of(Temperature, log)] == [45.0] and not _of(Unreadable, log)
