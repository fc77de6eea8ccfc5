"""The quantizer goldens as compiler input, and the run that is compared with them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from runtime.emulator.program import Program
from tests.shared import SHARED
from xmodel import file
from xmodel.graph import Array, Graph

GOLDENS = SHARED / "goldens"


def cases() -> list[Path]:
    """Every `expected` folder with a model that the real quantizer exported."""
    return [path.parent for path in sorted(GOLDENS.glob("*/**/expected/model_int.xmodel*"))]


def label(case: Path) -> str:
    """The case's name for a test id."""
    return case.parent.relative_to(GOLDENS).as_posix()


def int_graph(case: Path) -> Graph:
    """The quantizer's graph of a case."""
    plain = case / "model_int.xmodel"
    if plain.is_file():
        return file.read(plain)
    return file.loads(gzip.decompress(plain.with_suffix(".xmodel.gz").read_bytes()))


def facts(name: str) -> Any:
    """The recorded structure of a real file."""
    return json.loads((GOLDENS / "facts" / f"{name}.json").read_text())


def int8_tensors(case: Path) -> dict[str, Array]:
    """Every int8 tensor of the real quantizer for its test input."""
    with np.load(case / "layers_int8.npz") as stored:
        return dict(stored)


def run(graph: Graph, recorded: Mapping[str, Array]) -> dict[str, Array]:
    """Every tensor of a lowered or compiled `graph` on the recorded input, by the name the quantizer used."""
    feeds = {tensor.name: recorded[tensor.name] for tensor in Program(graph, "reference").inputs}
    tensors = Program(graph, "reference").run(feeds, dump=True)
    return {name.removesuffix("(MoveReshape)"): array for name, array in tensors.items()}
