"""A convolution with its constants: what a kernel set makes fast."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from runtime.emulator.rounding import shift_floor
from runtime.emulator.spec import Convolution
from xmodel.graph import Array


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
        if self.bias is None:
            return np.zeros(made, np.int64)
        return shift_floor(self.bias.astype(np.int64), self.spec.shift_bias + 1)

    def bound(self) -> float:
        """What no partial sum of products, bias and rounding half exceeds, in accumulator steps."""
        weights = np.abs(self.weights.astype(np.float64))
        worst = weights.sum(axis=(0, 1, 2) if self.spec.depthwise else (1, 2, 3))
        rounding = 2.0 ** max(0, self.spec.shift_cut)
        return float((128 * worst + np.abs(self.half_steps()) / 2).max()) + rounding
