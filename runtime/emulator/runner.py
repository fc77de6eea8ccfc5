"""The emulator behind the runner interface: a whole graph, its CPU ops included, one worker thread a runner."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count

import numpy as np

from arch import targets
from runtime.emulator.program import Program
from xmodel.errors import UsageError
from xmodel.graph import Array, Graph, Subgraph

DEFAULT_BATCH = 8


def batch_of(graph: Graph) -> int:
    """Images a job: the processing engines of the target that the graph was compiled for, 8 when it says none."""
    stack: list[Subgraph] = [graph.root] if graph.root is not None else []
    while stack:
        node = stack.pop()
        name = node.get("dpu_name")
        if isinstance(name, str):
            return {target.name: target.batch for target in targets.targets()}.get(name, DEFAULT_BATCH)
        stack.extend(node.children)
    return DEFAULT_BATCH


class EmulatorRunner:
    """Runs `program`; runners of one program share its packed weights. Jobs run in order on the runner's own thread.

    `threads` is how many cores one job may use.
    """

    def __init__(self, program: Program, batch: int = DEFAULT_BATCH, threads: int = 1) -> None:
        self.program, self.batch = program, batch
        self.inputs, self.outputs = program.inputs, program.outputs
        self._numbers = count()
        self._jobs: dict[int, Future[None]] = {}
        self._worker = ThreadPoolExecutor(1, "emulator", initializer=program.set_threads, initargs=(threads,))

    def execute_async(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> int:
        """Queue a job. Raises `UsageError` when a tensor is missing or larger than the batch."""
        for tensors, given in ((self.inputs, inputs), (self.outputs, outputs)):
            for tensor in tensors:
                if tensor.name not in given or not 1 <= len(given[tensor.name]) <= self.batch:
                    raise UsageError(f"A job needs an array of 1 to {self.batch} images for tensor {tensor.name!r}.")
        number = next(self._numbers)
        self._jobs[number] = self._worker.submit(self._run, dict(inputs), dict(outputs))
        return number

    def _run(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        results = self.program.run(inputs)
        for name, target in outputs.items():
            np.copyto(target, results[name].reshape(target.shape), casting="no")

    def wait(self, job: int) -> None:
        """Wait for a job; each number can be waited for once. Raises `UsageError` for an unknown number."""
        try:
            future = self._jobs.pop(job)
        except KeyError:
            raise UsageError(f"There is no job {job} to wait for.") from None
        future.result()

    def close(self) -> None:
        """Drop queued jobs, finish the running one, end the thread."""
        self._worker.shutdown(wait=True, cancel_futures=True)


def runners(program: Program, batch: int, count: int) -> list[EmulatorRunner]:
    """`count` runners that share `program` and, together, use each core of this machine once."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return [EmulatorRunner(program, batch, max(1, cores // count)) for _ in range(count)]
