"""Published speeds of the VCK5000, to hold an estimate against: none of them was measured here.

Sources: AMD's model zoo tables of Vitis AI 2.5 and 3.0 (end to end, several threads, host's work included), and the
Deepfake CLI paper (arXiv 2210.14743, Vitis AI 1.4.1). GOP is what the publisher states for one image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_PE8, _DWC, _MISC, _PE4 = (
    "DPUCVDX8H_ISA1_F2W2_8PE",
    "DPUCVDX8H_ISA1_F2W4_6PE_aieDWC",
    "DPUCVDX8H_ISA1_F2W4_6PE_aieMISC",
    "DPUCVDX8H_ISA1_F2W4_4PE",
)


@dataclass(frozen=True, slots=True)
class Anchor:
    """A network's published speed: `operations` an image, frames a second by target name."""

    network: str
    release: str
    operations: float
    fps: Mapping[str, float]


def _zoo(network: str, release: str, gop: float, *fps: float | None) -> Anchor:
    """`fps` for 8PE, 6PE_aieDWC, 6PE_aieMISC, 4PE; None where the table has no number."""
    named = zip((_PE8, _DWC, _MISC, _PE4), fps, strict=True)
    return Anchor(
        network, f"Vitis AI {release}", gop * 1e9, {name: value for name, value in named if value is not None}
    )


ANCHORS = (
    Anchor("U-YNet 3x224x224 (Deepfake CLI)", "Vitis AI 1.4.1", 73.8e9, {"DPUCVDX8H_ISA1_F2W2": 316.8}),
    _zoo("ResNet-50", "3.0", 8.2, 4548, 3418, 2266, 1511),
    _zoo("ResNet-152", "3.0", 21.83, 2109, 1586, 1101, 734),
    _zoo("VGG-16", "3.0", 30.96, None, 502, 476, 326),
    _zoo("YOLOv3", "3.0", 65.63, 478, 388, 381, 275),
    _zoo("FPN-R18 COVID-19 segmentation 352x352", "2.5", 22.7, 1177, 958, 881, 613),
    _zoo("SemanticFPN-R18 256x512", "3.0", 10.0, 1073, 207, 927, 199),
    _zoo("2D U-Net nuclei 128x128", "3.0", 5.31, 1448, 1209, 1168, 856),
    _zoo("U-Net chaos CT 512x512", "2.5", 23.3, 248, 201, 185, 129),
    _zoo("ERFNet 512x1024", "2.5", 54.0, 118, 115, 81, 64),
)
