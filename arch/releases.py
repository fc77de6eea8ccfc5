"""Vitis AI's releases for the VCK5000: which XRT, shell, overlay (xclbin) and DPU variants belong together.

Sources: the setup notes and scripts of Vitis AI 1.4.1, 2.0, 2.5 and 3.0; the driver table of XRT 202220.2.14.354 for
the PCI ids. Production cards end with 3.0 (3.5 dropped them), engineering samples (ES1) with 1.4.1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from arch.targets import DEFAULT

OVERLAYS = PurePosixPath("/opt/xilinx/overlaybins/DPUCVDX8H")  # where the xclbin packages install to
FIRMWARE = "XLNX_VART_FIRMWARE"  # the environment variable that names the overlay

_ES1, _PE8 = "DPUCVDX8H_ISA1_F2W2", DEFAULT
_DWC, _MISC, _PE4 = "DPUCVDX8H_ISA1_F2W4_6PE_aieDWC", "DPUCVDX8H_ISA1_F2W4_6PE_aieMISC", "DPUCVDX8H_ISA1_F2W4_4PE"
_XDMA, _QDMA = "xilinx_vck5000_gen3x16_xdma_base_1", "xilinx_vck5000_gen4x8_qdma_base_2"


@dataclass(frozen=True, slots=True)
class Card:
    """A kind of VCK5000: its PCI device ids (vendor 10ee) of the management and the user function."""

    name: str
    management: int
    user: int


ES1 = Card("VCK5000-ES1", 0x5044, 0x5045)
PRODUCTION = Card("VCK5000", 0x5048, 0x5049)
CARDS = (PRODUCTION, ES1)


@dataclass(frozen=True, slots=True)
class Overlay:
    """A DPU for the card, as an xclbin below `OVERLAYS`; `argument` is what the release's setup.sh calls it."""

    target: str
    path: str
    argument: str

    @property
    def file(self) -> PurePosixPath:
        """Where its package installs it."""
        return OVERLAYS / self.path


@dataclass(frozen=True, slots=True)
class Release:
    """What belongs to one release of Vitis AI. `flash`: commands that program the shell, `{bdf}` is the management
    function's; `reboot`: "cold" (power off) or "warm"; `image`: the container's repository and how its tag begins."""

    version: str
    card: Card
    shell: str
    xrt: str
    xrm: str
    link: tuple[int, int]  # PCIe generation, lanes
    satellite: str | None  # version of the satellite controller's firmware, where it is stated
    package: str
    overlays: tuple[Overlay, ...]
    flash: tuple[str, ...]
    reboot: str
    image: tuple[str, str]

    @property
    def xrt_build(self) -> str:
        """The version that XRT's tools print: "2.14.354" of "202220.2.14.354"."""
        return self.xrt.split(".", 1)[1]

    def overlay(self, target: str) -> Overlay | None:
        """The overlay of the DPU variant `target`, or None where the release has none."""
        return next((overlay for overlay in self.overlays if overlay.target == target), None)


def _same_names(shell: str, *variants: tuple[str, str, str]) -> tuple[Overlay, ...]:
    return tuple(
        Overlay(target, f"{name}/dpu_DPUCVDX8H_{name}_350M_{shell}.xclbin", argument)
        for target, name, argument in variants
    )


_VARIANTS = (
    (_PE8, "8PE", "DPUCVDX8H_8pe_normal"),
    (_DWC, "6PE_aieDWC", "DPUCVDX8H_6pe_dwc"),
    (_MISC, "6PE_aieMISC", "DPUCVDX8H_6pe_misc"),
    (_PE4, "4PE", "DPUCVDX8H_4pe_miscdwc"),
)
_LEGACY_FLASH = (f"xbmgmt flash --legacy --update --shell {_XDMA}",)

RELEASES = (
    Release(
        version="1.4.1", card=ES1, shell="xilinx_vck5000-es1_gen3x16_base_2", xrt="202110.2.11.648",
        xrm="202110.1.2.1539", link=(3, 16), satellite="4.4.6", package="DPUCVDX8H_xclbins_1_4_1",
        overlays=(Overlay(_ES1, "8pe/dpu_DPUCVDX8H_8PE350_xilinx_vck5000-es1_gen3x16_base_2.xclbin", ""),),
        flash=("xbmgmt flash --scan", "xbmgmt flash --update"), reboot="cold",
        image=("xilinx/vitis-ai-cpu", "1.4.1."),
    ),
    Release(
        version="2.0", card=PRODUCTION, shell=_XDMA, xrt="202120.2.12.427", xrm="202120.1.3.29", link=(3, 16),
        satellite=None, package="DPUCVDX8H_xclbins_2_0_0",
        overlays=(
            Overlay(_PE8, f"8pe/dpu_DPUCVDX8H_8PE350M_{_XDMA}.xclbin", "DPUCVDX8H"),
            Overlay(_DWC, f"6pedwc/dpu_DPUCVDX8H_DWC_6PE350_{_XDMA}.xclbin", "DPUCVDX8H-DWC"),
        ),
        flash=_LEGACY_FLASH, reboot="cold", image=("xilinx/vitis-ai-cpu", "2.0."),
    ),
    Release(
        version="2.5", card=PRODUCTION, shell=_XDMA, xrt="202120.2.12.427", xrm="202120.1.3.29", link=(3, 16),
        satellite=None, package="DPUCVDX8H_xclbins_2_5_0", overlays=_same_names(_XDMA, *_VARIANTS),
        flash=_LEGACY_FLASH, reboot="cold", image=("xilinx/vitis-ai-cpu", "2.5."),
    ),
    Release(
        version="3.0", card=PRODUCTION, shell=_QDMA, xrt="202220.2.14.354", xrm="202220.1.5.212", link=(4, 8),
        satellite=None, package="DPUCVDX8H_xclbins_3_0_0", overlays=_same_names(_QDMA, *_VARIANTS),
        flash=(f"xbmgmt program --device {{bdf}} --base --image {_QDMA}",), reboot="warm",
        image=("xilinx/vitis-ai-pytorch-cpu", "3.0."),
    ),
)  # fmt: skip
LAST = {ES1.name: "1.4.1", PRODUCTION.name: "3.0"}

# What the middle of an overlay's file name says: dpu_DPUCVDX8H_<variant>_<clock>_<shell>.xclbin in several spellings.
_FILE = re.compile(
    r"dpu_DPUCVDX8H_(?P<variant>[0-9A-Za-z_]+?)_?350M?_(?P<shell>xilinx_vck5000[0-9A-Za-z_-]{1,80}?)\.xclbin"
)
_COMPILER = re.compile(r"xcompiler\.(\d{1,4}(?:\.\d{1,4}){1,3})(?: |$)")
_BY_NAME: Mapping[str, str] = {
    "8pe": _PE8, "6pe_aiedwc": _DWC, "dwc_6pe": _DWC, "6pe_dwc": _DWC, "6pe_aiemisc": _MISC, "6pe_misc": _MISC,
    "4pe": _PE4, "4pe_miscdwc": _PE4,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class OverlayName:
    """What an overlay's file name says: the DPU variant's target name (None: an unknown one) and the shell."""

    target: str | None
    shell: str


def read_overlay_name(name: str) -> OverlayName | None:
    """What the file name or path `name` of an xclbin says, or None for one that is not named as the vendor does."""
    found = _FILE.fullmatch(PurePosixPath(name).name[:256])
    if found is None:
        return None
    shell = found["shell"]
    target = _BY_NAME.get(found["variant"].casefold())
    return OverlayName(_ES1 if target == _PE8 and "es1" in shell else target, shell)


def by_version(version: str) -> Release | None:
    """The release called `version`; "1.4" is 1.4.1, "3.0.0" is 3.0. None: none for this card."""
    parts = version.strip().removeprefix("v").split(".")
    for release in RELEASES:
        known = release.version.split(".")
        if parts[:2] == known[:2] and (len(parts) == 2 or set(parts[2:]) <= {"0", *known[2:]}):
            return release
    return None


def card_of_shell(shell: str) -> Card | None:
    """The kind of card that a shell's name (vbnv) is for; a golden image's name tells it as well."""
    name = shell.casefold()
    if "vck5000" not in name:
        return None
    return ES1 if "es1" in name else PRODUCTION


def card_of_device(device: int) -> Card | None:
    """The kind of card with this PCI device id."""
    return next((card for card in CARDS if device in (card.management, card.user)), None)


def compiler_version(libraries: object) -> str | None:
    """The version of the vendor's compiler in a file's attribute `libs_info` ("2.5.0"), None for files without it.

    It is a mapping from "xcompiler.2.5.0" and "xcompiler.2.5.0 : xir.2.5.0" to commits; other values give None.
    """
    names = [name for name in libraries if isinstance(name, str)] if isinstance(libraries, Mapping) else []
    found = (_COMPILER.match(name) for name in names)
    return min((match[1] for match in found if match), default=None)
