"""What sensors and rails are called: one name for the same thing in every era."""

from __future__ import annotations

import re

FPGA, VCCINT, PCB, CAGE = "FPGA", "vccint", "PCB", "QSFP cage"

_RAILS = (
    (("12", "aux", "1"), "12v_aux_1"),
    (("12", "aux"), "12v_aux_0"),
    (("12", "pex"), "12v_pex"),
    (("3v3", "aux"), "3v3_aux"),
    (("3v3", "pex"), "3v3_pex"),
)


def sensor(name: str) -> str:
    """The kind of a temperature sensor; the name itself when it is of no known kind.

    >>> sensor("device"), sensor("fpga0"), sensor("pcb_top_rear"), sensor("cage_temp_1"), sensor("Int Vcc")
    ('FPGA', 'FPGA', 'PCB', 'QSFP cage', 'vccint')
    """
    words = re.sub(r"[^a-z0-9]+", " ", name.lower()).strip()
    if words == "device" or re.fullmatch(r"fpga ?\d?", words):
        return FPGA
    if words in ("vccint", "int vcc", "vccint temp"):
        return VCCINT
    if words.split(" ")[0] == "pcb":
        return PCB
    return CAGE if words.startswith("cage") or "qsfp" in words else name


def is_fpga(name: str) -> bool:
    """Is it the FPGA's own sensor?"""
    return sensor(name) == FPGA


def rail(name: str) -> str:
    """The supply's name as the VCK5000's own reports spell it; the name itself when it is none of those.

    >>> rail("12 Volts Auxillary"), rail("12v_aux"), rail("12v_aux_1"), rail("3.3 Volts PCI Express"), rail("vccint")
    ('12v_aux_0', '12v_aux_0', '12v_aux_1', '3v3_pex', 'vccint')
    """
    plain = name.lower().replace("pci express", "pex").replace("3.3", "3v3").replace("3,3", "3v3")
    words = re.sub(r"12\s*v(?:olts?)?", "12 ", plain).replace("auxillary", "aux").replace("auxiliary", "aux")
    tokens = set(re.findall(r"3v3|aux|pex|\d+", words))
    return next((known for wanted, known in _RAILS if tokens >= set(wanted)), name)
