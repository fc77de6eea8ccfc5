"""Which output of a graph is the mask and which the score, and whether the score still needs its sigmoid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xmodel.errors import ArtifactError
from xmodel.graph import Graph, Op, Tensor

_SIGMOIDS = frozenset({"sigmoid", "hard-sigmoid", "hard-sigmoid-fix"})
# Ops that hand values on, so that a sigmoid before them still is the last thing that happened.
_HAND_ON = frozenset({"fix", "fix2float", "float2fix", "download", "upload", "reshape", "reshape-fix", "squeeze"})


@dataclass(frozen=True, slots=True)
class Roles:
    """Output ops of a detector: `mask` (n, H, W, 2) logits, `score` (n, 1), and what the host does to it.

    `sigmoid_on_dpu`: the DPU's own output is a probability already.
    """

    mask: Op
    score: Op
    sigmoid_on_host: bool
    sigmoid_on_dpu: bool = False

    def p_real(self, score: NDArray[np.float32]) -> NDArray[np.float32]:
        """`score` as P(real) (n,): after exactly one sigmoid, the network's or the host's."""
        values = score.reshape(len(score), -1)[:, 0].astype(np.float32)
        if not self.sigmoid_on_host:
            return values
        return sigmoid(values)


def roles(graph: Graph) -> Roles:
    """Find them by shape. Raises `ArtifactError` for a graph that is no detector with a mask."""
    masks = [op for op in graph.outputs if len(op.output.shape) == 4 and op.output.shape[3] == 2]
    scores = [op for op in graph.outputs if math.prod(op.output.shape[1:]) == 1]
    if len(masks) != 1 or len(scores) != 1:
        found = ", ".join(f"{op.name} {list(op.output.shape)}" for op in graph.outputs) or "none"
        raise ArtifactError(
            f"Graph {graph.name!r} is no detector with a mask: it must give (n, H, W, 2) mask logits and one score "
            f"an image, but its outputs are: {found}.",
            hint="`unmask run` runs any graph on .npy inputs.",
        )
    last = _last_op(graph, scores[0])
    ends = last.type in _SIGMOIDS or last.get("nonlinear") == "HSIGMOID"
    return Roles(masks[0], scores[0], not ends, ends and _on_dpu(graph, last))


def sigmoid(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 / (1 + exp(-values)), without overflow."""
    halved = np.tanh(values.astype(np.float64) / 2)
    p: NDArray[np.float32] = ((1 + halved) / 2).astype(np.float32)
    return p


def real(array: NDArray[Any], tensor: Tensor) -> NDArray[np.float32]:
    """The real values of an output: int8 q becomes q * 2**-p with its fix point p; float32 stays."""
    if array.dtype.kind == "f" or tensor.fix_point is None:
        return array.astype(np.float32, copy=False)
    return array.astype(np.float32) * np.float32(2.0**-tensor.fix_point)


def _last_op(graph: Graph, op: Op) -> Op:
    """The last op before `op`, or `op` itself, that computes something."""
    for _ in graph.ops:
        if op.type not in _HAND_ON or not op.input_names:
            break
        op = graph.op(op.input_names[0])
    return op


def _on_dpu(graph: Graph, op: Op) -> bool:
    parts = graph.root.children if graph.root else ()
    return any(part.get("device") == "DPU" and op.name in part.all_ops() for part in parts)
