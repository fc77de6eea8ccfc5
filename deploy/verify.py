"""`unmask xmodel verify`: a file's golden run replayed on a backend, and the first place where it goes another way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from compile.decode.parameters import with_parameters
from deploy.explain import explain
from deploy.golden import Backend, constants, emulator, feeds, input_position, on_grid, watched
from deploy.kernels import KernelChoice
from xmodel import artifact, file, golden
from xmodel.contents import fix_point
from xmodel.errors import ArtifactError, GateError
from xmodel.golden import Golden, Record
from xmodel.graph import Array, Graph

_TOLERANCE = 1e-5  # of float outputs: exp and its like are not the same to the last bit on every machine


@dataclass(frozen=True, slots=True)
class First:
    """The first op, in topological order, that makes another tensor, and the first value of it that differs.

    `place` is the index without the image: [row, column, channel] of an image. `largest` is the largest difference
    in steps of the fix grid, or real for a float output (`fix_point` None). `fault`: whose it is.
    """

    op: str
    type: str
    tensor: str
    image: int
    place: tuple[int, ...]
    recorded: float
    replayed: float
    fix_point: int | None
    differing: int
    values: int
    largest: float
    cause: str
    explanation: str
    fault: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a replay found. Constants and fix positions that are not the recorded ones are mismatches themselves."""

    images: int
    compared: int
    diverging: tuple[str, ...]
    first: First | None
    constants: tuple[str, ...]
    positions: Mapping[str, tuple[int | None, int | None]]
    missing: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """True when every tensor is the recorded one."""
        return not (self.diverging or self.constants or self.positions or self.missing)

    def data(self) -> dict[str, Any]:
        """For JSON."""
        return {"equal": self.equal, **asdict(self)}


def load(path: Path) -> tuple[Graph, Golden]:
    """A file and its golden run. Raises `UsageError` (no such file) or `ArtifactError` (damaged, or without one)."""
    graph = with_parameters(file.read(path))
    try:
        found = golden.load(graph)
        if found is None:
            raise ArtifactError(
                "This file carries no golden run.",
                hint="Make it with `unmask quantize --golden` or `compile --golden`.",
            )
        _demand_fit(graph, found)
    except ArtifactError as error:
        raise ArtifactError(error.what, where=str(path), hint=error.hint) from error
    return graph, found


def _demand_fit(graph: Graph, found: Golden) -> None:
    for op in graph.inputs:
        item = found.tensors.get(op.output.name)
        if op.output.name not in found.inputs or item is None or item.shape[1:] != op.output.shape[1:]:
            raise ArtifactError(f"The golden run has no image for input {op.output.name!r} {list(op.output.shape)}.")
        item.array()


@dataclass(slots=True)
class _Comparison:
    """Compares tensors as a backend makes them; keeps the values of the topologically first that differs."""

    graph: Graph
    records: Mapping[str, Record]
    positions: Mapping[str, int | None]
    places: Mapping[str, int]
    image: int = 0
    seen: set[str] = field(default_factory=set)
    diverging: set[str] = field(default_factory=set)
    first: tuple[int, str, int, Array, Array] | None = None  # place in the graph, op, image, recorded, replayed

    def watch(self, name: str, array: Array) -> None:
        """A tensor of the image at hand."""
        item = self.records.get(self.graph.op(name).output.name)
        if name not in self.positions or item is None or item.data is None:
            return
        self.seen.add(name)
        replayed = on_grid(array, self.positions[name])
        recorded = item.array()[self.image : self.image + 1]
        if _same(recorded, replayed):
            return
        self.diverging.add(name)
        if self.first is None or (self.image, self.places[name]) < (self.first[2], self.first[0]):
            self.first = (self.places[name], name, self.image, recorded, replayed)


def _same(recorded: Array, replayed: Array) -> bool:
    if recorded.shape != replayed.shape or recorded.dtype != replayed.dtype:
        return False
    if recorded.dtype.kind == "f":
        return np.allclose(recorded, replayed, _TOLERANCE, _TOLERANCE, equal_nan=True)
    return np.array_equal(recorded, replayed)


def replay(graph: Graph, found: Golden, backend: Backend, is_reference: bool = False) -> Verdict:
    """Run the golden images of `graph` through `backend` and compare what it shows.

    After a mismatch the op is computed by the emulator's reference as well, unless the backend is that: it tells a
    backend at fault from a file that is not the recorded one.
    """
    places = {op.name: place for place, op in enumerate(graph.ops)}
    state = _Comparison(graph, found.tensors, watched(graph), places)
    for state.image in range(found.images):
        backend(feeds(graph, found.tensors, state.image), state.watch)
    names = {op.output.name: op.name for op in graph.ops}
    now = constants(graph)
    return Verdict(
        images=found.images,
        compared=len(state.seen),
        diverging=tuple(sorted(state.diverging, key=lambda name: places[name])),
        first=None if state.first is None else _first(graph, found, state, is_reference),
        constants=tuple(
            name
            for name, item in found.tensors.items()
            if item.data is None and name in now and now[name].sha256 != item.sha256
        ),
        positions={
            name: (item.fix_point, here)
            for name, item in found.tensors.items()
            if name in names and (here := _position(graph, names[name])) != item.fix_point
        },
        missing=tuple(name for name in found.tensors if name not in names),
    )


def _position(graph: Graph, name: str) -> int | None:
    op = graph.op(name)
    if op.type in ("data", "data-fix"):
        return input_position(graph, op)
    return fix_point(graph, op)


def _first(graph: Graph, found: Golden, state: _Comparison, is_reference: bool) -> First:
    assert state.first is not None
    _, name, image, recorded, replayed = state.first
    op, position = graph.op(name), state.positions[name]
    if recorded.shape != replayed.shape or recorded.dtype != replayed.dtype:
        raise ArtifactError(
            f"Op {name!r} makes {replayed.dtype} {list(replayed.shape)}; recorded are {recorded.dtype} "
            f"{list(recorded.shape)}: the golden run is one of another graph.",
            where=graph.name,
        )
    gap = np.abs(recorded.astype(np.float64) - replayed.astype(np.float64))
    differs = recorded != replayed if recorded.dtype.kind == "i" else gap > _TOLERANCE * (1 + np.abs(recorded))
    differs |= np.isnan(gap)
    place = np.unravel_index(int(np.argmax(differs)), differs.shape)
    cause, sentence = "float", "it is a float output, compared within a tolerance"
    if recorded.dtype.kind == "i":
        told = explain(recorded, replayed)
        cause, sentence = str(told.cause), told.sentence
    return First(
        op=name,
        type=op.type,
        tensor=op.output.name,
        image=image,
        place=tuple(int(index) for index in place[1:]),
        recorded=recorded[place].item(),
        replayed=replayed[place].item(),
        fix_point=position,
        differing=int(differs.sum()),
        values=recorded.size,
        largest=float(np.nan_to_num(gap.max(), nan=np.inf)),
        cause=cause,
        explanation=sentence,
        fault=_fault(graph, found, state, is_reference),
    )


class _FoundError(Exception):
    """The tensor that was looked for is there: the rest of the network need not run."""


def _fault(graph: Graph, found: Golden, state: _Comparison, is_reference: bool) -> str:
    """ "file", "backend" or "both": what the reference makes of the same op."""
    assert state.first is not None
    _, name, image, recorded, replayed = state.first
    if is_reference:
        return "file"
    made: list[Array] = []

    def watch(op: str, array: Array) -> None:
        if op == name:
            made.append(on_grid(array, state.positions[name]))
            raise _FoundError

    try:
        emulator(graph, "reference")(feeds(graph, found.tensors, image), watch)
    except _FoundError:
        if _same(recorded, made[0]):
            return "backend"
        if _same(replayed, made[0]):
            return "file"
    return "both"


def verify(path: Path, kernels: KernelChoice = "auto") -> dict[str, Any]:
    """Replay the golden run of the file `path` on the emulator: the verdict for JSON.

    Raises `UsageError` (no such file) or `ArtifactError` (damaged, or without a golden run).
    """
    graph, found = load(path)
    verdict = replay(graph, found, emulator(graph, kernels), kernels == "reference")
    return {
        "file": str(path),
        "sha256": artifact.sha256(path),
        "backend": f"emulator, {kernels} kernels",
        **verdict.data(),
    }


def demand(report: Mapping[str, Any]) -> None:
    """Raise `GateError` that says where the replay first went another way, unless it did not."""
    if report["equal"]:
        return
    said = [*_changes(report), *([_place(report)] if report["first"] else [])]
    raise GateError(" ".join(said), where=report["file"], hint=_hint(report))


def _changes(report: Mapping[str, Any]) -> list[str]:
    said: list[str] = []
    for key, what in (("constants", "Constant {} is not the recorded one"), ("missing", "Tensor {} is gone")):
        if names := report[key]:
            said.append(what.format(repr(names[0])) + (f", nor are {len(names) - 1} others." if names[1:] else "."))
    if moved := report["positions"]:
        name, (was, now) = next(iter(moved.items()))
        by = f", a shift by {abs(now - was)}" if was is not None and now is not None else ""
        more = f"; {len(moved) - 1} others moved too" if len(moved) > 1 else ""
        said.append(f"Tensor {name!r} has fix position {now} where {was} was recorded{by}{more}.")
    return said


def _place(report: Mapping[str, Any]) -> str:
    first = report["first"]
    place = first["place"]
    where = f"row {place[0]}, column {place[1]}, channel {place[2]}" if len(place) == 3 else f"index {list(place)}"
    others = len(report["diverging"]) - 1
    more = f", the first of {others + 1} tensors" if others else ""
    values = (first["recorded"], first["replayed"])
    if first["fix_point"] is None:
        both = "recorded {:.6g}, replayed {:.6g}".format(*values)
    else:
        real = (value * 2.0 ** -first["fix_point"] for value in values)
        both = "recorded {} ({:g}), replayed {} ({:g})".format(
            *(v for pair in zip(values, real, strict=True) for v in pair)
        )
    return (
        f"Op {first['op']!r} ({first['type']}) makes another tensor{more}: image {first['image']}, {where}: {both}. "
        f"{first['differing']:,} of {first['values']:,} values differ, by at most {first['largest']:g}; "
        f"{first['explanation']}."
    )


def _hint(report: Mapping[str, Any]) -> str:
    fault = report["first"]["fault"] if report["first"] else "unseen"
    return {
        "unseen": "The file is not the one that was recorded, though no tensor of the golden run shows it.",
        "file": "The file is not the one that was recorded: the emulator's reference computes the replayed values too.",
        "backend": "The backend is at fault: on this file the emulator's reference computes the recorded values.",
        "both": "The emulator's reference computes neither of the two.",
    }[fault]
