"""Memory for activations that is used again: fresh pages cost more than the arithmetic done on them."""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from quantize.fold import CONVOLUTIONS
from quantize.kernels import KERNELS, Args, Kernel, concat_axis, convolve
from xmodel.graph import Array, Graph, Op

_BYTES = 1 << 24  # of one result: malloc maps anything above 32 MiB anew each time


class Arena:
    """Lends float32 CPU memory to tensors and takes it back when the last tensor on it is gone.

    It holds what was alive at once, at most twice over, and is itself gone with its last tensor.
    """

    def __init__(self) -> None:
        self._free: list[Array] = []

    def empty(self, shape: Sequence[int]) -> Tensor:
        """An uninitialized (N, C, H, W) tensor, channels last in memory."""
        batch, channels, height, width = shape
        size = batch * channels * height * width
        fitting = [index for index, array in enumerate(self._free) if size <= array.size <= 2 * size]
        if fitting:
            memory = self._free.pop(min(fitting, key=lambda index: self._free[index].size))
        else:
            memory = np.empty(size, np.float32)
        lent = memory[:size]  # a view of its own: torch keeps it alive exactly as long as a tensor uses it
        weakref.finalize(lent, self._free.append, memory).atexit = False
        return torch.from_numpy(lent).view(batch, height, width, channels).permute(0, 3, 1, 2)


def images_at_once(op: Op) -> int:
    """How many images of the convolution `op` to compute in one go, for results that the allocator recycles."""
    return max(1, _BYTES // (4 * math.prod(op.output.shape[1:])))


class ArenaKernels:
    """Kernels for `execute.forward` on the CPU, channels last, that write large results into an arena.

    Channels last saves the convolutions a conversion of layout on either side. Values are those of
    the usual kernels up to the order of float sums.
    """

    def __init__(self, graph: Graph) -> None:
        self._arena = Arena()
        returned = {op.name for op in graph.outputs}
        self.overwritten = frozenset(
            op.inputs["input"][0]
            for op in graph.ops
            if op.type == "relu"
            and (source := graph.op(op.inputs["input"][0])).type in CONVOLUTIONS
            and len(graph.fanout[source.name]) == 1
            and source.name not in returned
        )

    def table(self) -> dict[str, Kernel]:
        """The kernels by op type."""
        own: dict[str, Kernel] = {"relu": self._relu, "concat": self._concat}
        return {**KERNELS, **dict.fromkeys(CONVOLUTIONS, self._convolve), **own}

    def _convolve(self, op: Op, args: Args) -> Tensor:
        x, weight, bias = args["input"][0], args["weights"][0], args["bias"][0] if "bias" in args else None
        step = images_at_once(op)
        if len(x) <= step:
            return convolve(op, x, weight, bias)
        out: Tensor | None = None
        for start in range(0, len(x), step):
            part = convolve(op, x[start : start + step], weight, bias)
            out = self._arena.empty((len(x), *part.shape[1:])) if out is None else out
            out[start : start + step] = part
        assert out is not None  # a batch holds an image
        return out

    def _relu(self, op: Op, args: Args) -> Tensor:
        x = args["input"][0]
        return torch.relu_(x) if op.inputs["input"][0] in self.overwritten else torch.relu(x)

    def _concat(self, op: Op, args: Args) -> Tensor:
        parts = args["input"]
        axis = concat_axis(op, parts[0].ndim)
        if parts[0].ndim != 4 or axis != 1:
            return torch.cat(parts, axis)
        shape = (len(parts[0]), sum(part.shape[1] for part in parts), *parts[0].shape[2:])
        return torch.cat(parts, 1, out=self._arena.empty(shape))
