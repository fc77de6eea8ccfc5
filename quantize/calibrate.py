"""Calibration: fix positions of parameters and activations, and bias correction, batch by batch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from quantize import rounding
from quantize.arena import ArenaKernels, images_at_once
from quantize.execute import forward, parameters
from quantize.fold import CONVOLUTIONS
from quantize.kernels import KERNELS, Args, convolve
from quantize.pieces import Difference, Span
from quantize.plan import Plan
from xmodel.errors import UsageError
from xmodel.graph import Graph, Op

WEIGHTED = CONVOLUTIONS | {"matmul"}
_RATE = 0.05  # spec: bias-correction rate of vai_q_pytorch 3.5 (2.5 used 0.1)


@dataclass
class BiasCorrection:
    """One layer's running correction: a damped walk of the bias against the mean output error."""

    bias: Tensor
    eff_mean: float = 0.0
    dev_mean: float = 0.0
    stopped: bool = False

    def update(self, found: Difference) -> None:
        """Take in how the quantized layer's output differs from the float layer's on the same (quantized) input."""
        if self.stopped or found.noise == 0 or found.signal == 0:
            self.stopped = True
            return
        efficiency = 1.25 * math.log10(found.signal / found.noise)
        deviation = abs(efficiency - self.eff_mean)
        self.eff_mean = (4 * self.eff_mean + efficiency) / 5
        self.dev_mean = (4 * self.dev_mean + deviation) / 5
        rate = _RATE / 2 if self.eff_mean > 4.0 else _RATE
        self.stopped = (
            deviation == 0
            or self.eff_mean > 4.3
            or self.dev_mean / self.eff_mean < 0.05
            or abs(deviation - self.dev_mean / deviation) < 0.05
        )
        if not self.stopped:
            mean = found.error * (len(found.error) / found.count)
            self.bias = self.bias - (rate * mean).to(self.bias)


@dataclass
class Calibrator:
    """Statistics of one calibration: feed batches with `observe`, then read the results.

    Memory is one batch's live activations plus the float and quantized parameters.
    """

    graph: Graph
    plan: Plan
    correct_bias: bool = True
    device: str = "cpu"
    history: dict[str, list[int]] = field(default_factory=dict)
    positions: dict[str, int] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)
    batches: int = 0

    def __post_init__(self) -> None:
        self.kernels = ArenaKernels(self.graph)
        self.float_constants: Mapping[str, Tensor] = parameters(self.graph, self.device)
        self.constants: dict[str, Tensor] = dict(self.float_constants)
        for name in self.plan.parameters:
            tensor = self.float_constants[name]
            found = rounding.search(tensor.cpu(), weights=True)  # one order of summation on every device
            if found is None:
                raise UsageError(f"Parameter {name!r} holds NaN or infinity.", hint="Check the weights file.")
            self.positions[name] = found
            self.constants[name] = rounding.to_grid(tensor, found, weights=True)
        self.corrections = {
            op.name: BiasCorrection(self.constants[op.inputs["bias"][0]])
            for op in self.graph.ops
            if self.correct_bias and op.type in WEIGHTED and "bias" in op.inputs
        }

    def observe(self, batch: Tensor) -> dict[str, Tensor]:
        """Run one NCHW float32 batch, quantizing as it goes; returns the quantized network's outputs."""
        for name, correction in self.corrections.items():
            self.constants[self.graph.op(name).inputs["bias"][0]] = correction.bias
        if batch.ndim == 4 and batch.device.type == "cpu":
            batch = batch.contiguous(memory_format=torch.channels_last)
        feeds = {self.graph.inputs[0].name: batch}
        kernels = self.kernels.table() if batch.device.type == "cpu" else KERNELS
        with torch.inference_mode():
            results = forward(self.graph, self.constants, feeds, self._after, kernels=kernels)
        self.batches += 1
        return results

    def _after(self, op: Op, result: Tensor, args: Args) -> Tensor:
        if op.name in self.plan.activations:
            result = self._quantize(op, result, fresh=self._fresh(op, result, args))
        if op.name in self.corrections and not self.corrections[op.name].stopped:
            self.corrections[op.name].update(self._difference(op, result, args))
        return result

    def _fresh(self, op: Op, result: Tensor, args: Args) -> bool:
        """True when nobody else reads the memory of `result`."""
        memory = result.untyped_storage().data_ptr()
        shared = any(t.untyped_storage().data_ptr() == memory for tensors in args.values() for t in tensors)
        return op.type != "data" and (not shared or op.inputs["input"][0] in self.kernels.overwritten)

    def _quantize(self, op: Op, x: Tensor, *, fresh: bool) -> Tensor:
        span = Span.of(x)
        found = rounding.input_position(x, span=span) if op.type == "data" else rounding.search(x, span=span)
        if found is None:
            self.skipped[op.name] += 1
            return x
        history = self.history.setdefault(op.name, [])
        history.append(found)
        self.positions[op.name] = most_frequent(history)
        return rounding.to_grid(x, self.positions[op.name], span=span, out=x if fresh else None)

    def _difference(self, op: Op, result: Tensor, args: Args) -> Difference:
        """Of the quantized layer's `result` and the float layer's, a few images at a time."""
        weights = self.float_constants[op.inputs["input"][1] if op.type == "matmul" else op.inputs["weights"][0]]
        bias, x = self.float_constants[op.inputs["bias"][0]], args["input"][0]
        step = images_at_once(op)
        return Difference.total(
            Difference.of(y, convolve(op, part, weights, bias))
            for y, part in zip(torch.split(result, step), torch.split(x, step), strict=True)
        )

    def finish(self) -> None:
        """Check that every planned activation was seen. Raises `UsageError`."""
        if not self.batches:
            raise UsageError("There was nothing to calibrate with.", hint="Give 100 to 1000 images.")
        missing = [name for name in self.plan.activations if name not in self.positions]
        if missing:
            raise UsageError(
                f"Tensor {missing[0]!r} was NaN or infinite in every calibration batch.",
                hint="Check the weights and the preprocessing.",
            )

    def bias_correction(self) -> dict[str, Tensor]:
        """Per weighted op: float bias minus working bias (it includes the bias's own rounding)."""
        return {
            name: self.float_constants[self.graph.op(name).inputs["bias"][0]] - correction.bias
            for name, correction in self.corrections.items()
        }


def most_frequent(history: Iterable[int]) -> int:
    """The most frequent position; the smallest of equals."""
    counts = Counter(history)
    most = max(counts.values())
    return min(position for position, count in counts.items() if count == most)
