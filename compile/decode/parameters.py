"""A file that the vendor's compiler made for a VCK5000, with the parameters back in its constants.

Such a file leaves the constants of a DPU subgraph empty and keeps their values, permuted, in the subgraph's
attribute `reg_id_to_parameter_value` for its machine code to load (source: the project's sheet on the format).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from arch.targets import Target, by_fingerprint
from compile.decode.claims import Claim, claim
from compile.decode.layout import IN, OUT
from compile.decode.reads import Read, reads
from xmodel.errors import ArtifactError, UsageError
from xmodel.graph import Array, Graph, Op, Subgraph

_FAMILY, _RELEASES = "DPUCVDX8H", {"2.0", "2.5", "3.0"}  # whose encoding and layout the sheets describe
_REGISTER = "REG_0"


def with_parameters(graph: Graph) -> Graph:
    """`graph` with the values of every constant that lies in a parameter blob; `graph` itself when there is none.

    Ops, tensors, subgraphs and their attributes stay as they are: the emulator then runs the graph's integer ops.
    Raises `ArtifactError` naming the subgraph or op whose blob, program or layout is not understood.
    """
    values: dict[str, Array] = {}
    for part in graph.root.children if graph.root is not None else ():
        if part.get("device") == "DPU":
            values |= _values(graph, part)
    if not values:
        return graph
    return replace(graph, ops=tuple(_filled(op, values[op.name]) if op.name in values else op for op in graph.ops))


def _filled(op: Op, array: Array) -> Op:
    return op.with_attrs(data=np.ascontiguousarray(array).tobytes())


def _values(graph: Graph, part: Subgraph) -> dict[str, Array]:
    ops = [graph.op(name) for name in part.all_ops()]
    empty = {op.name: op for op in ops if op.type == "const-fix" and not op.get("data")}
    if not empty:
        return {}
    try:
        target = _target(part)
        blob = _blob(part)
        found = reads(_bytes(part, "mc_code"), _depth(target))
        claims: list[Claim] = []
        room = len(blob)
        for op in ops:
            if consts := [empty[name] for name in dict.fromkeys(op.input_names) if name in empty]:
                claims.append(claim(graph, op, consts, room))
                room -= claims[-1].bytes
        return _settled(claims, found, blob)
    except ArtifactError as error:
        raise ArtifactError(error.what, where=f"DPU subgraph {part.name!r}", hint=error.hint) from error


def _settled(claims: Sequence[Claim], found: Sequence[Read], blob: Array) -> dict[str, Array]:
    """The constants' values, when claims and reads account for each other."""
    values: dict[str, Array] = {}
    used = 0
    for item in claims:
        blocks, count = item.settle(found)
        weights, bias = item.arrays(blob, blocks)
        values |= {item.weights.name: weights, item.bias.name: bias}
        used += count
    if used != len(found):
        raise ArtifactError(f"Its program reads {len(found)} blocks of parameters; its ops account for {used}.")
    return values


def _target(part: Subgraph) -> Target:
    name, fingerprint = part.get("dpu_name", "an unnamed DPU"), part.get("dpu_fingerprint")
    try:
        target = by_fingerprint(fingerprint) if isinstance(fingerprint, int) else None
    except UsageError:
        target = None
    if target is None or target.type != _FAMILY or not _RELEASES.intersection(target.releases):
        raise ArtifactError(
            f"It is compiled for {name}, the layout of whose parameters is not known; that of the VCK5000's DPUs of "
            "the releases 2.0 to 3.0 is.",
            hint="Run the quantizer's _int.xmodel, or compile that with `unmask compile`.",
        )
    return target


def _depth(target: Target) -> int:
    """Lines of one convolution weight bank."""
    assert target.memory is not None, target.name  # every target of this family has its memory in the data
    return target.memory.weight_bytes // (IN * OUT)


def _blob(part: Subgraph) -> Array:
    blobs = part.get("reg_id_to_parameter_value")
    data = blobs.get(_REGISTER) if isinstance(blobs, dict) else None
    if not isinstance(data, bytes | memoryview) or not len(data):
        raise ArtifactError(f"Its constants are empty and it has no parameter blob {_REGISTER}.")
    sizes = part.get("reg_id_to_size")
    size = sizes.get(_REGISTER) if isinstance(sizes, dict) else None
    if size != len(data):
        raise ArtifactError(f"Its parameter blob {_REGISTER} has {len(data)} bytes; the file says {size!r}.")
    return np.frombuffer(data, np.int8)


def _bytes(part: Subgraph, name: str) -> bytes | memoryview:
    data = part.get(name)
    if not isinstance(data, bytes | memoryview):
        raise ArtifactError(f"It has no {name!r}.")
    return data
