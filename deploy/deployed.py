"""A compiled detector on a backend: files in, mask logits and P(real) out, in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from compile.decode.parameters import with_parameters
from deploy.devices import EMULATOR, Where
from deploy.kernels import KernelChoice
from deploy.roles import Roles, real, roles, sigmoid
from runtime import deepynet
from runtime.preprocess import decode, to_int8
from xmodel import file
from xmodel.errors import ArtifactError
from xmodel.graph import Graph
from xmodel.preprocess import Preprocessing

if TYPE_CHECKING:
    from runtime.engine import Failure, Result
    from runtime.runner import Runner

S = TypeVar("S")
Compat = Literal["deepynet"]
Take = Callable[[int, NDArray[Any], float], None]
Fail = Callable[[int, str], None]
MOST_THREADS = 4  # runners by default: each holds the activations of a whole batch
MOST_ON_CARD = 64  # runners that are ever advised for a card
MOST_WORKERS = 8  # threads that decode: each passes some hundred crops a second


@dataclass(frozen=True, slots=True)
class Deployed:
    """The compiled `graph`, what its outputs mean, and how crops become its input.

    `compat` takes the arithmetic around the network from another program: see `runtime.deepynet`.
    """

    graph: Graph
    path: Path
    spec: Preprocessing
    roles: Roles
    fix_point: int
    kernels: KernelChoice
    compat: Compat | None = None
    where: Where = EMULATOR

    @staticmethod
    def load(
        path: Path, kernels: KernelChoice = "auto", compat: Compat | None = None, where: Where = EMULATOR
    ) -> Deployed:
        """Read a compiled file: ours, or the vendor's for the VCK5000. Raises `UsageError` or `ArtifactError`."""
        graph = file.read(path)
        if where.python is None:  # the card finds the parameters in the file by itself
            graph = with_parameters(graph)
        spec, found = Preprocessing.load(graph), roles(graph)
        fix_point = graph.inputs[0].output.fix_point
        if len(graph.inputs) != 1 or fix_point is None:
            raise ArtifactError(
                f"Graph {graph.name!r} is not compiled: it has {len(graph.inputs)} inputs, the first "
                f"{'with' if fix_point is not None else 'without'} a fix point.",
                where=str(path),
                hint="Give the .xmodel that `unmask compile` wrote.",
            )
        return Deployed(graph, path, spec, found, fix_point, kernels, compat, where)

    @property
    def mask_shape(self) -> tuple[int, ...]:
        """(H, W, 2) of the mask logits."""
        return self.roles.mask.output.shape[1:]

    @property
    def mask_step(self) -> float:
        """What 1 means in mask logits that are int8: a power of two."""
        return 2.0 ** -(self.roles.mask.output.fix_point or 0)

    @property
    def target(self) -> str:
        """The target that the graph was compiled for."""
        parts = self.graph.root.children if self.graph.root else ()
        return next((str(part.get("dpu_name")) for part in parts if part.get("dpu_name")), "no target")

    @property
    def description(self) -> dict[str, Any]:
        """What a report says about the model."""
        return {
            "name": self.graph.name,
            "file": self.path.name,
            "input": f"{self.spec.width}x{self.spec.height} {self.spec.color_order}",
            "target": self.target,
        }

    @property
    def limit(self) -> float | None:
        """Seconds after which a run is given up whose device does not answer; None for the emulator, which needs what
        it needs. The card's own watch comes first, and says more."""
        if self.where.python is None:
            return None
        from runtime.vitis.process import Limits

        return 2 * Limits.of(os.environ).job

    @property
    def flaws(self) -> list[str]:
        """What is known to be wrong with the arithmetic of `compat`, a sentence each; none without it."""
        return deepynet.flaws(self.spec, self.fix_point, self.roles.sigmoid_on_dpu) if self.compat else []

    def _load(self, path: Path) -> NDArray[np.int8]:
        image = decode(path, self.spec)
        return deepynet.to_int8(image, self.fix_point) if self.compat else to_int8(image, self.spec, self.fix_point)

    def _p_real(self, score: NDArray[np.float32]) -> NDArray[np.float32]:
        p_real = self.roles.p_real(score)
        return sigmoid(p_real) if self.compat and self.roles.sigmoid_on_dpu else p_real

    def picture(self, path: Path) -> NDArray[np.uint8]:
        """The crop as the network sees it, RGB uint8 (H, W, 3)."""
        image = decode(path, self.spec)
        return image[..., ::-1] if self.spec.color_order == "BGR" else image

    def run(
        self,
        paths: Sequence[Path],
        take: Take,
        fail: Fail,
        threads: int | None,
        advance: Callable[[int], None],
        draining: Callable[[], None] = lambda: None,
    ) -> dict[str, Any]:
        """Judge every file: `take` or `fail` is called for each index, in order, on this thread.

        Returns how fast it was: crops a second, and where the time went, in milliseconds a crop and in seconds summed
        over threads. On Ctrl-C `draining` is called, what is in flight is judged, and `KeyboardInterrupt` raised.
        """
        return self.stream(paths, self._load, take, fail, threads, advance, draining)

    def stream(
        self,
        sources: Iterable[S],
        load: Callable[[S], NDArray[np.int8]],
        take: Take,
        fail: Fail,
        threads: int | None,
        advance: Callable[[int], None],
        draining: Callable[[], None] = lambda: None,
    ) -> dict[str, Any]:
        """The same for anything that `load` turns into the network's input, int8 (H, W, 3), on a worker's thread.

        `take` gets mask logits (H, W, 2) as the network gives them: int8, in units of `mask_step`, or real, float32.
        Not more of `sources` is taken at a time than the batches in flight need.
        """
        from runtime.engine import close, run

        def sink(result: Result[S]) -> None:
            logits, score = (result.outputs[op.output.name] for op in (self.roles.mask, self.roles.score))
            p_real = self._p_real(real(score.reshape(1, -1), self.roles.score.output))
            given = logits if logits.dtype == np.int8 else real(logits, self.roles.mask.output)
            take(result.index, given, float(p_real[0]))
            advance(1)

        def failed(failure: Failure[S]) -> None:
            fail(failure.index, failure.reason)
            advance(1)

        cores = os.cpu_count() or 1
        workers = max(2, min(cores, MOST_WORKERS))
        pool, kernels = self._runners(threads or min(cores, MOST_THREADS))
        try:
            found = run(sources, load, pool, sink, failed, workers, self.limit, draining)
        finally:
            close(pool)
        read = found.items - found.failures
        return {
            "device": self.where.name,
            "kernels": kernels,
            "batch": pool[0].batch,
            "threads": found.threads,
            "crops": read,
            "seconds": found.seconds,
            "fps": found.fps,
            "workers": found.workers,
            "bottleneck": found.bottleneck,
            "device_busy": found.device_busy,
            "threads_to_try": found.threads_to_try(cores if self.limit is None else MOST_ON_CARD),
            "host_ms": found.host_ms,
            "queue_ms": found.queue_ms,
            "device_ms": found.device_ms,
            "sink_ms": found.sink_ms,
            "stages": {
                "decoding and preparing": found.host_ms * found.items / 1000,
                "running the network": found.device_ms * read / 1000,
                "writing results": found.sink_ms * found.items / 1000,
            },
        }

    def _runners(self, count: int) -> tuple[Sequence[Runner], str]:
        """`count` runners where the network runs, and the kernels that compute what the host does."""
        if self.where.python is not None:
            from runtime.vitis.runner import open_runners

            opened = open_runners(self.graph, self.path, self.where.python.path, count, self.kernels)
            return opened, opened[0].kernels
        from runtime.emulator.program import Program
        from runtime.emulator.runner import batch_of, runners

        program = Program(self.graph, kernels=self.kernels)
        return runners(program, batch_of(self.graph), count), program.kernels
