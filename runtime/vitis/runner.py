"""A compiled file on the card behind the runner interface; the CPU's subgraphs run in the emulator's ops."""

from __future__ import annotations

import math
import os
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from runtime.emulator.program import KernelChoice
from runtime.vitis.memory import Layout, Memory, Place
from runtime.vitis.plan import CardStep, HostStep, Step, plan
from runtime.vitis.process import Limits, Worker
from xmodel.errors import UnavailableError, UnmaskError, UsageError
from xmodel.graph import Array, Graph, Tensor, numpy_dtype

SLOTS = 3  # jobs that a runner has on the card at a time; more wait here

Arrays = tuple[dict[str, Array], dict[str, Array]]  # a part's inputs and outputs by tensor name, with all lanes


class Card:
    """A file opened on the card: one worker process, shared memory, and what `count` runners need of both.

    `batch` is what the vendor's runner states: the processing engines of the card.
    """

    def __init__(
        self, graph: Graph, path: Path, python: Path, count: int, kernels: KernelChoice, limits: Limits
    ) -> None:
        self.steps: tuple[Step, ...] = plan(graph, kernels)
        self.inputs = tuple(op.output for op in graph.inputs)
        self.outputs = tuple(op.output for op in graph.outputs)
        self._parts = [step for step in self.steps if isinstance(step, CardStep)]
        self._open, self._closing = count, threading.Lock()
        self._memory = Memory()
        try:
            self.worker = Worker(python, self._memory.descriptor, limits)
        except BaseException:
            self._memory.close()
            raise
        try:
            self.batch, self.arrays = self._start(path, count, limits)
        except BaseException:
            self._end()
            raise

    def _start(self, path: Path, count: int, limits: Limits) -> tuple[int, list[list[list[Arrays]]]]:
        """(batch, arrays by runner, slot and part)."""
        names = [part.name for part in self._parts]
        model = str(path.absolute())
        answer = self.worker.call(limits.opening, do="open", model=model, parts=names, runners=count)
        batch, layout = agreed(self._parts, answer)
        self._memory.resize(layout.stride * SLOTS * count)
        parts = [{"inputs": _offsets(i), "outputs": _offsets(o)} for i, o in layout.parts]
        size = layout.stride * SLOTS * count
        self.worker.call(limits.opening, do="map", size=size, slots=SLOTS, stride=layout.stride, parts=parts)
        return batch, [[self._slot(layout, runner * SLOTS + slot) for slot in range(SLOTS)] for runner in range(count)]

    def _slot(self, layout: Layout, index: int) -> list[Arrays]:
        start = index * layout.stride
        return [
            (
                {place.name: self._memory.array(start, place) for place in inputs},
                {place.name: self._memory.array(start, place) for place in outputs},
            )
            for inputs, outputs in layout.parts
        ]

    def close(self) -> None:
        """A runner is done with it; the last one frees the card."""
        with self._closing:
            self._open -= 1
            if self._open == 0:
                self._end()

    def _end(self) -> None:
        self.worker.close()
        self._memory.close()


def _offsets(places: Sequence[Place]) -> dict[str, int]:
    return {place.name: place.offset for place in places}


def agreed(parts: Sequence[CardStep], answer: Mapping[str, Any]) -> tuple[int, Layout]:
    """(batch, places of all tensors), from what the vendor's runners state, which must be what the file says.

    Raises `UnavailableError` naming the tensor that is different.
    """
    batches: set[int] = set()
    shapes = []
    for part, told in zip(parts, answer["parts"], strict=True):
        sides = []
        for tensors, stated in ((part.inputs, told["inputs"]), (part.outputs, told["outputs"])):
            found = {str(entry["name"]): entry for entry in stated}
            if set(found) != {tensor.name for tensor in tensors}:
                raise _different(part, f"has the tensors {sorted(found)}; the file {sorted(t.name for t in tensors)}")
            for tensor in tensors:
                batches.add(_agree(part, tensor, found[tensor.name]))
            sides.append([(name, tuple(entry["dims"])) for name, entry in found.items()])
        shapes.append((sides[0], sides[1]))
    if len(batches) != 1:
        raise UnavailableError(f"The vendor's runners state different batches: {sorted(batches)}.")
    return batches.pop(), Layout.of(shapes)


def _agree(part: CardStep, tensor: Tensor, stated: Mapping[str, Any]) -> int:
    """The batch that the vendor states for a tensor, whose other dimensions and fix point must be the file's."""
    dims, fix_point = tuple(stated["dims"]), stated["fix_point"]
    if dims[1:] != tensor.shape[1:] or not dims or dims[0] < 1:
        raise _different(part, f"takes {tensor.name!r} as {list(dims)}; the file says {list(tensor.shape)}")
    if None not in (fix_point, tensor.fix_point) and fix_point != tensor.fix_point:
        raise _different(part, f"has {tensor.name!r} at fix point {fix_point}; the file says {tensor.fix_point}")
    return int(dims[0])


def _different(part: CardStep, what: str) -> UnavailableError:
    return UnavailableError(
        f"The vendor's runner of DPU subgraph {part.name!r} {what}.",
        hint="Compile and run with the same release; --device emulator computes without the card.",
    )


@dataclass(slots=True, eq=False)
class _Job:
    """A job on its way through the steps; `flying` is its number at the worker while the card has it."""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    size: int
    values: dict[str, Array] = field(default_factory=dict)
    slot: int | None = None
    step: int = 0
    flying: int | None = None
    done: bool = False
    error: UnmaskError | None = None


class CardRunner:
    """One of the runners of `card`, with a runner of the vendor's of its own. Used by one thread at a time.

    A job goes to the card at once while there is a free slot; the host's part of it is computed in `wait`, while the
    card has the jobs after it. `threads` is how many cores that may use, `kernels` the name of what computes it.
    """

    def __init__(self, card: Card, index: int, threads: int = 1) -> None:
        self.batch, self.inputs, self.outputs = card.batch, card.inputs, card.outputs
        self.kernels = next((step.program.kernels for step in card.steps if isinstance(step, HostStep)), "none")
        self._card, self._index, self._threads = card, index, threads
        self._slots = card.arrays[index]
        self._free = list(range(SLOTS))
        self._numbers = count()
        self._jobs: dict[int, _Job] = {}
        self._waiting: deque[_Job] = deque()
        self._started: deque[_Job] = deque()
        self._closed = False

    def execute_async(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> int:
        """Start a job. Raises `UsageError` when an array is missing or does not fit its tensor."""
        sizes = {
            _size(tensor, given.get(tensor.name), self.batch)
            for tensors, given in ((self.inputs, inputs), (self.outputs, outputs))
            for tensor in tensors
        }
        if len(sizes) != 1:
            raise UsageError(f"The arrays of a job have different batches: {sorted(sizes)}.")
        number = next(self._numbers)
        job = self._jobs[number] = _Job(dict(inputs), dict(outputs), sizes.pop())
        self._waiting.append(job)
        self._feed()
        return number

    def wait(self, job: int) -> None:
        """Wait for a job; each number can be waited for once. Raises `UsageError` for an unknown number, and why the
        job failed."""
        try:
            found = self._jobs.pop(job)
        except KeyError:
            raise UsageError(f"There is no job {job} to wait for.") from None
        while not found.done:
            self._finish(found if found.slot is not None else self._started[0])
        if found.error is not None:
            raise found.error

    def close(self) -> None:
        """Give the runner back; the card is freed with the last one."""
        if not self._closed:
            self._closed = True
            self._card.close()

    def _feed(self) -> None:
        """Start what waits, in order, as far as there are slots."""
        while self._free and self._waiting:
            job = self._waiting.popleft()
            job.slot = self._free.pop()
            job.values = dict(job.inputs)
            self._started.append(job)
            self._advance(job)

    def _finish(self, job: _Job) -> None:
        """Take a started job to its end."""
        while job.flying is not None:
            number, job.flying = job.flying, None
            try:
                self._card.worker.wait(number)
            except UnmaskError as error:
                self._end(job, error)
                return
            job.values.update((name, array[: job.size]) for name, array in self._arrays(job)[1].items())
            job.step += 1
            self._advance(job)

    def _advance(self, job: _Job) -> None:
        """Do the host's steps until the card is to do one, or none is left."""
        try:
            while job.step < len(self._card.steps):
                step = self._card.steps[job.step]
                if isinstance(step, CardStep):
                    job.flying = self._submit(job, step)
                    return
                step.program.set_threads(self._threads)
                job.values |= step.program.run({t.name: job.values[t.name] for t in step.program.inputs})
                job.step += 1
            for name, target in job.outputs.items():
                np.copyto(target, job.values[name].reshape(target.shape), casting="no")
        except UnmaskError as error:
            self._end(job, error)
        else:
            self._end(job, None)

    def _submit(self, job: _Job, step: CardStep) -> int:
        """Put a part's inputs into the slot and start it: all lanes, zero where the job has no image."""
        for name, array in self._arrays(job)[0].items():
            lanes = array[: job.size]
            np.copyto(lanes, job.values[name].reshape(lanes.shape), casting="no")
            array[job.size :] = 0
        assert job.slot is not None
        return self._card.worker.run(self._index, job.slot, step.index)

    def _arrays(self, job: _Job) -> Arrays:
        step = self._card.steps[job.step]
        assert isinstance(step, CardStep) and job.slot is not None
        return self._slots[job.slot][step.index]

    def _end(self, job: _Job, error: UnmaskError | None) -> None:
        assert job.slot is not None
        job.done, job.error, job.values = True, error, {}
        self._started.remove(job)
        self._free.append(job.slot)
        self._feed()


def _size(tensor: Tensor, array: Array | None, batch: int) -> int:
    """How many images `array` holds for `tensor`. Raises `UsageError`: the vendor would read past its end."""
    if array is None or not 1 <= len(array) <= batch:
        raise UsageError(f"A job needs an array of 1 to {batch} images for tensor {tensor.name!r}.")
    wanted = numpy_dtype(tensor.data_type)
    if array.dtype != wanted or array.size != len(array) * math.prod(tensor.shape[1:]):
        given = f"{array.dtype} {list(array.shape[1:])}"
        raise UsageError(f"Tensor {tensor.name!r} takes {wanted} {list(tensor.shape[1:])}, not {given}.")
    return len(array)


def open_runners(
    graph: Graph, path: Path, python: Path, count: int, kernels: KernelChoice = "auto", limits: Limits | None = None
) -> list[CardRunner]:
    """`count` runners of the compiled file `path`, which holds `graph`, through one worker on the vendor's `python`.

    The constants of DPU subgraphs need no values: the card has its own copy. Raises `ArtifactError` for a graph that
    is not compiled, `UnavailableError` for whatever the vendor's runtime refuses.
    """
    card = Card(graph, path, python, count, kernels, limits or Limits.of(os.environ))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return [CardRunner(card, index, max(1, cores // count)) for index in range(count)]
