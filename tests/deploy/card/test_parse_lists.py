"""`lspci` in its styles, and the management tool's list of shells."""

from __future__ import annotations

from deploy.card import parse_flash, parse_lspci
from deploy.card.facts import Link, PciFunction, PciScan, Shell

VERBOSE = """65:00.0 Processing accelerators [1200]: Xilinx Corporation Device [10ee:5048]
\tSubsystem: Xilinx Corporation Device [10ee:000e]
\tFlags: bus master, fast devsel, latency 0, IRQ 16
\tLnkCap:\tPort #0, Speed 16GT/s, Width x8, ASPM not supported
\tLnkSta:\tSpeed 8GT/s (downgraded), Width x4 (downgraded)
\tKernel driver in use: xclmgmt
\tKernel modules: xclmgmt

00:1f.0 ISA bridge [0601]: Intel Corporation Device [8086:7a04]
\tKernel driver in use: lpc
"""


def test_the_verbose_style_tells_driver_and_link() -> None:
    scan, function, link = parse_lspci.facts_of(VERBOSE.split("\n"), "x")
    assert isinstance(scan, PciScan) and scan.functions == 1
    assert isinstance(function, PciFunction)
    assert (function.bdf, function.device, function.driver) == ("0000:65:00.0", 0x5048, "xclmgmt")
    assert isinstance(link, Link)
    assert (link.generation, link.lanes, link.expected_generation, link.expected_lanes) == (3, 4, 4, 8)


def _ids(text: str) -> list[tuple[str, int | None, str | None]]:
    return [
        (f.bdf, f.device, f.driver) for f in parse_lspci.facts_of(text.split("\n"), "x") if isinstance(f, PciFunction)
    ]


def test_the_other_styles() -> None:
    assert _ids("0000:02:00.1 1200: 10ee:5045 (rev 00)") == [("0000:02:00.1", 0x5045, None)]
    assert _ids("02:00.0 Memory controller: Xilinx Corporation Device 5044") == [("0000:02:00.0", 0x5044, None)]
    assert _ids("02:00.0 Memory controller: Xilinx Corporation Alveo X\n\tFlags: fast devsel") == [
        ("0000:02:00.0", None, "")
    ]


def test_a_list_without_the_card_is_still_a_list() -> None:
    (scan,) = parse_lspci.facts_of(["00:1f.0 ISA bridge: Intel Corporation Device 7a04"], "x")
    assert isinstance(scan, PciScan) and scan.functions == 0
    assert parse_lspci.facts_of(["This is no list: of devices", "12:30 call the lab"], "x") == []


EXAMINE = """[0000:65:00.0] : xilinx_vck5000_gen4x8_qdma_base_1
Flash properties
  Type                 : ospi_versal
  Serial Number        : XFL1ABC
Flashable partitions running on FPGA
  Platform             : xilinx_vck5000_gen4x8_qdma_base_1
  SC Version           : 4.4.32
  Platform UUID        : 7A6A8DF7-6D19-4B73-AAEA-C2A6F9F8D55C
Flashable partitions installed in system
  Platform             : xilinx_vck5000_gen4x8_qdma_base_2
  SC Version           : 4.4.35
"""


def _shells(text: str) -> list[tuple[str, str, str, bool]]:
    found = parse_flash.facts_of(text.split("\n"), "x")
    return [(s.bdf, s.vbnv, s.sc, s.running) for s in found if isinstance(s, Shell)]


def test_the_newer_list_of_partitions() -> None:
    assert _shells(EXAMINE) == [
        ("0000:65:00.0", "xilinx_vck5000_gen4x8_qdma_base_1", "4.4.32", True),
        ("0000:65:00.0", "xilinx_vck5000_gen4x8_qdma_base_2", "4.4.35", False),
    ]


def test_the_older_list_of_partitions() -> None:
    text = (
        "Card [0000:08:00.0]\n    Card type:\t\tvck5000\n    Flashable partition running on FPGA:\n"
        "       xilinx_vck5000,[ID=0x26a01b29a3e07f7a],[SC=INACTIVE]\n"
        "    Flashable partitions installed in system:   (None)\n"
        "Card [0000:09:00.0]\n    Flashable partition running on FPGA:\n       (None)\n"
    )
    assert _shells(text) == [("0000:08:00.0", "xilinx_vck5000", "INACTIVE", True)]
