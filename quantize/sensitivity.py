"""Ranking: what each layer alone costs the network's result.

Every layer is quantized alone: the float network runs once an image, the layer's part is computed
from the float tensors, and only what depends on it runs again. That isolates causes: the noise of
single layers adds up (nearly, while it is small) to that of the whole network, so that a layer's
share of it is what can be won there. For the first of the ranking the opposite is run too, the whole
network quantized but this layer, which shows what is really won by repairing it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from quantize.analyze import decibel, squares
from quantize.execute import forward, parameters, to_numpy, to_torch
from quantize.layers import Layer, as_float, as_quantized, cut, layers, run, suffix, upstream
from xmodel.graph import Array, Graph

RESTORED = 3  # layers of the ranking that are also left out of the quantized network, one at a time
_DECIMALS = 2  # a score's loss below half a point does not decide about a rank: that much is chance


class Metric(Protocol):
    """The task's quality. Scores are better when larger; None or NaN where there is nothing to measure."""

    def record(self, index: int, outputs: Sequence[Array]) -> Any:
        """What to remember of image `index`, given the network's outputs (NHWC float32, batch 1) in order."""

    def score(self, records: Sequence[Any]) -> Mapping[str, float | None]:
        """Scores by name over all images' records."""


@dataclass(frozen=True, slots=True)
class Effect:
    """A network in which one layer alone is quantized (`restored`: in which one layer alone is not)."""

    name: str  # of the layer's producer
    output_db: float  # ratio of signal to noise at the network's outputs, their relative noises averaged
    outputs: Mapping[str, float]  # the same of each output
    share: float  # of the sum of all layers' relative noises, 0 to 1
    scores: Mapping[str, float | None]
    cost: float  # the largest loss among the scores, 0 when none is lost
    restored_db: float | None = None  # output_db with everything quantized but this layer
    restored_scores: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ranking:
    """`effects`: the layer that costs most first: by `cost`, equal ones by their noise."""

    images: int
    float_scores: Mapping[str, float | None]
    quantized: Effect  # the whole network, `share` being its noise over the sum of the layers' noises
    effects: tuple[Effect, ...]


def steps(layer_count: int, images: int) -> int:
    """How often `rank` calls `advance(1)`."""
    return images * (layer_count + min(RESTORED, layer_count))


def rank(
    quantized: Graph,
    float_graph: Graph,
    images: Sequence[Array],
    metric: Metric | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> Ranking:
    """Rank the layers over `images`, each NHWC float32 (1, ...).

    An image costs one float and one quantized run and, per layer, the part of a float run that comes
    after it; memory holds the tensors between layers of one image.
    """
    work = _Work(quantized, float_graph, metric, advance)
    for index, image in enumerate(images):
        work.alone(index, to_torch(image))
    ranking = work.ranking(len(images))
    first = ranking.effects[:RESTORED]
    for index, image in enumerate(images):
        work.without([effect.name for effect in first], index, to_torch(image))
    return replace(ranking, effects=(*map(work.restored, first), *ranking.effects[RESTORED:]))


@dataclass
class _Noise:
    """Sums of one form of the network: squared difference to the float one by output, and the metric's records."""

    noise: dict[str, float] = field(default_factory=dict)
    records: list[Any] = field(default_factory=list)


class _Work:
    """One ranking in progress."""

    def __init__(
        self, quantized: Graph, float_graph: Graph, metric: Metric | None, advance: Callable[[int], None]
    ) -> None:
        self.quantized, self.float_graph, self.metric, self.advance = quantized, float_graph, metric, advance
        self.layers = {layer.producer.name: layer for layer in layers(quantized, float_graph)}
        self.constants, self.float_constants = parameters(quantized), parameters(float_graph)
        self.rests = {name: suffix(float_graph, name) for name in self.layers}
        self.outputs = [op.name for op in float_graph.outputs]
        self.returned = [op.name for op in quantized.outputs]
        self.signal = dict.fromkeys(self.outputs, 0.0)
        self.reference, self.whole = _Noise(), _Noise()
        self.single = {name: _Noise() for name in self.layers}
        self.left_out: dict[str, _Noise] = {}

    def alone(self, index: int, image: Tensor) -> None:
        """Add one image: float, quantized, and each layer alone quantized."""
        with torch.inference_mode():
            real = self._float(image, {op.name for rest in self.rests.values() for op in rest.inputs})
            for name in self.outputs:
                self.signal[name] += squares(real[name])
            self._add(self.reference, index, real, {})
            fake = forward(self.quantized, self.constants, {self.quantized.inputs[0].name: image})
            self._add(self.whole, index, real, self._renamed(fake))
            for name, layer in self.layers.items():
                known = {own: as_quantized(self.quantized, own, real[source]) for own, source in layer.inputs.items()}
                alone = run(layer.part, self.constants, known)[layer.fix.name]
                result = as_float(self.quantized, layer.fix.name, alone)
                changed = run(self.rests[name], self.float_constants, {**real, name: result})
                self._add(self.single[name], index, real, changed)
                self.advance(1)

    def without(self, names: Sequence[str], index: int, image: Tensor) -> None:
        """Add one image to the runs in which all but one layer, each of `names` in turn, is quantized."""
        chosen = [self.layers[name] for name in names]
        rests = {layer.fix.name: suffix(self.quantized, layer.fix.name) for layer in chosen}
        keep = {op.name for rest in rests.values() for op in rest.inputs} | {
            n for layer in chosen for n in layer.inputs
        }
        with torch.inference_mode():
            real = self._float(image, set())
            fake = forward(self.quantized, self.constants, {self.quantized.inputs[0].name: image}, keep=keep)
            for layer in chosen:
                known = {source: as_float(self.quantized, own, fake[own]) for own, source in layer.inputs.items()}
                part = _float_part(self.float_graph, layer)
                result = run(part, self.float_constants, known)[layer.producer.name]
                exact = as_quantized(self.quantized, layer.fix.name, result)
                changed = run(rests[layer.fix.name], self.constants, {**fake, layer.fix.name: exact})
                total = self.left_out.setdefault(layer.producer.name, _Noise())
                self._add(total, index, real, self._renamed({**fake, **changed}))
                self.advance(1)

    def _float(self, image: Tensor, keep: set[str]) -> dict[str, Tensor]:
        sources = {source for layer in self.layers.values() for source in layer.inputs.values()} if keep else set()
        return forward(
            self.float_graph, self.float_constants, {self.float_graph.inputs[0].name: image}, keep=keep | sources
        )

    def _renamed(self, results: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The quantized graph's outputs under the names of the float graph's."""
        return {name: results[own] for name, own in zip(self.outputs, self.returned, strict=True)}

    def _add(self, total: _Noise, index: int, real: Mapping[str, Tensor], changed: Mapping[str, Tensor]) -> None:
        for name in self.outputs:
            noise = squares(changed[name] - real[name]) if name in changed else 0.0
            total.noise[name] = total.noise.get(name, 0.0) + noise
        if self.metric is not None:
            found = [to_numpy(changed.get(name, real[name])) for name in self.outputs]
            total.records.append(self.metric.record(index, found))

    def ranking(self, images: int) -> Ranking:
        """The result so far."""
        amounts = {name: self._relative(total) for name, total in self.single.items()}
        everything = math.fsum(amounts.values())
        scores = self._scores(self.reference)
        effects = [self._effect(name, total, everything, scores) for name, total in self.single.items()]
        effects.sort(key=lambda effect: (-effect.cost, -amounts[effect.name]))
        whole = self._effect(self.quantized.name, self.whole, everything, scores)
        return Ranking(images, scores, whole, tuple(effects))

    def restored(self, effect: Effect) -> Effect:
        """`effect` with what the quantized network becomes without this layer."""
        if effect.name not in self.left_out:
            return effect
        total = self.left_out[effect.name]
        return replace(effect, restored_db=decibel(1.0, self._relative(total)), restored_scores=self._scores(total))

    def _effect(self, name: str, total: _Noise, everything: float, reference: Mapping[str, float | None]) -> Effect:
        relative, scores = self._relative(total), self._scores(total)
        return Effect(
            name=name,
            output_db=decibel(1.0, relative),
            outputs={output: decibel(self.signal[output], total.noise.get(output, 0.0)) for output in self.outputs},
            share=relative / everything if 0 < everything < math.inf else 0.0,
            scores=scores,
            cost=_cost(reference, scores),
        )

    def _relative(self, total: _Noise) -> float:
        """Noise over signal, averaged over the outputs; inf where a sum is no number."""
        ratios = [_ratio(total.noise.get(name, 0.0), self.signal[name]) for name in self.outputs]
        return math.fsum(ratios) / len(ratios) if ratios else 0.0

    def _scores(self, total: _Noise) -> Mapping[str, float | None]:
        return {} if self.metric is None else dict(self.metric.score(total.records))


def _float_part(graph: Graph, layer: Layer) -> Graph:
    """The float form of `layer`, from the float tensors that its inputs stand for."""
    given = set(layer.inputs.values())
    return cut(graph, upstream(graph, [layer.producer.name], given), given, [layer.producer.name])


def _ratio(noise: float, signal: float) -> float:
    if math.isnan(noise) or math.isnan(signal):
        return math.inf
    return noise / signal if signal > 0 else math.inf if noise else 0.0


def _cost(reference: Mapping[str, float | None], scores: Mapping[str, float | None]) -> float:
    """The largest loss of a score, 0 for gains; what either side lacks is left out."""
    losses = [0.0]
    for name, before in reference.items():
        after = scores.get(name)
        if before is not None and after is not None and math.isfinite(before - after):
            losses.append(round(before - after, _DECIMALS))
    return max(losses)
