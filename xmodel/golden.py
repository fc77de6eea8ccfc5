"""Golden inputs and what a network made of them, embedded in a graph's attributes, to be replayed anywhere.

Two graph attributes hold them, which libxir reads and writes back like any other: `unmask_golden`, a JSON text with
the sha256, fix position and shape of each tensor, and `unmask_golden_data`, the zlib-compressed values of the inputs
and of every computed tensor, by tensor name. Values are C-ordered: int8 as on the fix grid, or little-endian float32.
"""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xmodel.errors import ArtifactError
from xmodel.graph import Array, Attr, Buffer, Graph

INDEX, DATA = "unmask_golden", "unmask_golden_data"
ATTRS = (INDEX, DATA)
MAX_IMAGES = 64

_VERSION = 1
_DTYPES: dict[str, np.dtype[Any]] = {"int8": np.dtype("i1"), "float32": np.dtype("<f4")}
_MAX_BYTES = 1 << 28  # of one tensor: small enough to unpack whatever a file says
_MAX_POSITION = 64


@dataclass(frozen=True, slots=True)
class Record:
    """One tensor of the golden run. `data` is None for a constant, whose values lie in the graph itself.

    `shape` begins with the number of images, save for a constant. `fix_point` is None for a float tensor.
    """

    sha256: str
    fix_point: int | None
    shape: tuple[int, ...]
    dtype: str
    data: Buffer | None = None

    @staticmethod
    def of(array: Array, fix_point: int | None) -> Record:
        """The record of int8 or float32 values, compressed."""
        dtype = "int8" if array.dtype.kind == "i" else "float32"
        values = np.ascontiguousarray(array, _DTYPES[dtype])
        data = values.tobytes()
        return Record(hashlib.sha256(data).hexdigest(), fix_point, values.shape, dtype, zlib.compress(data, 6))

    def array(self) -> Array:
        """The values, read-only. Raises `ArtifactError` when they are damaged or not those of the sha256."""
        size = math.prod(self.shape) * _DTYPES[self.dtype].itemsize
        stream = zlib.decompressobj()
        try:
            found = stream.decompress(self.data or b"", size + 1)
        except zlib.error as error:
            raise ArtifactError(f"A golden tensor cannot be unpacked: {error}.") from error
        if len(found) != size or hashlib.sha256(found).hexdigest() != self.sha256:
            raise ArtifactError(f"A golden tensor of shape {list(self.shape)} is not the one that was recorded.")
        return np.frombuffer(found, _DTYPES[self.dtype]).reshape(self.shape)


@dataclass(frozen=True, slots=True)
class Golden:
    """A golden run: the number of images, where they came from, the input tensors, and a record a tensor, by name."""

    images: int
    source: str
    inputs: tuple[str, ...]
    tensors: Mapping[str, Record]


def embed(graph: Graph, golden: Golden) -> Graph:
    """`graph` with `golden` in its attributes, in place of any it had."""
    index = {
        "version": _VERSION,
        "images": golden.images,
        "source": golden.source,
        "inputs": list(golden.inputs),
        "tensors": {
            name: {"sha256": r.sha256, "fix_point": r.fix_point, "shape": list(r.shape), "dtype": r.dtype}
            for name, r in golden.tensors.items()
        },
    }
    data = {name: r.data for name, r in golden.tensors.items() if r.data is not None}
    values = {INDEX: Attr("string", json.dumps(index)), DATA: Attr("map_string_2_bytes", data)}
    return replace(graph, attrs={**graph.attrs, **values})


def strip(graph: Graph) -> Graph:
    """`graph` without goldens: a rewritten graph must not carry those of another one."""
    if not set(ATTRS) & set(graph.attrs):
        return graph
    return replace(graph, attrs={name: attr for name, attr in graph.attrs.items() if name not in ATTRS})


def load(graph: Graph) -> Golden | None:
    """The goldens of `graph`, None when it has none. Raises `ArtifactError` when they are damaged."""
    if INDEX not in graph.attrs:
        return None
    try:
        return _parse(json.loads(graph.get(INDEX)), graph.get(DATA, {}))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"The golden run in graph {graph.name!r} is damaged: {error!r:.120}.") from error


def _parse(index: Any, data: Any) -> Golden:
    """Raises `ValueError` and its like for anything that `embed` does not write."""
    images = _count(index["images"], MAX_IMAGES)
    _demand(index["version"] == _VERSION and isinstance(data, Mapping), "another version, or no data")
    tensors = {name: _record(entry, data.get(name), images) for name, entry in index["tensors"].items()}
    inputs = tuple(index["inputs"])
    _demand(all(tensors[name].data is not None for name in inputs), "an input without values")
    return Golden(images, str(index["source"]), inputs, tensors)


def _record(entry: Any, data: Any, images: int) -> Record:
    shape = tuple(_count(size, _MAX_BYTES) for size in entry["shape"])
    position, dtype, digest = entry["fix_point"], entry["dtype"], entry["sha256"]
    _demand(data is None or isinstance(data, bytes | memoryview), "values that are no bytes")
    _demand(data is None or shape[:1] == (images,), "a tensor of another number of images")
    _demand(isinstance(digest, str) and (position is None or type(position) is int), "no sha256 or fix position")
    _demand(position is None or abs(position) <= _MAX_POSITION, "an impossible fix position")
    _demand(dtype in _DTYPES and math.prod(shape) * _DTYPES[dtype].itemsize <= _MAX_BYTES, "an impossible tensor")
    return Record(digest, position, shape, dtype, data)


def _count(value: Any, most: int) -> int:
    _demand(type(value) is int and 1 <= value <= most, f"{value!r:.40} where 1 to {most} is expected")
    return int(value)


def _demand(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(what)


def summary(graph: Graph) -> dict[str, Any] | None:
    """For a description: how many images, tensors and bytes, None without goldens; a damaged run says so."""
    try:
        golden = load(graph)
    except ArtifactError as error:
        return {"damaged": error.what}
    if golden is None:
        return None
    stored = sum(len(record.data) for record in golden.tensors.values() if record.data is not None)
    return {"images": golden.images, "source": golden.source, "tensors": len(golden.tensors), "bytes": stored}
