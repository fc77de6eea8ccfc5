"""What this machine has and what runs on it, as rows for a person and for JSON."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from arch.releases import FIRMWARE, read_overlay_name
from deploy.card_setup.host import this_host
from deploy.doctor.gather import Place
from deploy.doctor.situation import Situation
from runtime.emulator.program import load_kernels
from xmodel.artifact import read_json, versions
from xmodel.errors import UnmaskError

# What each module brings, by the name it is imported under.
MODULES = {
    "torch": "float networks, quantization, the torch kernels",
    "cv2": "fast decoding of crops",
    "av": "unmask video",
    "onnxruntime": "unmask bench",
    "openvino": "unmask bench",
    "gdown": "unmask fetch",
}
_ENDS = re.compile(r"[.:](?: |$)")
_ARCH = "/opt/vitis_ai/compiler/arch/DPUCVDX8H"


@dataclass(frozen=True, slots=True)
class Row:
    """One thing: `good` False where it is missing or unusable, None where that says nothing."""

    section: str
    name: str
    value: str
    good: bool | None = None


def rows(place: Place, found: Situation, tools: Mapping[str, Callable[[], str]]) -> list[Row]:
    """All rows; `tools`: vendor's tools by name, each says what it is or raises an `UnmaskError`."""
    return [*_machine(place), *_emulator(), *_vendor(place, found, tools), *_modules(MODULES)]


def _machine(place: Place) -> Iterator[Row]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Row("machine", "system", this_host(place.root).system)
    yield Row("machine", "processor", f"{_line(place.at('/proc/cpuinfo'), 'model name')}, {cores} threads")
    kilobytes = _line(place.at("/proc/meminfo"), "MemTotal").split(" ")[0]
    if kilobytes.isdecimal():
        yield Row("machine", "memory", f"{int(kilobytes) / 1024**2:.1f} GiB")
    said = versions()
    yield Row("machine", "unmask", f"{said.get('unmask', 'not installed')}, Python {platform.python_version()}")


def _line(path: Path, name: str) -> str:
    """The value of the first line `name : value`."""
    with suppress(OSError):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
    return "unknown"


def _emulator() -> Iterator[Row]:
    best = ""
    for choice in ("native", "torch"):
        try:
            kernels = load_kernels("native" if choice == "native" else "torch")
        except UnmaskError as error:
            yield Row("emulator", f"{choice} kernels", f"{error.what} {error.hint}".strip(), False)
            continue
        best = best or choice
        notes = " ".join(kernels.notes) if kernels is not None else ""
        yield Row("emulator", f"{choice} kernels", f"exact on this machine. {notes}".strip(), True)
    yield Row("emulator", "taken", best or "reference (slow)", bool(best))


def _vendor(place: Place, found: Situation, tools: Mapping[str, Callable[[], str]]) -> Iterator[Row]:
    yield Row("vendor", "XRT", found.xrt or "not found", None if found.xrt is None else True)
    for name, find in tools.items():
        try:
            yield Row("vendor", name, find(), True)
        except UnmaskError as error:
            yield Row("vendor", name, _ENDS.split(error.what, maxsplit=1)[0] + ".")  # where was looked fills a page
    yield Row("vendor", "overlays", _overlays(found.installed))
    overlay = found.overlay
    text = "not set" if overlay is None else overlay.path + ("" if overlay.exists else " (not there)")
    yield Row("vendor", FIRMWARE, text, None if overlay is None else overlay.exists)
    if found.container is not None:
        yield Row("vendor", "container", f"of Vitis AI {found.container}", True)
    for path in sorted(place.at(_ARCH).glob("*/arch.json"))[:20]:
        yield Row("vendor", f"arch.json of {path.parent.name}", _arch(path))


def _overlays(paths: Sequence[str]) -> str:
    named = [read_overlay_name(path) for path in paths]
    known = [f"{name.target or 'unknown variant'} for {name.shell}" for name in named if name is not None]
    return "; ".join(known) or "none installed"


def _arch(path: Path) -> str:
    try:
        content = read_json(path, limit=1 << 16)
    except UnmaskError as error:
        return error.what
    return str(content.get("target") or content.get("fingerprint")) if isinstance(content, dict) else "no arch.json"


def _modules(names: Mapping[str, str]) -> Iterator[Row]:
    for name, use in names.items():
        here = importlib.util.find_spec(name) is not None
        yield Row("modules", name, f"{_version(name)} ({use})" if here else f"not installed ({use})", here or None)
    if importlib.util.find_spec("xir") is not None and importlib.util.find_spec("vart") is None:
        yield Row("modules", "xir", "a package of the index by this name, which has nothing to do with the vendor's")


def _version(module: str) -> str:
    for package in metadata.packages_distributions().get(module, ()):
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(package)
    return f"at {sys.prefix}"
