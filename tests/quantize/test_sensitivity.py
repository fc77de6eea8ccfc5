"""The ranking: by hand on two layers, and on a network with one layer that was broken on purpose."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from quantize.advice import Facts, advise
from quantize.analyze import analyze
from quantize.layers import layers
from quantize.pipeline import Quantized, Settings, float_graph, quantize_graph
from quantize.sensitivity import Effect, Ranking, rank, steps
from quantize.weights import equalization, layer_parameters
from tests.quantize.byhand import QUANTIZED, float_form, image, quantized_form
from tests.quantize.networks import images, small
from xmodel.graph import Array

BROKEN = 5


class Chain(nn.Module):
    """Three convolutions; the middle one has a channel 100 times as wide as the others, which ReLU silences."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.middle = nn.Conv2d(8, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 4, 1)
        with torch.no_grad():
            self.middle.weight[BROKEN] = -100 * self.middle.weight[BROKEN].abs()

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 16, 16) to (N, 4, 16, 16)."""
        result: Tensor = self.last(torch.relu(self.middle(torch.relu(self.first(x)))))
        return result


def _broken() -> Quantized:
    torch.manual_seed(3)
    graph = float_graph(Chain().eval(), "Chain", images(1))
    return quantize_graph(graph, [images(4)], Settings(equalize=False))


class _Distance:
    """A score that a test can follow: minus the sum of absolute outputs."""

    def record(self, index: int, outputs: Sequence[Array]) -> float:
        return float(sum(np.abs(output).sum() for output in outputs))

    def score(self, records: Sequence[float]) -> Mapping[str, float | None]:
        return {"small": -sum(records), "none": None}


def _db(noise: float) -> float:
    return 10 * math.log10(40002.65 / noise)


def test_ranking_by_hand() -> None:
    ranking = rank(quantized_form(), float_form(), [image()])
    x, r = ranking.effects
    assert (x.name, r.name) == ("x", "r")
    assert x.output_db == pytest.approx(_db(5329.25)) and r.output_db == pytest.approx(_db(0.25), rel=1e-5)
    assert x.share == pytest.approx(5329.25 / 5329.5) and r.share == pytest.approx(0.25 / 5329.5, rel=1e-4)
    assert ranking.quantized.output_db == pytest.approx(_db(5184.25))
    assert ranking.quantized.share == pytest.approx(5184.25 / 5329.5)
    assert x.restored_db == pytest.approx(_db(0.25), rel=1e-5) and r.restored_db == pytest.approx(_db(5329.25))
    assert x.outputs == {"r": x.output_db} and ranking.images == 1


def test_scores_by_hand_decide_before_noise() -> None:
    ranking = rank(quantized_form(), float_form(), [image()], _Distance())
    assert ranking.float_scores == {"small": pytest.approx(-201.9), "none": None}
    assert ranking.quantized.scores["small"] == -sum(QUANTIZED)
    by_name = {effect.name: effect for effect in ranking.effects}
    assert by_name["r"].scores["small"] == -202 and by_name["r"].cost == pytest.approx(0.1)
    assert by_name["x"].scores["small"] == -129 and by_name["x"].cost == 0  # better than float costs nothing
    assert [effect.name for effect in ranking.effects] == ["r", "x"]
    assert by_name["x"].restored_scores["small"] == -202


def test_the_broken_layer_comes_first_and_is_explained() -> None:
    found = _broken()
    batch = [image[None].transpose(0, 2, 3, 1) for image in images(2, seed=9)]
    ranking = rank(found.graph, found.float_graph, batch)
    worst = ranking.effects[0]
    assert worst.name == "Chain__Chain_relu_1" and worst.share > 0.8
    assert worst.restored_db is not None and worst.restored_db > ranking.quantized.output_db + 6
    assert [effect.restored_db is None for effect in ranking.effects] == [False] * 3 + [True]
    layer = next(part for part in layers(found.graph, found.float_graph) if part.producer.name == worst.name)
    measured = next(m for m in analyze(found.graph, found.float_graph, batch) if m.name == worst.name)
    assert measured.parameters_db < measured.rounding_db - 10
    weights, bias = layer_parameters(found.graph, found.float_graph, layer)
    assert (weights.role, bias.role, weights.widest) == ("weights", "bias", BROKEN)
    assert weights.spread is not None and weights.spread > 50
    notes = equalization(found.float_graph, done=False)
    words = " ".join(advise(Facts(measured, [weights, bias], notes, [], 1)))
    assert f"channel {BROKEN} of Chain__middle_weight" in words and "equalization is switched off" in words
    assert "--learn-rounding" in words


def test_several_outputs_and_progress() -> None:
    found = quantize_graph(float_graph(small(), "Small", images(1)), [images(4)])
    batch = [image[None].transpose(0, 2, 3, 1) for image in images(2, seed=9)]
    done: list[int] = []
    ranking = rank(found.graph, found.float_graph, batch, advance=done.append)
    assert sum(done) == steps(8, 2) == 22 and len(ranking.effects) == 8
    assert sum(effect.share for effect in ranking.effects) == pytest.approx(1)
    pool = next(effect for effect in ranking.effects if effect.name == "Small__Small_avg_pool2d")
    assert pool.outputs["Small__Small_Conv2d_head__conv2d_2"] == math.inf  # not on the way to that output
    assert pool.outputs["Small__Small_sigmoid"] < math.inf
    assert rank(found.graph, found.float_graph, batch) == ranking


def test_no_images_no_noise() -> None:
    ranking = rank(quantized_form(), float_form(), [])
    assert isinstance(ranking, Ranking) and all(isinstance(effect, Effect) for effect in ranking.effects)
    assert {effect.share for effect in ranking.effects} == {0.0}
