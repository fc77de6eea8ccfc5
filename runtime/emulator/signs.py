"""Which channels can never be negative: known when a graph is loaded, and what decides how a convolution runs."""

from __future__ import annotations

import numpy as np

from runtime.emulator.node import Node
from runtime.emulator.operations import Spec
from runtime.emulator.spec import Concat, Convolution, Eltwise, HardSigmoid, Pool, Resize
from xmodel.graph import Array


def nonnegative(node: Node, spec: Spec | None, inputs: tuple[Array, ...]) -> Array:
    """One boolean per channel (last axis) of the op's output; `inputs` are those of its operands."""
    channels = node.output.shape[-1] if node.output.shape else 1
    match spec:
        case Convolution():
            return np.full(channels, not spec.activation.signed)
        case Eltwise():
            return np.full(channels, not spec.activation.signed or (spec.activation.name == "NONE" and _all(inputs)))
        case Pool():
            return np.logical_and(inputs[0], not spec.maximum or _touches_the_image(node, spec))
        case Concat():
            if spec.axis == len(node.output.shape) - 1:
                return np.concatenate(inputs)
            return np.asarray(np.logical_and.reduce(inputs))
        case Resize():
            return inputs[0]
        case HardSigmoid():
            return np.full(channels, True)
    if node.op.type in ("upload", "download", "identity"):
        return inputs[0]
    if node.op.type in ("reshape-fix", "tile-fix", "reorg-fix", "pixel-shuffle-fix", "strided_slice-fix"):
        return np.full(channels, _all(inputs))
    return np.full(channels, False)


def _all(inputs: tuple[Array, ...]) -> bool:
    return all(bool(mask.all()) for mask in inputs)


def _touches_the_image(node: Node, spec: Pool) -> bool:
    """False when a window may lie wholly in the padding, whose -128 is then the maximum."""
    _, height, width, _ = node.image
    for axis, (size, out) in enumerate(((width, spec.out[1]), (height, spec.out[0]))):
        before = spec.window.pad[2 * axis]
        if spec.window.reach(axis) <= before or (out - 1) * spec.window.stride[axis] - before >= size:
            return False
    return True
