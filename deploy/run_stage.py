"""Stage `run`: any `.xmodel` on `.npy` inputs, its outputs (or every tensor) as `.npy` files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from compile.decode.parameters import with_parameters
from deploy.arrays import load_array
from deploy.kernels import KernelChoice
from xmodel import artifact, file
from xmodel.errors import UsageError
from xmodel.graph import Graph, Tensor
from xmodel.part import part

LISTING = "tensors.json"
Layout = Literal["nhwc", "nchw"]


@dataclass(frozen=True, slots=True)
class RunJob:
    """Run `model` on `inputs`, each `x.npy` or `NAME=x.npy` (int8 as quantized, or float32), into `out`.

    `layout` is that of 4-D inputs and outputs; `dump` writes every intermediate tensor as well. `subgraph` names the
    one subgraph of a compiled file to run, on its own inputs.
    """

    model: Path
    inputs: tuple[str, ...]
    out: Path
    dump: bool = False
    kernels: KernelChoice = "auto"
    layout: Layout = "nhwc"
    subgraph: str | None = None


def run_model(job: RunJob) -> list[dict[str, Any]]:
    """Write one `.npy` a tensor, a dequantized one beside each int8 one, and `tensors.json`, whose content is returned.

    Raises `UsageError` for inputs that do not fit and `ArtifactError` for damaged files.
    """
    from runtime.emulator.program import Program

    graph = file.read(job.model)
    graph = with_parameters(graph if job.subgraph is None else part(graph, job.subgraph))
    program = Program(graph, kernels=job.kernels)
    feeds = _feeds(job.inputs, graph, job.layout)
    artifact.output_folder(job.out)
    results = program.run(feeds, dump=job.dump)
    tensors = {op.output.name: op.output for op in graph.ops}
    listing = [_write(job, index, tensors[name], array) for index, (name, array) in enumerate(results.items())]
    artifact.write_json(job.out / LISTING, listing)
    return listing


def _feeds(inputs: Sequence[str], graph: Graph, layout: Layout) -> Mapping[str, NDArray[Any]]:
    names = [op.name for op in graph.inputs]
    feeds: dict[str, NDArray[Any]] = {}
    for position, text in enumerate(inputs):
        name, separator, path = text.rpartition("=")
        if not separator:
            if position >= len(names):
                raise UsageError(f"Graph {graph.name!r} has {len(names)} inputs; {len(inputs)} were given.")
            name = names[position]
        array = load_array(Path(path))
        feeds[name] = array.transpose(0, 2, 3, 1) if layout == "nchw" and array.ndim == 4 else array
    return feeds


def _write(job: RunJob, index: int, tensor: Tensor, array: NDArray[Any]) -> dict[str, Any]:
    if job.layout == "nchw" and array.ndim == 4:
        array = array.transpose(0, 3, 1, 2)
    stem = f"{index:03d}_{re.sub(r'[^A-Za-z0-9._-]+', '_', tensor.name)[-80:]}"
    entry: dict[str, Any] = {
        "name": tensor.name,
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "fix_point": tensor.fix_point,
        "file": f"{stem}.npy",
        "sha256": _save(job.out / f"{stem}.npy", array),
    }
    if tensor.fix_point is not None and array.dtype.kind == "i":
        real = array.astype(np.float32) * np.float32(2.0**-tensor.fix_point)
        entry["dequantized"] = f"{stem}.float.npy"
        entry["dequantized_sha256"] = _save(job.out / f"{stem}.float.npy", real)
    return entry


def _save(path: Path, array: NDArray[Any]) -> str:
    with artifact.atomic(path) as stream:
        np.save(stream, np.ascontiguousarray(array), allow_pickle=False)
    return hashlib.sha256(path.read_bytes()).hexdigest()
