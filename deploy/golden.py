"""Golden runs made and replayed: which tensors are compared, how an input becomes their run, and on what it runs."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from deploy.kernels import KernelChoice
from runtime.emulator.rounding import quantize
from xmodel import golden
from xmodel.contents import fix_point
from xmodel.errors import ArtifactError, UsageError
from xmodel.golden import Golden, Record
from xmodel.graph import Array, Graph, Op, numpy_dtype

if TYPE_CHECKING:
    from runtime.runner import Runner

_MAX_POSITION = 64  # beyond, a fix position is a damaged file's

Watch = Callable[[str, Array], None]
# Runs one image, given by input tensor name, and shows the tensors that it makes by op name.
Backend = Callable[[Mapping[str, Array], Watch], None]


def record(graph: Graph, inputs: Mapping[str, Array], source: str) -> Graph:
    """`graph` with a golden run, computed by the emulator's reference, in its attributes.

    `inputs` are (n, ...) arrays by input tensor name: int8 on the input's fix grid, or float32 to be put on it.
    `source` says where they come from. Every tensor on an int8 grid, every constant and every output is recorded.
    """
    graph = golden.strip(graph)
    records = {
        op.output.name: _input(graph, op, inputs[op.output.name]) for op in graph.inputs if op.output.name in inputs
    }
    images = len(next(iter(records.values())).array())
    made: dict[str, list[Array]] = {}
    chosen = watched(graph)

    def watch(name: str, array: Array) -> None:
        if name in chosen:
            made.setdefault(name, []).append(on_grid(array, chosen[name]))

    run = emulator(graph, "reference")
    for image in range(images):
        run(feeds(graph, records, image), watch)
    tensors = {
        graph.op(name).output.name: Record.of(np.concatenate(arrays), chosen[name]) for name, arrays in made.items()
    }
    found = Golden(images, source, tuple(records), {**records, **tensors, **constants(graph)})
    return golden.embed(graph, found)


def _input(graph: Graph, op: Op, array: Array) -> Record:
    position = input_position(graph, op)
    if array.dtype.kind == "f" and position is not None:
        array = quantize(array, position, 8).astype(np.int8)
    return Record.of(array, position)


def input_position(graph: Graph, op: Op) -> int | None:
    """The fix position at which an input is quantized: its own, or that of the `fix` that reads it."""
    if op.output.fix_point is not None:
        return op.output.fix_point
    return next((fix_point(graph, reader) for reader in graph.fanout[op.name] if reader.type == "fix"), None)


def watched(graph: Graph) -> dict[str, int | None]:
    """The computed ops whose tensors are compared, with the fix position of each; None for a float output."""
    outputs = {op.name for op in graph.outputs}
    found: dict[str, int | None] = {}
    for op in graph.ops:
        if op.is_const or op.type in ("data", "data-fix"):
            continue
        position = _position(graph, op)
        if position is not None or (op.name in outputs and op.output.data_type == "FLOAT32"):
            found[op.name] = position
    return found


def _position(graph: Graph, op: Op) -> int | None:
    parameter = all(graph.op(name).is_const for name in op.input_names)
    grid = op.type == "fix" and not parameter and op.get("bit_width") == 8 and op.get("if_signed") is True
    position = fix_point(graph, op) if grid or op.output.data_type in ("XINT8", "INT8") else None
    return position if position is not None and abs(position) <= _MAX_POSITION else None


def on_grid(array: Array, position: int | None) -> Array:
    """A tensor's values as they are recorded: int8 on a fix grid, else float32."""
    if array.dtype.kind == "i" or position is None:
        return array
    return np.clip(np.rint(np.ldexp(array.astype(np.float64), position)), -128, 127).astype(np.int8)


def constants(graph: Graph) -> dict[str, Record]:
    """A record without values for each constant of int8 or float32."""
    found: dict[str, Record] = {}
    for op in graph.ops:
        if op.is_const and op.output.data_type in ("XINT8", "INT8", "FLOAT32"):
            dtype = numpy_dtype(op.output.data_type).name
            digest = hashlib.sha256(op.data).hexdigest()
            found[op.output.name] = Record(digest, fix_point(graph, op), op.output.shape, dtype)
    return found


def feeds(graph: Graph, records: Mapping[str, Record], image: int) -> dict[str, Array]:
    """One golden image, (1, ...) by input tensor name, in the data type that each input takes."""
    found: dict[str, Array] = {}
    for op in graph.inputs:
        if op.output.name in records:
            item = records[op.output.name]
            array = item.array()[image : image + 1]
            if op.output.data_type == "FLOAT32" and item.dtype == "int8":
                array = np.ldexp(array.astype(np.float32), -(item.fix_point or 0))
            found[op.output.name] = array
    return found


def noise(graph: Graph) -> dict[str, Array]:
    """One image of pseudo-random int8 values for each input: the same on every machine."""
    return {
        op.output.name: np.frombuffer(
            hashlib.shake_256(op.output.name.encode()).digest(math.prod(op.output.shape[1:])), np.int8
        ).reshape(1, *op.output.shape[1:])
        for op in graph.inputs
    }


def carried(source: Graph, graph: Graph) -> tuple[dict[str, Array], str]:
    """Golden inputs for `graph`, which was made from `source`: those of `source`, else noise; and where they are from.

    Inputs belong together by their order. Raises `ArtifactError` when those of `source` do not fit.
    """
    found = golden.load(source)
    if found is None:
        return noise(graph), "noise"
    arrays: dict[str, Array] = {}
    for old, new in zip(source.inputs, graph.inputs, strict=True):
        item = found.tensors.get(old.output.name)
        if item is None or item.shape[1:] != new.output.shape[1:] or item.fix_point != input_position(graph, new):
            raise ArtifactError(
                f"The golden run of graph {source.name!r} does not fit its input {old.output.name!r}.",
                hint="Quantize again with --golden.",
            )
        arrays[new.output.name] = item.array()
    return arrays, found.source


def against(source: Graph, graph: Graph) -> dict[str, Any]:
    """How the golden run of `graph` and that of `source` agree on the tensors that have the same name."""
    old, new = golden.load(source), golden.load(graph)
    if old is None or new is None:
        return {"shared": 0, "differing": []}
    shared = [name for name, item in new.tensors.items() if item.data is not None and name in old.tensors]
    return {
        "shared": len(shared),
        "differing": [name for name in shared if new.tensors[name].sha256 != old.tensors[name].sha256],
    }


def emulator(graph: Graph, kernels: KernelChoice) -> Backend:
    """The emulator, which shows every tensor."""
    from runtime.emulator.program import Program

    program = Program(graph, kernels)

    def run(inputs: Mapping[str, Array], watch: Watch) -> None:
        program.run(inputs, watch=watch)

    return run


def through(runner: Runner, graph: Graph) -> Backend:
    """Any backend behind the runner interface, which shows its outputs alone. Raises `UsageError` when it has inputs
    or outputs that `graph` has not."""
    names = {op.output.name: op.name for op in graph.ops}
    if not {tensor.name for tensor in (*runner.inputs, *runner.outputs)} <= set(names):
        raise UsageError(f"The runner is one of another network than {graph.name!r}.")

    def run(inputs: Mapping[str, Array], watch: Watch) -> None:
        outputs = {t.name: np.zeros((1, *t.shape[1:]), numpy_dtype(t.data_type)) for t in runner.outputs}
        given = {tensor.name: np.ascontiguousarray(inputs[tensor.name]) for tensor in runner.inputs}
        runner.wait(runner.execute_async(given, outputs))
        for name, array in outputs.items():
            watch(names[name], array)

    return run
