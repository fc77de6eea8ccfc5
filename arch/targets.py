"""DPU targets: what each chip design can do, as data, found by any of the names it goes by.

The numbers are those of the vendor's target descriptions (releases 1.4.1 to 3.5) and product guides
PG403 and UG1414, kept in `targets.json`. A fingerprint is `type << 56 | isa << 48 | feature code`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

from xmodel.artifact import read_json
from xmodel.errors import ArtifactError, UsageError

DEFAULT = "DPUCVDX8H_ISA1_F2W2_8PE"

# The top byte of a fingerprint.
TYPES = {
    "DPUCZDX8G": 1,
    "DPUCAHX8H": 2,
    "DPUCAHX8L": 3,
    "DPUCZDI4G": 4,
    "DPUCVDX8H": 5,
    "DPUCVDX8G": 6,
    "DPUCADF8H": 7,
    "DPUCV2DX8G": 9,
}


@dataclass(frozen=True, slots=True)
class Sizes:
    """The allowed values of a kernel side or a stride, in pixels, ascending."""

    values: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """From "1-16" or "1-3,7". Raises `ValueError`."""
        values: set[int] = set()
        for part in text.split(","):
            low, _, high = part.partition("-")
            values.update(range(int(low), int(high or low) + 1))
        if not values or min(values) < 1:
            raise ValueError(f"{text!r} names no sizes")
        return cls(tuple(sorted(values)))

    def __contains__(self, value: object) -> bool:
        return value in self.values

    def __str__(self) -> str:
        if len(self.values) > 4 and self.values[-1] - self.values[0] == len(self.values) - 1:
            return f"{self.values[0]}-{self.values[-1]}"
        return ", ".join(map(str, self.values))


@dataclass(frozen=True, slots=True)
class Parallelism:
    """What one engine computes at once; shapes are padded up to it."""

    input_channels: int
    output_channels: int
    pixels: int  # along the height


@dataclass(frozen=True, slots=True)
class WindowLimits:
    """A sliding-window operation: sides and strides it takes, activations ("relu", ...) fused behind it.

    `max_area`, where there is one, bounds kernel width * height.
    """

    kernel: Sizes
    stride: Sizes
    activations: frozenset[str]
    max_area: int | None = None


@dataclass(frozen=True, slots=True)
class ConvLimits(WindowLimits):
    """Convolution; for a transposed one `kernel` bounds kernel / stride.

    The weights of one output channel block must fit: kernel_w * kernel_h * ceil(input channels /
    `weight_channels`) <= `weight_limit` (None: no such rule is known).
    """

    weight_channels: int | None = None
    weight_limit: int | None = None

    def weight_rows(self, kernel_w: int, kernel_h: int, input_channels: int) -> int | None:
        """What is compared with `weight_limit`, or None when there is no rule."""
        if self.weight_channels is None:
            return None
        return kernel_w * kernel_h * -(-input_channels // self.weight_channels)


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Max and average pooling; `square_average`: averages need width == height."""

    kernel: Sizes
    stride: Sizes
    square_average: bool


@dataclass(frozen=True, slots=True)
class EltwiseLimits:
    """Element-wise operations ("add", "mult") between two tensors, and what is fused behind them."""

    types: frozenset[str]
    activations: frozenset[str]


@dataclass(frozen=True, slots=True)
class Memory:
    """On-chip bytes per engine, the card's usable DDR bytes, and bytes a second of its memory and its link.

    DDR: the card's product brief (16 GB, 102.4 GB/s). PCIe: one direction of Gen3 x16 or Gen4 x8 (128 Gbit/s, of
    which 128/130 is data).
    """

    feature_bytes: int
    weight_bytes: int
    depthwise_weight_bytes: int
    ddr_bytes: int
    ddr_bandwidth: int
    pcie_bandwidth: int


@dataclass(frozen=True, slots=True)
class Target:
    """A DPU design. `batch` is its number of processing engines: images per job.

    `peak_ops` is the theoretical, `usable_ops` the reachable INT8 operations per second of all
    engines; `alu`: activations and depthwise work have an engine of their own. None: not known.
    """

    name: str
    aliases: tuple[str, ...]
    fingerprint: int
    former_fingerprints: tuple[int, ...]  # the same design in earlier releases
    type: str
    isa: int
    batch: int
    card: str
    folder: str | None  # of the vendor's arch.json
    releases: tuple[str, ...]
    parallel: Parallelism
    conv: ConvLimits
    depthwise: WindowLimits | None
    pool: PoolLimits
    eltwise: EltwiseLimits
    alu: bool
    memory: Memory | None
    bank_depth: int | None
    clock_hz: int | None
    peak_ops: int | None
    usable_ops: int | None
    notes: str

    @property
    def max_channels(self) -> int:
        """The most input or output channels of a convolution (source: the inspector's rule, release 3.0)."""
        return 256 * self.parallel.input_channels

    @property
    def fingerprint_text(self) -> str:
        """The fingerprint as the vendor writes it: "0x" and 16 digits."""
        return f"0x{self.fingerprint:016x}"


@cache
def targets() -> tuple[Target, ...]:
    """All targets, the five VCK5000 variants first. Raises `ArtifactError` when `targets.json` is damaged."""
    path = Path(__file__).with_name("targets.json")
    found = []
    for entry in read_json(path):
        try:
            found.append(_target(entry))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ArtifactError(
                f"The target {entry!r:.80} is not described rightly: {error!r}.", where=str(path)
            ) from error
    _names(tuple(found))
    return tuple(found)


def find(text: str) -> Target:
    """The target called `text`.

    `text` is a target name, an alias or vendor spelling (case, "-" and "_" alike), a fingerprint in
    hex ("0x501000000140fee"), or the path of an `arch.json` or its folder; a vendor path such as
    `/opt/vitis_ai/compiler/arch/DPUCVDX8H/VCK50008PE/arch.json` is known by its folder where the
    file is absent. Raises `UsageError` for an unknown one, `ArtifactError` for a damaged file.
    """
    text = text.strip()
    if "/" in text or text.lower().endswith(".json"):
        return _from_file(Path(text))
    if text.lower().startswith("0x"):
        return _from_hex(text)
    known = _names(targets())
    if target := known.get(_key(text)):
        return target
    near = difflib.get_close_matches(_key(text), known, n=3)
    hint = f"Did you mean {_list(known[name].name for name in near)}?" if near else f"Known are {_known()}."
    raise UsageError(f"There is no target called {text!r}.", hint=hint)


def by_fingerprint(fingerprint: int) -> Target:
    """The target with this fingerprint, or this one in an earlier release. Raises `UsageError`."""
    for target in targets():
        if fingerprint == target.fingerprint or fingerprint in target.former_fingerprints:
            return target
    raise UsageError(f"There is no target with the fingerprint 0x{fingerprint:016x}.", hint=f"Known are {_known()}.")


def _from_hex(text: str) -> Target:
    try:
        return by_fingerprint(int(text, 16))
    except ValueError:
        raise UsageError(
            f"The fingerprint {text!r} is not a hexadecimal number.", hint="Example: 0x0501000000140fee."
        ) from None


def _from_file(path: Path) -> Target:
    if path.is_dir():
        path /= "arch.json"
    if not path.is_file():
        folder = path.parent if path.suffix.lower() == ".json" else path
        for target in targets():
            if target.folder and [target.type, target.folder] == list(folder.parts[-2:]):
                return target
    content = read_json(path, limit=1 << 16)
    match content:
        case {"target": str() as name} if not name.lower().endswith(".json") and "/" not in name:
            return find(name)
        case {"fingerprint": str() as fingerprint}:
            return _from_hex(fingerprint)
    raise ArtifactError(
        'This is no arch.json: it must hold {"target": "NAME"} or {"fingerprint": "0x..."}.', where=str(path)
    )


def _known() -> str:
    return _list(target.name for target in targets())


def _list(names: Any) -> str:
    return ", ".join(dict.fromkeys(names))


def _key(text: str) -> str:
    return text.casefold().replace("-", "_")


def _names(found: tuple[Target, ...]) -> dict[str, Target]:
    """Targets by every name they go by. Raises `ArtifactError` when two share one."""
    names: dict[str, Target] = {}
    for target in found:
        for name in (target.name, *target.aliases):
            if names.setdefault(_key(name), target) is not target:
                raise ArtifactError(f"Two targets are called {name!r}.")
    return names


def _target(entry: Mapping[str, Any]) -> Target:
    """A target from its JSON description, validated. Raises `KeyError`, `TypeError` or `ValueError`."""
    values = dict(entry)
    for name in ("folder", "memory", "bank_depth", "clock_hz", "peak_ops", "usable_ops"):
        values.setdefault(name, None)
    fingerprint = int(values["fingerprint"], 16)
    if fingerprint >> 48 != TYPES[values["type"]] << 8 | values["isa"] or values["batch"] < 1:
        raise ValueError("type, ISA and fingerprint disagree, or the batch is not positive")
    values |= {
        "fingerprint": fingerprint,
        "former_fingerprints": tuple(int(text, 16) for text in values.get("former_fingerprints", ())),
        "aliases": tuple(values["aliases"]),
        "releases": tuple(values.get("releases", ())),
        "parallel": Parallelism(**values["parallel"]),
        "conv": ConvLimits(**_window(values["conv"])),
        "depthwise": None if values["depthwise"] is None else WindowLimits(**_window(values["depthwise"])),
        "pool": PoolLimits(**_window(values["pool"])),
        "eltwise": EltwiseLimits(**{name: frozenset(items) for name, items in values["eltwise"].items()}),
        "memory": None if values["memory"] is None else Memory(**values["memory"]),
    }
    return Target(**values)


def _window(entry: Mapping[str, Any]) -> dict[str, Any]:
    values = dict(entry, kernel=Sizes.parse(entry["kernel"]), stride=Sizes.parse(entry["stride"]))
    if "activations" in values:
        values["activations"] = frozenset(values["activations"])
    return values
