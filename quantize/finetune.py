"""Fast finetune as the vendor's quantizer does it (AdaQuant): Adam on each layer's weights, kept when outputs improve.

The weights begin on the int8 grid and return to it after every round, a step per batch: with few batches
they cannot leave it, and nothing changes. `learned_rounding` is what helps then.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from quantize.calibrate import BiasCorrection
from quantize.kernels import Args, convolve
from quantize.pieces import Difference
from quantize.tuning import (
    Judge,
    Layer,
    Network,
    Progress,
    TunedLayer,
    Tuning,
    changes,
    ignore,
    layers,
    mean,
    plain_sums,
)
from xmodel.graph import Op

# spec: vai_q_pytorch 3.5, fast finetune
_ROUNDS = 100
_RATE = 0.01  # learning rate as a share of the parameter's standard deviation
_FINE_BITS = 4.5  # weights with more bits of accuracy than this (36 dB) get a tenth of the rate
_LEAST_RATE = 1e-5


def fast_finetune(network: Network, batches: Sequence[Tensor], progress: Progress | None = None) -> Tuning:
    """Tune `network.constants` on NCHW float32 `batches`, layer by layer; a step is one batch.

    Memory: the batches, and one layer's inputs and outputs on all of them.
    """
    judge = Judge(network, batches)
    start = judge.best
    found: list[TunedLayer] = []
    todo = layers(network.graph, network.plan)
    tell = progress or ignore
    tell(0, len(todo))
    for layer in todo:
        found.append(_tune(network, layer, batches, judge))
        tell(len(found), len(todo))
    return Tuning(tuple(found), start, judge.best)


@dataclass
class _Adam:
    """Adam with its usual constants, on tensors with a learning rate each."""

    parameters: list[Tensor]
    rates: list[float]
    steps: int = 0
    means: list[Tensor] = field(init=False)
    squares: list[Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.means = [torch.zeros_like(p) for p in self.parameters]
        self.squares = [torch.zeros_like(p) for p in self.parameters]

    def step(self, gradients: Sequence[Tensor]) -> None:
        self.steps += 1
        first, second = 1 - 0.9**self.steps, 1 - 0.999**self.steps
        states = zip(self.parameters, self.rates, gradients, self.means, self.squares, strict=True)
        with torch.no_grad():
            for parameter, rate, gradient, average, square in states:
                average.mul_(0.9).add_(gradient, alpha=0.1)
                square.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
                deviation = (square.sqrt() / math.sqrt(second)).add_(1e-8)
                parameter.addcdiv_(average, deviation, value=-rate / first)


def _tune(network: Network, layer: Layer, batches: Sequence[Tensor], judge: Judge) -> TunedLayer:
    names = [name for name in (layer.weights, layer.bias) if name is not None]
    start = [network.constants[name] for name in names]
    data = _observe(network, layer, batches)
    before = _layer_loss(network, layer, data)
    best = start
    working = [tensor.clone().requires_grad_() for tensor in start]
    rates = [_rate(network, layer, len(batches[0])) * _deviation(tensor) for tensor in start]
    adam, last = _Adam(working, rates), judge.best
    for _ in range(_ROUNDS):
        _round(network, layer, data, adam)
        trial = [network.on_grid(name, tensor) for name, tensor in zip(names, working, strict=True)]
        network.constants.update(zip(names, trial, strict=True))
        losses = judge.measure()
        if judge.accept(losses):
            best = trial
        else:
            adam.rates = [rate / 2 for rate in adam.rates]
            if adam.rates[0] < _LEAST_RATE or losses == last:
                break
        last = losses
        with torch.no_grad():
            for tensor, value in zip(working, best, strict=True):
                tensor.copy_(value)
    network.constants.update(zip(names, best, strict=True))
    return TunedLayer(
        name=layer.op.name,
        weights=start[0].numel(),
        changed=changes(start[0], best[0]),
        bias_changed=changes(start[1], best[1]) if len(best) > 1 else 0,
        loss_before=before,
        loss_after=_layer_loss(network, layer, data),
    )


Data = list[tuple[Tensor, Tensor]]  # per batch: the layer's quantized input, its float output


def _observe(network: Network, layer: Layer, batches: Sequence[Tensor]) -> Data:
    source, end = network.until(layer.source), network.until(layer.end)
    data: Data = []
    for batch in batches:
        with plain_sums():
            goal = end.floats(batch)[layer.end]
        data.append((source.quantized(batch)[layer.source], goal))
    return data


def _rate(network: Network, layer: Layer, batch_size: int) -> float:
    real, quantized = network.real[layer.weights], network.constants[layer.weights]
    noise = float((real - quantized).norm())
    bits = 20 * math.log10(float(real.norm()) / noise) / 8 if noise and real.any() else math.inf
    return _RATE * (0.1 if bits > _FINE_BITS else 1.0) * (0.5 if batch_size == 1 else 1.0)


def _deviation(tensor: Tensor) -> float:
    return float(tensor.std()) if tensor.numel() > 1 else 0.0  # a single number has none, and stays


def _round(network: Network, layer: Layer, data: Data, adam: _Adam) -> None:
    """One step for each batch: the layer's error against float, and the weights' distance from the float ones."""
    weights, *rest = adam.parameters
    bias = rest[0] if rest else None
    for x, goal in data:
        result = network.output(layer, x, weights, bias)
        loss = F.mse_loss(result, goal) + F.mse_loss(weights, network.real[layer.weights])
        adam.step(torch.autograd.grad(loss, adam.parameters))


def _layer_loss(network: Network, layer: Layer, data: Data) -> float:
    weights, bias = network.constants[layer.weights], network.constants[layer.bias] if layer.bias else None
    with torch.no_grad():
        return mean([float(F.mse_loss(network.output(layer, x, weights, bias), goal)) for x, goal in data])


def recorrect(network: Network, batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """Bias corrections of a finetuned network, by op name.

    The vendor's calibration after a finetune compares each layer with its own tuned parameters and begins
    every batch from the tuned bias: what stays is the last batch's step (found in its recorded results).
    """
    tuned = dict(network.constants)
    biases = {layer.op.name: layer.bias for layer in layers(network.graph, network.plan) if layer.bias}
    found = {name: BiasCorrection(tuned[bias]) for name, bias in biases.items()}

    def seen(op: Op, result: Tensor, args: Args) -> None:
        if op.name in found and not found[op.name].stopped:
            weights = op.inputs["input"][1] if op.type == "matmul" else op.inputs["weights"][0]
            reference = convolve(op, args["input"][0], tuned[weights], tuned[biases[op.name]])
            found[op.name].update(Difference.of(result, reference))

    for batch in batches:
        for name, correction in found.items():
            correction.bias = tuned[biases[name]]
        network.quantized(batch, seen)
    return {name: tuned[biases[name]] - correction.bias for name, correction in found.items()}
