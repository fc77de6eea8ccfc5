"""Verdicts: each reference sample by name, healthy folders of each era, and each fault on its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deploy.card.evidence import from_files, from_folder
from deploy.card.judge import Judgement, demand, judged
from deploy.card.live import Depth
from deploy.card.verdict import Check, Status
from tests.deploy.card import samples
from tests.shared import SHARED, needs_shared
from xmodel.errors import GateError, UnavailableError

XBUTIL = SHARED / "samples/xbutil"
ES1 = "xilinx_vck5000-es1_gen3x16_base_2"


def _judge(files: dict[str, bytes], **options: Any) -> Judgement:
    return judged(from_files(files.items()), **options)


def _checks(judgement: Judgement, card: int = 0) -> dict[str, Check]:
    return {check.name: check for check in judgement.cards[card].checks}


def _bad(judgement: Judgement, card: int = 0) -> list[str]:
    return [check.name for check in judgement.cards[card].failed]


def test_a_healthy_production_card() -> None:
    judgement = _judge(samples.folder())
    assert int(judgement.exit_code) == 0 and judgement.sentence == "1 card healthy."
    checks = _checks(judgement)
    assert {name for name, check in checks.items() if check.status is not Status.OK} == {"Device files", "Firewall"}
    assert checks["PCIe device"].measured == "VCK5000: 0000:21:00.0 10ee:5048, 0000:21:00.1 10ee:5049"
    assert checks["PCIe link"].measured == "Gen4 x8, 15.8 GB/s"
    assert checks["Temperature FPGA"].measured == "52 °C, 43 below throttling"
    assert checks["Temperature FPGA"].limit == "warning 88, critical 97 °C, throttling 95, shutdown 100"
    assert checks["Total power"].measured == "47 W, 244 W below throttling"
    assert checks["Slot power"].measured == "20.5 W" and checks["Clocks"].measured == "DATA_CLK 350 MHz"
    assert checks["DMA write"].measured == "9,011 MB/s, 99% of a healthy card's"
    assert checks["Memory bandwidth"].measured == "48,111 MB/s, 97% of a healthy card's"
    assert checks["IOPS"].measured == "90,210 a second, 99% of a healthy card's"
    demand(judgement)


@pytest.mark.parametrize(
    "files",
    [
        {"log": samples.examine_text().encode() + samples.validation_text().encode()},
        {
            "a": samples.validation_text("2021", vbnv=ES1).encode(),
            "b": samples.host("2.11.648", vbnv=ES1, ready="")[:0],
        },
        {"a": samples.legacy_text().encode()},
        {"a": samples.validation()},
        {"utf16": samples.validation_text().replace("\n", "\r\n").encode("utf-16")},
    ],
    ids=["2022 text", "2021 text", "legacy text", "2022 JSON", "2022 text of Windows"],
)
def test_healthy_in_every_era(files: dict[str, bytes]) -> None:
    assert int(_judge(files).exit_code) == 0


def test_a_healthy_card_of_the_release_before() -> None:
    judgement = _judge(samples.folder_2021())
    assert int(judgement.exit_code) == 0 and not judgement.cards[0].warnings, judgement.sentence
    checks = _checks(judgement)
    assert checks["Temperature FPGA"].measured == "47 °C, 48 below throttling"
    assert checks["Temperature PCB"].measured == "33 °C, 52 below critical" and "Temperature QSFP cage" not in checks
    assert checks["PCIe link"].measured == "Gen3 x16, 15.8 GB/s" and checks["AUX power"].measured.startswith(
        "12v_aux_0"
    )
    assert checks["XRT for this shell"].limit == "2.12.427 (Vitis AI 2.0) or 2.12.427 (Vitis AI 2.5)"
    assert checks["validate: vcu"].status is Status.NOT_APPLICABLE and checks["Firewall"].status is Status.OK


@pytest.mark.parametrize(("mhz", "loaded", "status"), [
    (350, True, Status.OK), (300, False, Status.OK), (300, True, Status.WARNING), (0, False, Status.WARNING),
    (0, True, Status.FAILED), ("fast", False, Status.FAILED),
])  # fmt: skip
def test_clocks(mhz: object, loaded: bool, status: Status) -> None:
    part = samples.platform()
    part["platforms"][0]["clocks"] = [{"id": "DATA_CLK", "freq_mhz": mhz}]
    units: dict[str, Any] = {"dynamic_regions": [{"compute_units": [{"name": "DPUCVDX8H_1"}]}]} if loaded else {}
    assert _checks(_judge({"a": samples.device(**part, **units)}))["Clocks"].status is status


FAULTS: dict[str, tuple[dict[str, bytes], list[str]]] = {
    "hot FPGA": ({"thermal": samples.device(**samples.thermals(device=97))}, ["Temperature FPGA"]),
    "hot vccint": ({"thermal": samples.device(**samples.thermals(vccint="110,5"))}, ["Temperature vccint"]),
    "hot board": ({"thermal": samples.device(**samples.thermals(PCB=85))}, ["Temperature PCB"]),
    "hot cage": ({"thermal": samples.device(**samples.thermals(cage_temp_1=91))}, ["Temperature QSFP cage"]),
    "impossible": ({"thermal": samples.device(**samples.thermals(device=52000))}, ["Temperature FPGA"]),
    "no AUX": ({"electrical": samples.device(**samples.electrical(**{"12v_aux_1": (0.04, 0)}))}, ["AUX power"]),
    "weak AUX": ({"electrical": samples.device(**samples.electrical(**{"12v_aux_0": (10.9, 5)}))}, ["AUX power"]),
    "loaded AUX": (
        {"electrical": samples.device(**samples.electrical(**{"12v_aux_0": (12, 6.4), "12v_aux_1": (12, 6.3)}))},
        ["AUX power"],
    ),
    "loaded slot": ({"electrical": samples.device(**samples.electrical(**{"12v_pex": (12, 5.6)}))}, ["Slot power"]),
    "too much power": ({"electrical": samples.device(**samples.electrical(295))}, ["Total power"]),
    "low slot": ({"electrical": samples.device(**samples.electrical(**{"3v3_pex": (2.9, None)}))}, ["Supply voltages"]),
    "no memory": ({"platform": samples.device(**samples.platform(False))}, ["Memory calibrated"]),
    "lost link": ({"pcie": samples.device(**samples.pcie(1, 1))}, ["PCIe link"]),
    "strange link": ({"pcie": samples.device(**samples.pcie("fast", 8))}, ["PCIe link"]),
    "not ready": ({"host": samples.host(ready=False)}, ["XRT sees the card"]),
    "golden": ({"host": samples.host(vbnv="xilinx_vck5000_GOLDEN_9")}, ["Shell"]),
    "inactive SC": ({"platform": samples.device(**samples.platform(sc="INACTIVE"))}, ["Shell", "Satellite controller"]),
    "firewall": (
        {"wall": samples.device(firewall={"firewall_level": 1, "firewall_status": "0x80000", "status": "(BUSY)"})},
        ["Firewall"],
    ),
    "vfio": ({"lspci": samples.LSPCI.replace("xocl", "vfio-pci").encode()}, ["Drivers"]),
    "no driver": ({"lspci": samples.LSPCI.replace("\tKernel driver in use: xocl\n", "").encode()}, ["Drivers"]),
    "verify": (
        {"validate": samples.validation({2: "FAILED"})},
        ["validate", "validate: verify", "validate: dma", "validate: mem-bw"],
    ),
    "verify skipped": ({"validate": samples.validation({2: "SKIPPED"})}, ["validate: verify"]),
    "dma": ({"validate": samples.validation({3: "FAILED"})}, ["validate", "validate: dma", "validate: mem-bw"]),
    "mem-bw skipped": ({"validate": samples.validation({5: "SKIPPED"})}, ["validate: mem-bw"]),
    "mem-bw odd": ({"validate": samples.validation({5: "FINE"})}, ["validate", "validate: mem-bw"]),
    "iops skipped with an error": (
        {"validate": samples.validation({4: "SKIPPED"}, log={4: [("Error", "no xclbin")]})},
        ["validate", "validate: iops"],
    ),
    "slow DMA": (
        {"validate": samples.validation(log={3: [
            ("Details", "Host -> PCIe -> FPGA write bandwidth = 9000 MB/s"),
            ("Details", "Host <- PCIe <- FPGA read bandwidth = 4000 MB/s"),
        ]})},
        ["DMA read"],
    ),
    "unreadable DMA": (
        {"validate": samples.validation(log={3: [("Details", "Host -> PCIe -> FPGA write bandwidth = fast MB/s")]})},
        ["DMA write", "DMA read"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found_and_no_other(fault: str) -> None:
    changed, names = FAULTS[fault]
    judgement = _judge(samples.folder(**changed))
    assert int(judgement.exit_code) == 1 and _bad(judgement) == names
    assert all(check.measured for check in judgement.cards[0].checks)
    with pytest.raises(GateError, match="Not healthy: 0000:21:00"):
        demand(judgement)


WARNINGS: dict[str, tuple[dict[str, bytes], list[str]]] = {
    "warm": ({"thermal": samples.device(**samples.thermals(device=88))}, ["Temperature FPGA"]),
    "slow link": ({"pcie": samples.device(**samples.pcie(3, 8))}, ["PCIe link"]),
    "old SC": (
        {"platform": samples.device(**samples.platform(sc="4.4.32")).replace(
            b'expected_version": "4.4.32"', b'expected_version": "4.4.35"'
        )},
        ["Satellite controller"],
    ),
    "other XRT": ({"host": samples.host("2.13.466")}, ["XRT for this shell"]),
    "other shell": ({
        "host": samples.host(vbnv="xilinx_vck5000_gen4x8_qdma_base_1"),
        "platform": samples.device(**samples.platform(vbnv="xilinx_vck5000_gen4x8_qdma_base_1")),
        "validate": samples.validation().replace(b"base_2", b"base_1"),
    }, ["Shell"]),
    "sagging AUX": ({"electrical": samples.device(**samples.electrical(**{"12v_aux_0": (11.2, 2)}))}, ["AUX power"]),
    "link warning": (
        {"validate": samples.validation(log={0: [("Warning", "plugged into Gen 4x8, instead of Gen 3x8.")]})},
        ["PCIe link", "validate: pcie-link"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WARNINGS)
def test_what_is_worth_a_warning_is_still_healthy(name: str) -> None:
    changed, names = WARNINGS[name]
    judgement = _judge(samples.folder(**changed))
    assert int(judgement.exit_code) == 0 and [c.name for c in judgement.cards[0].warnings] == names
    assert "warning" in judgement.sentence and all(c.advice for c in judgement.cards[0].warnings)


def test_the_link_tells_what_it_costs() -> None:
    link = _checks(_judge(samples.folder(pcie=samples.device(**samples.pcie(3, 4)))))["PCIe link"]
    assert link.measured == "Gen3 x4, 3.9 GB/s, 25% of what the shell can use" and link.limit == "Gen4 x8, 15.8 GB/s"
    assert "up to 15,705 a second" in link.advice


def test_a_slower_link_is_expected_to_transfer_less() -> None:
    slow = samples.validation(log={3: [("Details", "Host -> PCIe -> FPGA write bandwidth = 3102.1 MB/s")]})
    checks = _checks(_judge(samples.folder(pcie=samples.device(**samples.pcie(3, 4)), validate=slow)))
    assert checks["DMA write"].status is Status.OK and checks["DMA write"].limit == "about 3,102 MB/s on Gen3 x4"


def test_small_buffers_say_nothing_about_the_link() -> None:
    log = [("Details", "Buffer size - '4 KB'"), ("Details", "Host -> PCIe -> FPGA write bandwidth = 90.1 MB/s"),
           ("Details", "Buffer size - '16 MB'"), ("Details", "Host -> PCIe -> FPGA write bandwidth = 9001.2 MB/s"),
           ("Details", "Host <- PCIe <- FPGA read bandwidth = 8700 MB/s")]  # fmt: skip
    checks = _checks(_judge(samples.folder(validate=samples.validation(log={3: log}))))
    assert checks["DMA write"].measured == "9,001 MB/s, 98% of a healthy card's"


def test_without_validate_nothing_is_healthy_but_the_quick_check_says_so() -> None:
    files = samples.folder()
    del files["validate"]
    assert _bad(_judge(files)) == ["validate", "validate: verify", "validate: dma", "validate: mem-bw"]
    quick = _judge(files, depth=Depth.QUICK)
    assert int(quick.exit_code) == 0 and "not yet a proof of health" in quick.sentence


def test_one_report_lost_from_a_file_of_all_reports() -> None:
    parts = {**samples.thermals(), **samples.electrical(), **samples.pcie(), **samples.platform()}
    files = {"host": samples.host(), "all": samples.device(**parts), "validate": samples.validation()}
    assert int(_judge(files).exit_code) == 0
    for part in ("thermals", "electrical", "pcie_info", "platforms"):
        rest = {name: value for name, value in parts.items() if name != part}
        assert "Complete report" in _bad(_judge({**files, "all": samples.device(**rest)}))


def test_what_cannot_be_read_is_not_healthy() -> None:
    judgement = _judge(samples.folder(thermal=samples.device(**samples.thermals())[:-30]))
    assert int(judgement.exit_code) == 1 and judgement.sentence == "Not healthy: Output readable."
    assert judgement.machine[1].measured.startswith("thermal: its JSON is not whole")


def test_several_cards_are_judged_one_by_one() -> None:
    other = "0000:65:00.1"
    files = samples.folder(
        hot=samples.device(other, **samples.thermals(device=99)), second=samples.validation(bdf=other)
    )
    judgement = _judge(files)
    assert [(v.card.slot, v.healthy) for v in judgement.cards] == [("0000:21:00", True), ("0000:65:00", False)]
    assert _bad(judgement, 1) == ["Temperature FPGA"] and int(judgement.exit_code) == 1
    assert int(_judge(files, device="21:00.1").exit_code) == 0
    with pytest.raises(UnavailableError, match="no card '17:00'"):
        _judge(files, device="17:00")


def test_another_card_is_no_vck5000() -> None:
    files = {
        "lspci": b"21:00.0 Processing accelerators: Xilinx Corporation Device 5000\n\tKernel driver in use: xclmgmt\n",
        "validate": samples.validation_text(vbnv="xilinx_u200_gen3x16_xdma_base_2").encode(),
    }
    judgement = _judge(files)
    assert int(judgement.exit_code) == 1 and "PCIe device" in _bad(judgement)
    mixed = _judge(samples.folder(other=b"17:00.0 Processing accelerators: Xilinx Corporation Device 5000\n"))
    assert [v.card.slot for v in mixed.cards] == ["0000:21:00"] and int(mixed.exit_code) == 0


def test_nothing_usable() -> None:
    judgement = _judge({"a": b"hello", "b": b"{}"})
    assert int(judgement.exit_code) == 3 and judgement.unrecognised == ("a", "b")
    with pytest.raises(UnavailableError) as caught:
        demand(judgement, "yum")
    for part in ("sudo yum install ./xrt_202220.2.14.354_*.rpm", "--release 1.4.1", "--device emulator"):
        assert part in caught.value.hint


def test_a_cut_file_alone_is_a_failed_check() -> None:
    assert int(_judge({"a": samples.validation()[:200]}).exit_code) == 1


_SAMPLES: dict[str, tuple[int, dict[str, str]]] = {
    "vck5000_es1_legacy_validate_pass_v1.4.1.txt": (0, {
        "DMA write": "9,141 MB/s, 100% of a healthy card's", "DMA read": "8,533 MB/s, 100% of a healthy card's",
        "Memory bandwidth": "49,676 MB/s, 100% of a healthy card's",
        "IOPS": "91,255 a second, 100% of a healthy card's", "Shell": ES1,
    }),
    "vck5000_es1_validate_xrt2.11_pcie_warn.txt": (0, {
        "PCIe link": "Gen3 x4, 3.9 GB/s, 25% of what the shell can use", "Satellite controller": "4.4.6",
        "DMA write": "3,102 MB/s, 100% of a healthy card's", "DMA read": "3,294 MB/s, 100% of a healthy card's",
    }),
    "vck5000_es1_legacy_validate_fail_2020.1.txt": (1, {
        "validate: verify": "FAILED: [XRT] ERROR: See dmesg log for details. err=-19 ERROR: Failed to download xclbin: "
        "verify.xclbin",
        "PCIe link": "Gen3 x8, 7.9 GB/s, 50% of what the shell can use",
        "validate: dma": "did not run: testing stops at the first failure",
    }),
    "vck5000_es1_lspci.txt": (1, {
        "PCIe device": "VCK5000-ES1: 0000:02:00.0 10ee:5044, 0000:02:00.1 10ee:5045",
        "Drivers": "0000:02:00.0 xclmgmt, 0000:02:00.1 xocl", "validate": "did not run",
    }),
    "vck5000_es1_xbmgmt_flash_scan.txt": (1, {
        "Shell": "xilinx_vck5000-es1_g3x16_201921_1; installed on the host: xilinx_vck5000-es1_gen3x16_base_2",
        "Satellite controller": "4.4",
    }),
    "vck5000_prod_examine_validate_gen4x8.txt": (1, {
        "PCIe link": "Gen3 x8, 7.9 GB/s, 50% of what the shell can use", "Satellite controller": "4.4.32",
        "XRT sees the card": "listed, ready", "validate": "its output ends before its end",
    }),
    "other_alveo_examine_legacy_electrical.txt": (1, {
        "PCIe device": "nothing tells which card this is", "Temperature FPGA": "39 °C, 56 below throttling",
        "AUX power": "12v_aux_0 0.45 V", "Slot power": "17.4 W", "Total power": "17.4238 W, 273.576 W below throttling",
    }),
    "simulated-card/healthy_gen4x8.validate.json": (1, {
        "validate: pcie-link": "PASSED", "validate: aux-connection": "SKIPPED: XRT has no such test for this card",
        "validate: verify": 'SKIPPED: Failed to find "/opt/xilinx/firmware/" Please check if the platform package is '
        "installed correctly",
    }),
    "simulated-card/healthy_gen4x8.validate.txt": (1, {"validate": "failed", "validate: verify": "no status"}),
    "simulated-card/healthy_gen4x8.validate_quick_verbose.txt": (1, {
        "validate: verify": 'SKIPPED: Failed to find "/opt/xilinx/firmware/" Please check if the platform package is '
        "installed correctly",
    }),
    "simulated-card/degraded_gen3x4_hot98C.examine.thermal.json": (1, {
        "Temperature FPGA": "98 °C: critical from 97, throttling from 95",
        "Temperature vccint": "47 °C, 58 below throttling", "Temperature PCB": "38 °C, 47 below critical",
    }),
    "simulated-card/degraded_gen3x4_hot98C.examine.thermal.txt": (1, {
        "Temperature FPGA": "98 °C: critical from 97, throttling from 95",
    }),
    "simulated-card/degraded_gen3x4_hot98C.examine.pcie-info.json": (1, {
        "PCIe link": "Gen3 x4, 3.9 GB/s, 25% of what the shell can use",
    }),
    "simulated-card/degraded_gen3x4_hot98C.examine.pcie-info.txt": (1, {
        "PCIe link": "Gen3 x4, 3.9 GB/s, 25% of what the shell can use",
    }),
    "simulated-card/healthy_gen4x8.examine.electrical.json": (1, {
        "AUX power": "12v_aux_0 12.11 V 18.0 W, 12v_aux_1 12.11 V 10.3 W", "Slot power": "20.5 W",
        "Total power": "48 W, 243 W below throttling",
    }),
    "simulated-card/healthy_gen4x8.examine.electrical.txt": (1, {
        "AUX power": "12v_aux_0 12.11 V 18.0 W, 12v_aux_1 12.11 V 10.3 W",
        "Supply voltages": "12v_pex 12.06 V, 3v3_pex 3.32 V, 3v3_aux 3.33 V",
    }),
    "simulated-card/healthy_gen4x8.examine.platform.json": (1, {"Memory calibrated": "true"}),
    "simulated-card/healthy_gen4x8.examine.platform.txt": (1, {"Memory calibrated": "true"}),
    "simulated-card/healthy_gen4x8.examine.thermal.json": (1, {"Temperature FPGA": "45 °C, 50 below throttling"}),
    "simulated-card/healthy_gen4x8.examine.pcie-info.json": (1, {"PCIe link": "Gen4 x8, 15.8 GB/s"}),
    "simulated-card/healthy_gen4x8.examine.firewall.txt": (1, {"Firewall": "this shell has no levels"}),
    "simulated-card/healthy_gen4x8.examine_host.txt": (1, {
        "XRT sees the card": "listed, ready", "XRT for this shell": "2.14.354",
    }),
}  # fmt: skip


@needs_shared
@pytest.mark.parametrize("name", _SAMPLES)
def test_a_reference_sample_with_its_values(name: str) -> None:
    code, measured = _SAMPLES[name]
    judgement = judged(from_folder(XBUTIL / name))
    assert int(judgement.exit_code) == code
    checks = _checks(judgement)
    assert {check: checks[check].measured for check in measured} == measured


@needs_shared
@pytest.mark.parametrize("path", sorted(p for p in XBUTIL.rglob("*") if p.is_file()), ids=lambda p: p.name)
def test_every_reference_sample_alone(path: Path) -> None:
    """Without a card: 3. One report of a card: 1, for the rest is missing. Only a whole good validate: 0."""
    good = ("vck5000_es1_legacy_validate_pass_v1.4.1.txt", "vck5000_es1_validate_xrt2.11_pcie_warn.txt")
    without_card = "no-card" in path.parent.name or path.name == "README.md"
    assert int(judged(from_folder(path)).exit_code) == (3 if without_card else 0 if path.name in good else 1)


@needs_shared
@pytest.mark.parametrize(
    ("name", "code"), [("no-card-debian-wrapper", 3), ("no-card-xrt-2.14", 3), ("simulated-card", 1), ("", 1)]
)
def test_the_reference_folders(name: str, code: int) -> None:
    judgement = judged(from_folder(XBUTIL / name))
    assert int(judgement.exit_code) == code
    if name == "no-card-debian-wrapper":
        assert judgement.machine[1].status is Status.BROKEN


@needs_shared
def test_the_three_cards_of_the_flash_scan() -> None:
    cards = judged(from_folder(XBUTIL / "vck5000_es1_xbmgmt_flash_scan.txt")).cards
    statuses = [{c.name: c.status for c in v.checks} for v in cards]
    assert [s["Shell"] for s in statuses] == [Status.WARNING, Status.OK, Status.FAILED]
    assert [s["Satellite controller"] for s in statuses] == [Status.OK, Status.OK, Status.FAILED]
