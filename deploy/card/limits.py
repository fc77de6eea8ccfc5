"""The VCK5000's limits and known good figures: temperatures, power, supplies, link and transfer speeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deploy.card.sensors import CAGE, FPGA, PCB, VCCINT


@dataclass(frozen=True, slots=True)
class Heat:
    """Thresholds of one sensor in degrees Celsius; `throttle` and `shutdown` are None where the firmware has none."""

    warning: float
    critical: float
    fatal: float
    throttle: float | None = None
    shutdown: float | None = None

    @property
    def first(self) -> tuple[float, str]:
        """The lowest temperature at which the card does something, and what; without one the critical threshold."""
        acts = ((self.throttle, "throttling"), (self.shutdown, "shutdown"))
        return min(((t, what) for t, what in acts if t is not None), default=(self.critical, "critical"))

    @property
    def text(self) -> str:
        """The thresholds for reading."""
        acts = (("throttling", self.throttle), ("shutdown", self.shutdown))
        more = "".join(f", {what} {t:g}" for what, t in acts if t is not None)
        return f"warning {self.warning:g}, critical {self.critical:g} °C{more}"


# Thresholds of the card's own firmware (Xilinx/VMR, vmr/src/vmc/platforms/vck5000.h and vmc_asdm.c). The card's tools
# print a temperature of 98 °C without a word: comparing is left to whoever reads it.
HEAT: Mapping[str, Heat] = {
    FPGA: Heat(88, 97, 107, throttle=95, shutdown=100),
    VCCINT: Heat(100, 110, 125, throttle=105, shutdown=110),
    PCB: Heat(80, 85, 95),
    CAGE: Heat(80, 85, 90, shutdown=85),
}
OTHER_HEAT = HEAT[FPGA]  # for sensors of other names
PLAUSIBLE = (-40.0, 200.0)  # degrees Celsius; outside it a sensor is broken or its unit is another one


@dataclass(frozen=True, slots=True)
class Draw:
    """From how many watts on the card slows down, and shuts down (when it lasts a second)."""

    throttle: float
    shutdown: float

    @property
    def text(self) -> str:
        """The limits for reading."""
        return f"throttling {self.throttle:g} W, shutdown {self.shutdown:g} W"


# The same source. The 2x4 and the 2x3 connector are not told apart by the rails' names.
SLOT_12V, AUX_2X3, AUX_2X4, TOTAL = Draw(66, 69), Draw(75, 78), Draw(150, 153), Draw(291, 300)
NEAR = 0.9  # of a limit: worth a warning

# Tolerances of PCI Express CEM: 12 V within 8 %, 3.3 V within 9 %.
VOLTS: Mapping[str, tuple[float, float]] = {
    "12v_pex": (12.0, 0.08), "12v_aux_0": (12.0, 0.08), "12v_aux_1": (12.0, 0.08),
    "3v3_pex": (3.3, 0.09), "3v3_aux": (3.3, 0.09),
}  # fmt: skip
UNCONNECTED = 2.0  # volts; a 12 V connector below it has no cable in it

DPU_MHZ = 350.0  # clock of the programmable logic, as every overlay's file name has it

_GB_PER_LANE = {1: 0.25, 2: 0.5, 3: 0.985, 4: 1.969, 5: 3.938}  # GB/s after line coding, PCI Express base specification


def bandwidth(generation: int, lanes: int) -> float:
    """What a PCIe link carries in one direction, GB/s before protocol overhead; 0 for an unknown generation.

    >>> round(bandwidth(4, 8), 1), round(bandwidth(3, 4), 1)
    (15.8, 3.9)
    """
    return _GB_PER_LANE.get(generation, 0.0) * lanes


# (write, read) in MB/s measured on healthy cards, by the link's Gen3 lanes: an ES1 in a Gen3 x16 slot (README of
# Vitis AI 1.4.1), a production card on a Gen3 x8 link (a report to XRT), an ES1 in a Gen3 x4 slot (a public report).
DMA: Mapping[int, tuple[float, float]] = {16: (9140.5, 8533.4), 8: (6570.0, 6639.1), 4: (3102.1, 3294.5)}
MEMORY_MBS = 49676.0  # mem-bw and IOPS of a healthy ES1 (README of Vitis AI 1.4.1)
IOPS = 91255.0
POOR, BAD = 0.8, 0.5  # of a known figure: below it a warning, a failure
SMALL = 1 << 20  # bytes; smaller transfers measure the call, not the link


def dma_speed(generation: int, lanes: int) -> tuple[float, float]:
    """What a healthy card's DMA test writes and reads in MB/s on this link, scaled from the nearest one measured.

    >>> dma_speed(4, 8) == dma_speed(3, 16), dma_speed(3, 2)
    (True, (1551.05, 1647.25))
    """
    gen3_lanes = round(bandwidth(generation, lanes) / _GB_PER_LANE[3], 1)
    known = max((n for n in DMA if n <= gen3_lanes), default=min(DMA))
    share = min(1.0, gen3_lanes / known)
    return DMA[known][0] * share, DMA[known][1] * share


# One crop of the detector: 224x224x3 in, 224x224x2 mask logits and one score out, int8.
CROP_BYTES = 224 * 224 * 3 + 224 * 224 * 2 + 1


def crops_per_second(gigabytes: float) -> float:
    """How many of the detector's crops a second the link could carry, both directions counted on one."""
    return gigabytes * 1e9 / CROP_BYTES
