"""What the engine needs of a backend: jobs of up to `batch` images, started and waited for by number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from xmodel.graph import Array, Tensor


class Runner(Protocol):
    """One network on one backend. Tensors have dims[0] = 1; arrays are C-ordered [n, ...] with 1 <= n <= batch.

    Inputs are int8 NHWC at the tensor's fix point; outputs are of their tensor's data type. A backend whose hardware
    always takes a full batch pads inside. Several jobs may be in flight; the arrays of a job belong to the runner
    until `wait` returns.
    """

    batch: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def execute_async(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> int:
        """Start a job on arrays by tensor name; returns its number."""
        ...

    def wait(self, job: int) -> None:
        """Return when the job's outputs are complete; raises what the job raised."""
        ...

    def close(self) -> None:
        """Finish running jobs and free the backend."""
        ...
