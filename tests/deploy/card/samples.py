"""Tool output for the tests, written after the formats' rules: each era, healthy or with a fault put in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

BDF = "0000:21:00.1"
GEN4 = "xilinx_vck5000_gen4x8_qdma_base_2"
UUID = "05DCA096-76CB-730B-8D19-EC1192FBAE3F"
NAMES = {
    "legacy": ("PCIE link check", "SC firmware version check", "verify kernel test", "DMA test", "IOPS test",
               "device memory bandwidth test"),
    "2021": ("PCIE link", "SC version", "Verify kernel", "DMA", "iops", "Bandwidth kernel"),
    "2022": ("pcie-link", "sc-version", "verify", "dma", "iops", "mem-bw"),
}  # fmt: skip
DETAILS = {
    3: ("Host -> PCIe -> FPGA write bandwidth = 9011.2 MB/s", "Host <- PCIe <- FPGA read bandwidth = 8702.9 MB/s"),
    4: ("Maximum IOPS: 90210",),
    5: ("Maximum throughput: 48111 MB/s",),
}


def dumps(value: Any) -> bytes:
    """As the tools write it: every leaf text, empty lists as ""."""
    return json.dumps(_leaves(value), indent=4).encode()


def _leaves(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _leaves(v) for k, v in value.items()} or ""
    if isinstance(value, list | tuple):
        return [_leaves(v) for v in value] or ""
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def device(bdf: str = BDF, **parts: Any) -> bytes:
    """`xbutil examine --report ...` as JSON with these parts."""
    return dumps({
        "schema_version": {"schema": "JSON", "creation_date": "Mon Jan 5 10:00:00 2026 GMT"},
        "devices": [{"interface_type": "pcie", "device_id": bdf, **parts}],
    })  # fmt: skip


def host(xrt: str = "2.14.354", bdf: str = BDF, vbnv: str = GEN4, ready: object = True) -> bytes:
    """`xbutil examine` as JSON with one card."""
    versions = [{"name": n, "version": f"{xrt}, 43926231f7183688add2dccfd391b36a1f000bea"} for n in ("xocl", "xclmgmt")]
    listed = [{"bdf": bdf, "vbnv": vbnv, "id": UUID, "instance": "user(inst=128)", "is_ready": ready}]
    return dumps({
        "schema_version": {"schema": "JSON"},
        "system": {"host": {
            "os": {"hostname": "lab7", "sysname": "Linux"},
            "xrt": {"version": xrt, "branch": "2022.2", "drivers": versions},
            "devices": listed,
        }},
    })  # fmt: skip


def thermals(**celsius: object) -> dict[str, Any]:
    """The thermal part; keywords are sensors."""
    readings = {"PCB": 41, "device": 52, "vccint": 55, "cage_temp_0": 0, "cage_temp_1": 0, **celsius}
    return {"thermals": [
        {"location_id": name, "description": name, "temp_C": value, "is_present": value != 0}
        for name, value in readings.items()
    ]}  # fmt: skip


def electrical(watts: object = 47, **rails: tuple[object, object]) -> dict[str, Any]:
    """The electrical part; keywords are rails with (volts, amps)."""
    readings: dict[str, tuple[object, object]] = {
        "12v_pex": (12.05, 1.7), "3v3_pex": (3.31, None), "3v3_aux": (3.32, None),
        "12v_aux_0": (12.11, 1.5), "12v_aux_1": (12.10, 0.9), **rails,
    }  # fmt: skip
    listed = [
        {"id": name, "description": name, "voltage": {"volts": volts, "is_present": True},
         "current": {"is_present": False} if amps is None else {"amps": amps, "is_present": True}}
        for name, (volts, amps) in readings.items()
    ]  # fmt: skip
    power = {f"power_consumption_{n}": v for n, v in (("watts", watts), ("max_watts", "NA"), ("warning", "NA"))}
    return {"electrical": {"power_rails": listed, **power}}


def pcie(generation: object = 4, lanes: object = 8, expected: tuple[object, object] = (4, 8)) -> dict[str, Any]:
    """The PCIe part."""
    return {"pcie_info": {
        "vendor": "0x10ee", "device": "0x5049", "sub_device": "0x000e", "sub_vendor": "0x10ee",
        "link_speed_gbit_sec": generation, "expected_link_speed_gbit_sec": expected[0],
        "express_lane_width_count": lanes, "expected_express_lane_width_count": expected[1], "cpu_affinity": "0-7",
    }}  # fmt: skip


def platform(calibrated: object = True, vbnv: str = GEN4, sc: str = "4.4.35") -> dict[str, Any]:
    """The platform part."""
    return {"platforms": [{
        "static_region": {"vbnv": vbnv, "logic_uuid": UUID, "jtag_idcode": "0x14ca8093", "fpga_name": "xcvc1902"},
        "status": {"mig_calibrated": calibrated, "p2p_status": "not supported"},
        "controller": {"satellite_controller": {"version": sc, "expected_version": sc}},
        "clocks": [{"id": "DATA_CLK", "description": "DATA", "freq_mhz": 350}],
        "config": {"p2p": []},
    }]}  # fmt: skip


def validation(
    outcomes: Mapping[int, str] | None = None,
    bdf: str = BDF,
    log: Mapping[int, Sequence[tuple[str, str]]] | None = None,
) -> bytes:
    """`xbutil validate` of 2022.1+ as JSON; `outcomes` by the test's number in `NAMES`, "PASSED" else."""
    tests = []
    for index, name in enumerate(NAMES["2022"]):
        status = (outcomes or {}).get(index, "PASSED")
        lines = [
            {kind: text} for kind, text in (log or {}).get(index, [("Details", d) for d in DETAILS.get(index, ())])
        ]
        tests.append(
            {"name": name, "description": name, "xclbin": "", "explicit": False, "log": lines, "status": status}
        )
        if status == "FAILED":  # testing stops there
            break
    card = {"device_id": bdf, "platform": GEN4, "platform_id": UUID, "sc_version": "4.4.35", "tests": tests}
    return dumps({"logical_devices": [card]})


def validation_text(
    era: str = "2022", outcomes: Mapping[int, str] | None = None, bdf: str = BDF, vbnv: str = GEN4
) -> str:
    """The text of `validate` since 2021.1; `outcomes` as for `validation`."""
    lines = [
        "Starting validation for 1 devices", "", f"Validate Device           : [{bdf}]",
        f"    Platform              : {vbnv}", "    SC Version            : 4.4.35",
        f"    Platform ID           : {UUID}",
    ]  # fmt: skip
    failed = False
    for index, name in enumerate(NAMES[era]):
        status = (outcomes or {}).get(index, "PASSED")
        lines += ["-" * 79, f"Test {index + 1} [{bdf}]     : {name} "]
        for place, text in enumerate(DETAILS.get(index, ())):
            lines.append(f"    Details               : {text}" if place == 0 else f"{' ' * 28}{text}")
        lines.append(f"    Test Status           : [{status}]")
        if status == "FAILED":
            failed = True
            break
    lines += ["-" * 79, "Validation failed" if failed else "Validation completed"]
    return "\n".join(lines) + "\n"


def legacy_text(outcomes: Mapping[int, str] | None = None, vbnv: str = "xilinx_vck5000-es1_gen3x16_base_2") -> str:
    """The text of the legacy `validate`; `outcomes` as for `validation`."""
    lines = ["INFO: Found 1 cards", "", f"INFO: Validating card[0]: {vbnv}"]
    failed = False
    for index, name in enumerate(NAMES["legacy"]):
        status = (outcomes or {}).get(index, "PASSED")
        level = {"FAILED": "ERROR", "PASSED with warning": "WARN"}.get(status, "INFO")
        lines += [f"INFO: == Starting {name}:", *DETAILS.get(index, ()), f"{level}: == {name} {status}"]
        if status == "FAILED":
            failed = True
            break
    end = ("failed to validate.", "ERROR: Some cards failed to validate.")
    well = ("validated successfully.", "INFO: All cards validated successfully.")
    return "\n".join([*lines, f"INFO: Card[0] {(end if failed else well)[0]}", "", (end if failed else well)[1]]) + "\n"


def examine_text(
    celsius: Mapping[str, object] | None = None,
    link: str = "Gen4x8",
    bdf: str = BDF,
    vbnv: str = GEN4,
    rails: Mapping[str, str] | None = None,
) -> str:
    """The text of `xbutil examine` with host, thermal, electrical, PCIe and platform reports."""
    temperatures = {"PCB": 41, "device": 52, "vccint": 55, **(celsius or {})}
    supplies = {
        "12v_pex": "12.051 V,  1.702 A", "3v3_pex": " 3.312 V", "3v3_aux": " 3.320 V",
        "12v_aux_0": "12.110 V,  1.510 A", "12v_aux_1": "12.101 V,  0.910 A", **(rails or {}),
    }  # fmt: skip
    bar = "-" * (len(vbnv) + len(bdf) + 5)
    lines = [
        "XRT", "  Version              : 2.14.354", "  Branch               : 2022.2",
        "  XOCL                 : 2.14.354, 43926231f7183688", "  XCLMGMT              : 2.14.354, 43926231f7183688",
        "", "Devices present", "BDF             :  Shell  Platform UUID  Device ID  Device Ready*", bar,
        f"[{bdf}]  :  {vbnv}  {UUID}  user(inst=128)  Yes", "", "", bar, f"[{bdf}] : {vbnv}", bar,
        "Thermals", "  Temperature            : Celcius",
        *(f"  {name:<22} : {value:>6} C" for name, value in temperatures.items()), "",
        "Electrical", "  Max Power              : NA Watts", "  Power                  : 47 Watts",
        "  Power Warning          : NA", "", "  Power Rails            : Voltage   Current",
        *(f"  {name:<22} : {value}" for name, value in supplies.items()), "",
        "Pcie Info", "  Vendor                 : 0x10ee", "  Device                 : 0x5049",
        f"  PCIe                   : {link}", "",
        "Platform", f"  XSA Name               : {vbnv} ", f"  Platform UUID          : {UUID} ",
        "  Mig Calibrated         : true ", "", "Firewall", "  Level 0: 0x0 (GOOD)", "",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


LSPCI = """21:00.0 Processing accelerators: Xilinx Corporation Device 5048
\tSubsystem: Xilinx Corporation Device 000e
\tKernel driver in use: xclmgmt
21:00.1 Processing accelerators: Xilinx Corporation Device 5049
\tSubsystem: Xilinx Corporation Device 000e
\tKernel driver in use: xocl
"""


def folder(**changed: bytes) -> dict[str, bytes]:
    """A whole folder of a healthy production card, as JSON; keywords replace a file."""
    files = {
        "lspci": LSPCI.encode(), "host": host(), "thermal": device(**thermals()),
        "electrical": device(**electrical()), "pcie": device(**pcie()), "platform": device(**platform()),
        "validate": validation(),
    }  # fmt: skip
    return {**files, **changed}


XDMA = "xilinx_vck5000_gen3x16_xdma_base_1"


def folder_2021() -> dict[str, bytes]:
    """A healthy production card of Vitis AI 2.5 (XRT 2021.2), as JSON: older sensors, names and shell."""
    listed = [{"bdf": BDF, "vbnv": XDMA, "id": "0x0", "instance": "user(inst=129)"}]
    readings = {
        "pcb_top_front": 31, "pcb_top_rear": 29, "pcb_bottom_front": 33, "cage_temp_0": 0, "cage_temp_1": 0,
        "cage_temp_2": 0, "cage_temp_3": 0, "fpga0": 47, "int_vcc": 49, "fpga_hbm": 0,
    }  # fmt: skip
    heat = [
        {"location_id": name, "description": name.replace("_", " "), "temp_C": value, "is_present": value > 0}
        for name, value in readings.items()
    ]
    power = electrical("23.418211", **{"12v_aux": (12.02, 0.8), "vccint": (0.801, 6.1)})
    rails = [r for r in power["electrical"]["power_rails"] if r["id"] not in ("12v_aux_0", "12v_aux_1")]
    power["electrical"] = {**power["electrical"], "power_rails": rails, "power_consumption_warning": False}
    tests = [
        {"name": name, "description": name, "explicit": False, "status": "passed",
         "log": [{"Details": text} for text in DETAILS.get(index, ())]}
        for index, name in enumerate(NAMES["2021"])
    ]  # fmt: skip
    tests.append({"name": "vcu", "description": "decoder", "explicit": False, "status": "skipped", "log": []})
    return {
        "host": dumps({"schema_version": {"schema": "JSON"}, "system": {"host": {
            "xrt": {"version": "2.12.427", "branch": "2021.2", "drivers": []}, "devices": listed}}}),
        "thermal": device(thermals=heat), "electrical": device(**power), "pcie": device(**pcie(3, 16, (3, 16))),
        "platform": device(**platform(vbnv=XDMA)), "firewall": device(firewall={
            "firewall_level": "0", "firewall_status": "0x0", "status": "(GOOD)"}),
        "units": device(dynamic_regions=[{"xclbin_uuid": UUID, "compute_units": [{"name": "DPUCVDX8H_1"}]}]),
        "validate": dumps({"schema_version": {"schema": "JSON"}, "logical_devices": [
            {"device_id": BDF, "platform": XDMA, "platform_id": "0x0", "sc_version": "4.4.35", "tests": tests}]}),
    }  # fmt: skip
