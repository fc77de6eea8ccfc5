"""The situation as it is: environment, files, tools and a model, read without changing anything."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from arch.releases import FIRMWARE, OVERLAYS, compiler_version
from arch.targets import by_fingerprint
from deploy.doctor.situation import CardState, Library, Model, Overlay, Situation
from xmodel import file
from xmodel.contents import kind
from xmodel.errors import UsageError
from xmodel.graph import Graph, Subgraph

_LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/local/lib", "/opt/xilinx/xrt/lib")
_PACKAGE = re.compile(r"(?:xcompiler|vart|xir)-(\d{1,3}(?:\.\d{1,3}){1,3})-")
_MOST = 10_000  # files of a folder that are looked at


@dataclass(frozen=True, slots=True)
class Place:
    """Where to look: the file system below `root`, the environment `env`."""

    root: Path = Path("/")
    env: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def at(self, path: str) -> Path:
        """The absolute `path` of the machine, below `root`."""
        return self.root / path.lstrip("/")


def situation(place: Place, card: CardState | None, xrt: str | None, model: Model | None, saved: bool) -> Situation:
    """Everything together. `saved`: card and XRT are another machine's, so this one's files say nothing about it."""
    if saved:
        return Situation(card=card, xrt=xrt, model=model, here=False)
    wanted = model.runner if model is not None else None
    return Situation(
        card, xrt, _overlay(place), _installed(place), _container(place),
        place.env.get("XLNX_ENABLE_FINGERPRINT_CHECK", "").strip() == "0", model,
        _library(place, wanted) if wanted else None,
    )  # fmt: skip


def read_model(path: Path) -> Model:
    """What the .xmodel at `path` says about where it runs. Raises `UsageError` or `ArtifactError`."""
    graph = file.read(path)
    parts = [part for part in (graph.root.children if graph.root else ()) if part.get("device") == "DPU"]
    names = dict.fromkeys(_target(part) for part in parts)
    prints = dict.fromkeys(p for part in parts if isinstance(p := part.get("dpu_fingerprint"), int))
    libraries = graph.attrs["libs_info"].value if "libs_info" in graph.attrs else None
    return Model(
        path.name, kind(graph), tuple(names), tuple(prints), _batch(tuple(prints)), compiler_version(libraries),
        bool(parts) and all(_code(part) for part in parts), _runner(graph),
    )  # fmt: skip


def _target(part: Subgraph) -> str:
    fingerprint = part.get("dpu_fingerprint")
    try:
        return by_fingerprint(fingerprint).name if isinstance(fingerprint, int) else str(part.get("dpu_name", ""))
    except UsageError:
        return str(part.get("dpu_name", ""))


def _batch(fingerprints: tuple[int, ...]) -> int | None:
    try:
        return by_fingerprint(fingerprints[0]).batch if fingerprints else None
    except UsageError:
        return None


def _code(part: Subgraph) -> bool:
    code = part.get("mc_code")
    return isinstance(code, bytes | memoryview) and len(code) > 0


def _runner(graph: Graph) -> str | None:
    for part in graph.root.children if graph.root else ():
        runner = part.get("runner")
        if part.get("device") == "DPU" and isinstance(runner, Mapping):
            return str(runner.get("run", "")) or None
    return None


def _overlay(place: Place) -> Overlay | None:
    path = place.env.get(FIRMWARE, "").strip()
    return Overlay(path, place.at(path).is_file()) if path else None


def _installed(place: Place) -> tuple[str, ...]:
    """The overlays' files below the folder where their packages put them."""
    folder = place.at(str(OVERLAYS))
    found = sorted(path for _, path in zip(range(_MOST), folder.glob("*/*.xclbin"), strict=False))
    return tuple(f"/{path.relative_to(place.root)}" for path in found)


def _container(place: Place) -> str | None:
    """The release of the vendor's container that this runs in: the version of its compiler or runtime, as conda keeps
    it in the file names `conda-meta/<package>-<version>-<build>.json`."""
    environments = place.at("/opt/vitis_ai/conda/envs")
    names = (path.name for _, path in zip(range(_MOST), environments.glob("*/conda-meta/*.json"), strict=False))
    found = (_PACKAGE.match(name) for name in names)
    return max((match[1] for match in found if match), default=None)


def _library(place: Place, name: str) -> Library:
    folders = [f for f in place.env.get("LD_LIBRARY_PATH", "").split(os.pathsep) if f.startswith("/")]
    searched = tuple(dict.fromkeys([*folders, *_LIBRARIES]))
    plain = Path(name).name  # a file's text must not lead out of the folders
    found = next((folder for folder in searched if place.at(f"{folder}/{plain}").exists()), None)
    return Library(plain, f"{found}/{plain}" if found else None, searched)
