"""Learned rounding: each weight goes up or down, whichever rebuilds the float layer best from quantized inputs.

Fix positions stay; only the direction of rounding is chosen (AdaRound, Nagel et al. 2020): a soft choice per
weight, h in [0, 1], is optimised on samples of the layer's input and drawn to 0 or 1. Layers go in order, so
each one makes up for the errors of those before it. It needs few images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from quantize import patches
from quantize.tuning import Judge, Layer, Network, Progress, TunedLayer, Tuning, changes, ignore, layers

STEPS = 600
_ROWS = 8192  # samples of a layer's input and output ...
_NUMBERS = 1 << 24  # ... or fewer, so that they take at most 64 MB
_BATCH = 128
_RATE = 0.05
_WEIGHT = 0.1  # of the term that draws h to 0 or 1, where the error of rounding to nearest is 1
_WARM_UP = 0.2  # share of the steps without that term
_SHARP = (20.0, 2.0)  # its exponent, from first to last
_STRETCH = (1.1, -0.1)  # the sigmoid reaches beyond 0 and 1 and is cut there


@dataclass(frozen=True, slots=True)
class _Samples:
    """A layer's quantized input, (n, groups, k), and its float result before the activation, (n, out)."""

    rows: Tensor
    goals: Tensor


def learn_rounding(
    network: Network,
    batches: Sequence[Tensor],
    correct_bias: bool = True,
    seed: int = 0,
    steps: int = STEPS,
    progress: Progress | None = None,
) -> Tuning:
    """Round `network.constants` anew on NCHW float32 `batches`, layer by layer.

    With `correct_bias` a layer's bias is then moved by its mean error. The same `seed` gives the same weights; torch's
    own generator is left alone. A layer that would not come closer to the float one stays as it is.
    """
    generator = torch.Generator().manual_seed(seed)
    judge = Judge(network, batches)
    found: list[TunedLayer] = []
    todo = layers(network.graph, network.plan)
    tell = progress or ignore
    tell(0, len(todo))
    for layer in todo:
        found.append(_learn(network, layer, batches, correct_bias, generator, steps))
        tell(len(found), len(todo))
    return Tuning(tuple(found), judge.best, judge.measure())


def _learn(
    network: Network,
    layer: Layer,
    batches: Sequence[Tensor],
    correct_bias: bool,
    generator: torch.Generator,
    steps: int,
) -> TunedLayer:
    weights, bias = network.constants[layer.weights], network.constants[layer.bias] if layer.bias else None
    samples = _sample(network, layer, batches, generator)
    problem = _Problem(network, layer, samples)
    before = problem.error(weights, bias)
    best = (before, weights, bias)
    if before > 0:
        trial = problem.solve(bias, before, generator, steps)
        for candidate in [bias, problem.centred(trial, bias)] if correct_bias and bias is not None else [bias]:
            error = problem.error(trial, candidate)
            if error < best[0]:
                best = (error, trial, candidate)
    after, tuned, moved = best
    network.constants[layer.weights] = tuned
    if layer.bias and moved is not None:
        network.constants[layer.bias] = moved
    return TunedLayer(layer.op.name, weights.numel(), changes(weights, tuned), changes(bias, moved), before, after)


def _sample(network: Network, layer: Layer, batches: Sequence[Tensor], generator: torch.Generator) -> _Samples:
    """Inputs and float results at random places, evenly over the images; one batch's activations live at a time."""
    op, weights = layer.op, network.constants[layer.weights]
    source, result = network.until(layer.source), network.until(op.name)
    images = sum(len(batch) for batch in batches)
    most = 1 if op.type == "matmul" else op.output.shape[1] * op.output.shape[2]
    count = max(1, min(_ROWS, _NUMBERS // patches.row_length(op, weights)) // images)
    rows: list[Tensor] = []
    goals: list[Tensor] = []
    for batch in batches:
        x, y = source.quantized(batch)[layer.source], result.floats(batch)[op.name]
        for image in range(len(batch)):
            at = patches.places(op, min(count, most), generator).to(batch.device)
            rows.append(patches.rows(op, x[image : image + 1], weights, at))
            goals.append(patches.results(y[image : image + 1], at))
    return _Samples(torch.cat(rows), torch.cat(goals))


class _Problem:
    """One layer's rounding on its samples."""

    def __init__(self, network: Network, layer: Layer, samples: _Samples) -> None:
        self.network, self.layer, self.samples = network, layer, samples
        self.goals = layer.activate(samples.goals)
        self.scale = 2.0 ** -network.positions[layer.weights]
        self.count = samples.rows.shape[1]

    def error(self, weights: Tensor, bias: Tensor | None) -> float:
        """Mean squared error of the layer with these parameters, in torch's layout."""
        matrix = patches.matrix(self.layer.op, weights, self.count)
        with torch.no_grad():
            return float(torch.mean((self._output(self.samples.rows, matrix, bias) - self.goals) ** 2))

    def _output(self, rows: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
        y = _product(rows, matrix)
        return self.layer.activate(y if bias is None else y + bias)

    def centred(self, weights: Tensor, bias: Tensor | None) -> Tensor | None:
        """The bias, on its grid, that takes the mean error before the activation away."""
        if bias is None or self.layer.bias is None:
            return None
        product = _product(self.samples.rows, patches.matrix(self.layer.op, weights, self.count))
        return self.network.on_grid(self.layer.bias, (self.samples.goals - product).mean(0))

    def solve(self, bias: Tensor | None, nearest: float, generator: torch.Generator, steps: int) -> Tensor:
        """Weights on the grid, each the float one rounded up or down; `nearest` is the error to start from."""
        real = self.network.real[self.layer.weights]
        scaled = patches.matrix(self.layer.op, real, self.count) / self.scale
        low = torch.floor(scaled)
        choice = _Choice(scaled - low)
        optimiser = torch.optim.Adam([choice.logits], lr=_RATE)
        for step in range(steps):
            picked = torch.randint(len(self.samples.rows), (_BATCH,), generator=generator).to(low.device)
            soft = choice.soft()
            matrix = (low + soft).clamp(-128, 127) * self.scale
            output = self._output(self.samples.rows[picked], matrix, bias)
            loss = torch.mean((output - self.goals[picked]) ** 2) / nearest
            done = step / steps
            if done >= _WARM_UP:
                loss = loss + _WEIGHT * _undecided(soft, (done - _WARM_UP) / (1 - _WARM_UP))
            (choice.logits.grad,) = torch.autograd.grad(loss, [choice.logits])
            optimiser.step()
        hard = (low + choice.hard()).clamp(-128, 127) * self.scale
        return patches.from_matrix(self.layer.op, hard, real).contiguous()


def _product(rows: Tensor, matrix: Tensor) -> Tensor:
    if len(matrix) == 1:
        return rows[:, 0] @ matrix[0].T
    return torch.einsum("ngk,gok->ngo", rows, matrix).flatten(1)


class _Choice:
    """Per weight a soft decision between rounding down (0) and up (1), as a rectified sigmoid of `logits`."""

    def __init__(self, share: Tensor) -> None:
        """Begin where the float weight is: `share`, in [0, 1), of the way up."""
        high, low = _STRETCH
        self.logits = torch.logit((share - low) / (high - low)).requires_grad_()

    def soft(self) -> Tensor:
        """The decisions, in [0, 1], differentiable."""
        high, low = _STRETCH
        return (torch.sigmoid(self.logits) * (high - low) + low).clamp(0, 1)

    def hard(self) -> Tensor:
        """The decisions taken, 0 or 1."""
        return (self.logits.detach() >= 0).to(self.logits.dtype)


def _undecided(soft: Tensor, done: float) -> Tensor:
    """How far the decisions are from 0 or 1, mean; strict about it toward the end, `done` = 1."""
    first, last = _SHARP
    exponent = last + (first - last) * (1 - done)
    return torch.mean(1 - (2 * soft - 1).abs() ** exponent)
