"""A convolution with its constants: what a kernel set makes fast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from runtime.emulator.rounding import shift_floor
from runtime.emulator.spec import Convolution
from xmodel.graph import Array


def half_steps(spec: Convolution, made: int, bias: Array | None) -> Array:
    """int64 bias of `made` output channels in halves of an accumulator step."""
    return np.zeros(made, np.int64) if bias is None else shift_floor(bias.astype(np.int64), spec.shift_bias + 1)


def constant_parameters(operands: Sequence[Array | None]) -> tuple[Array, Array | None] | None:
    """(weights, bias) of a convolution's operands; None when one of them is computed by the network."""
    weights, bias = operands[1], operands[2] if len(operands) == 3 else None
    if weights is None or (len(operands) == 3 and bias is None):
        return None
    return weights, bias


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution with its constants; `signed` are the input channels that can be negative, as a slice."""

    spec: Convolution
    weights: Array
    bias: Array | None
    height: int
    width: int
    signed: slice

    def half_steps(self) -> Array:
        """int64 bias in halves of an accumulator step."""
        made = self.weights.shape[3] if self.spec.depthwise else self.weights.shape[0]
        return half_steps(self.spec, made, self.bias)

    def bound(self) -> float:
        """What no partial sum of products, bias and rounding half exceeds, in accumulator steps."""
        weights = np.abs(self.weights.astype(np.float64))
        worst = weights.sum(axis=(0, 1, 2) if self.spec.depthwise else (1, 2, 3))
        rounding = 2.0 ** max(0, self.spec.shift_cut)
        return float((128 * worst + np.abs(self.half_steps()) / 2).max()) + rounding
