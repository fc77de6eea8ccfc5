"""Recorded operator vectors as one-op graphs, for every kernel set."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from tests.shared import SHARED
from xmodel.graph import Array, Attr, Graph, Op, Tensor, attrs, const

OPS = SHARED / "goldens" / "ops"
PROGRAMS = SHARED / "goldens" / "simulator" / "programs"


@dataclass(frozen=True)
class Vector:
    """One recorded op: graph, feeds by input name, expected output."""

    graph: Graph
    feeds: dict[str, Array]
    output: Array


@cache
def index(folder: Any) -> dict[str, dict[str, Any]]:
    """Entries of a folder's index by name, {} where the reference data is absent."""
    path = folder / "index.json"
    return {v["name"]: v for v in json.loads(path.read_text())["vectors"]} if path.is_file() else {}


def quantized(name: str, shape: tuple[int, ...], fix_point: int | None) -> Tensor:
    """A tensor description: int8 with a fix point, or float32 without."""
    if fix_point is None:
        return Tensor(name, shape)
    return Tensor(name, shape, "XINT8", attrs(fix_point=fix_point, bit_width=8, if_signed=True))


def vector(folder: Any, name: str) -> Vector:
    """Load a vector; weights and bias become constants."""
    entry = index(folder)[name]
    with np.load(folder / entry["file"]) as file:
        arrays = {key: file[key] for key in file.files}
    points = entry["fix_points"]
    ops: list[Op] = []
    inputs: dict[str, tuple[str, ...]] = {"input": ()}
    feeds: dict[str, Array] = {}
    for i, point in enumerate(points["inputs"]):
        x = arrays[f"input{i}"]
        tensor = quantized(f"input{i}", x.shape, point if x.dtype == np.int8 else None)
        ops.append(Op(tensor.name, "data" if x.dtype == np.float32 else "data-fix", {}, {}, tensor))
        inputs["input"] += (tensor.name,)
        feeds[tensor.name] = x
    for key in ("weights", "bias"):
        if key in arrays:
            ops.append(const(key, arrays[key], "const-fix", fix_point=points[key]))
            inputs[key] = (key,)
    values = {key: Attr.of(bytes(v) if key == "constant_values" else v) for key, v in entry["attrs"].items()}
    out = quantized("output", arrays["output"].shape, points["output"])
    ops.append(Op("output", entry["op"], inputs, values, out))
    return Vector(Graph(name, tuple(ops)), feeds, arrays["output"])
