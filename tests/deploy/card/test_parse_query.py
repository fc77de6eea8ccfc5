"""The legacy `xbutil query` and `scan`: made up after their format, each fault told by name."""

from __future__ import annotations

import pytest

from deploy.card import parse_query
from deploy.card.evidence import from_files
from deploy.card.facts import Host, Rail, Temperature
from deploy.card.judge import Judgement, judged
from tests.deploy.card import samples

RULE = "~" * 80
QUERY = f"""INFO: Found total 1 card(s), 1 are usable
{RULE}
System Configuration
OS name:\tLinux
{RULE}
XRT Information
Version:\t2.11.648
Git Branch:\t2021.1
XOCL:\t\t2.11.648,deadbeef
XCLMGMT:\t2.11.648,deadbeef
{RULE}
Shell                           FPGA                            IDCode
xilinx_vck5000-es1_gen3x16_base_2   xcvc1902-vsvd1760       0x14ca8093
Vendor          Device          SubDevice       SubVendor       SerNum
0x10ee          0x5045          0xe             0x10ee          XFL1
PCIe            DMA chan(bidir) MIG Calibrated  P2P Enabled     OEM ID
GEN 3x16        2               true            false           0x10da(Xilinx Inc.)
{RULE}
Temperature(C)
PCB TOP FRONT   PCB TOP REAR    PCB BTM FRONT   VCCINT TEMP
38              N/A             0               46
FPGA TEMP       TCRIT Temp      FAN Presence    FAN Speed(RPM)
45              N/A             P               N/A
{RULE}
Electrical(mV|mA)
12V PEX         12V AUX         12V PEX Current 12V AUX Current
12050           12100           1300            1490
3V3 PEX         3V3 AUX         DDR VPP BOTTOM  DDR VPP TOP
3297            N/A             N/A             N/A
Card Power(W)
38
{RULE}
Firewall Last Error Status
Level 0 : 0x0(GOOD)
{RULE}
INFO: xbutil query succeeded.
"""
SCAN = f"""INFO: Found total 1 card(s), 0 are usable
{RULE}
System Configuration
OS name:\tLinux
{RULE}
*[0] 0000:65:00.1 xilinx_vck5000-es1_gen3x16_base_2(ID=0xb376430f2629b15d) user(inst=128)
WARNING: card(s) marked by '*' are not ready, run xbmgmt flash --scan --verbose to further check the details.
"""


def _judged(text: str) -> Judgement:
    return judged(from_files([("log", f"$ xbutil query\n{text}$ xbutil validate\n{samples.legacy_text()}".encode())]))


def _failed(judgement: Judgement) -> list[str]:
    return [c.name for v in judgement.cards for c in v.failed] + [
        c.name for c in judgement.machine if c.status == "failed"
    ]


def test_a_healthy_card() -> None:
    assert int(_judged(QUERY).exit_code) == 0
    facts = parse_query.facts_of(QUERY.split("\n"), "x")
    assert [(f.sensor, f.celsius) for f in facts if isinstance(f, Temperature)] == [
        ("pcb top front", 38.0), ("vccint", 46.0), ("fpga", 45.0),
    ]  # fmt: skip
    assert [(f.rail, f.volts, f.amps) for f in facts if isinstance(f, Rail)][-1][1:] in ((12.1, 1.49), (3.297, None))
    assert [(f.xrt, f.drivers[0]) for f in facts if isinstance(f, Host)] == [("2.11.648", ("xocl", "2.11.648"))]


@pytest.mark.parametrize(
    ("good", "bad", "check"),
    [
        ("45              N/A", "99              N/A", "Temperature FPGA"),
        ("45              N/A", "N/A             N/A", "Temperature FPGA"),
        ("12100           1300", "40              1300", "AUX"),
        ("12050  ", "N/A    ", "Supply voltages"),
        ("2               true ", "2               false", "Memory calibrated"),
        ("GEN 3x16", "GEN 1x1 ", "PCIe link"),
        ("\n38\n", "\n310\n", "Total power"),
        ("0x0(GOOD)", "0x80000(READ_RESPONSE_TIMEOUT)", "Firewall"),
        ("1490\n", "\n", "Output readable"),
    ],
)  # fmt: skip
def test_each_fault_has_its_name(good: str, bad: str, check: str) -> None:
    assert QUERY.count(good) == 1
    judgement = _judged(QUERY.replace(good, bad))
    assert int(judgement.exit_code) == 1 and any(check in name for name in _failed(judgement)), _failed(judgement)


def test_a_query_that_was_cut_anywhere_before_its_end_is_not_healthy() -> None:
    lines = QUERY.split("\n")
    last = lines.index("Level 0 : 0x0(GOOD)")
    for at in range(1, last + 1):
        assert int(_judged("\n".join(lines[:at]) + "\n").exit_code) == 1, lines[at]
    for at in range(lines.index("FPGA TEMP       TCRIT Temp      FAN Presence    FAN Speed(RPM)"), last):
        assert int(_judged("\n".join(lines[at:])).exit_code) == 1, lines[at]


def test_a_card_that_validate_found_and_did_not_tell_of() -> None:
    both = QUERY + samples.legacy_text().replace("Found 1 card", "Found 2 card")
    assert "Output readable" in _failed(_judged(both))


def test_a_starred_card_of_a_scan_is_not_ready() -> None:
    assert "XRT sees the card" in _failed(_judged(SCAN))
    assert int(_judged(SCAN.replace("*[0]", " [0]").replace("0 are", "1 are")).exit_code) == 0


@pytest.mark.parametrize(
    "text", ["", "INFO: xbutil query succeeded.\n", "\nCard Power(W)\n", "Firewall Last Error Status"]
)
def test_remains_of_a_query_are_survived_and_told(text: str) -> None:
    assert int(_judged(text).exit_code) == (1 if text else 0)
