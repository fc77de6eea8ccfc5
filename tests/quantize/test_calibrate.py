"""Calibration: merging of positions over batches, and bias correction step by step."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from quantize.calibrate import BiasCorrection, Calibrator
from quantize.pieces import Difference
from quantize.pipeline import float_graph
from quantize.plan import plan
from tests.quantize.networks import images, small
from xmodel.errors import UsageError


def _calibrator() -> Calibrator:
    graph = float_graph(small(), "Small", images(1))
    return Calibrator(graph, plan(graph))


def test_an_activations_position_is_the_most_frequent_and_the_smallest_of_equals() -> None:
    calibrator = _calibrator()
    data = images(2)
    for scale in (1.0, 0.25, 0.25, 1.0):  # [0, 1] has position 6, [0, 0.25] has 8
        calibrator.observe(torch.from_numpy(data * np.float32(scale)))
    name = calibrator.graph.inputs[0].name
    assert calibrator.history[name] == [6, 8, 8, 6]
    assert calibrator.positions[name] == 6
    calibrator.observe(torch.from_numpy(data * np.float32(0.25)))
    assert calibrator.positions[name] == 8


def test_parameters_are_quantized_once_and_floats_are_kept() -> None:
    calibrator = _calibrator()
    name = "Small__conv1_weight"
    quantized = calibrator.constants[name]
    scaled = quantized * 2.0 ** calibrator.positions[name]
    assert torch.equal(scaled, scaled.round()) and not torch.equal(quantized, calibrator.float_constants[name])


def test_bias_correction_walks_against_the_mean_error() -> None:
    correction = BiasCorrection(torch.zeros(2))
    reference = torch.stack([torch.linspace(-1, 1, 16).reshape(4, 4)] * 2)[None]
    result = reference + torch.tensor([0.1, -0.2]).reshape(1, 2, 1, 1)
    correction.update(Difference.of(result, reference))
    noise, signal = float(torch.mean((result - reference) ** 2)), float(torch.mean(reference**2))
    efficiency = 1.25 * math.log10(signal / noise)
    assert correction.eff_mean == pytest.approx(efficiency / 5)
    assert correction.dev_mean == pytest.approx(efficiency / 5)
    torch.testing.assert_close(correction.bias, torch.tensor([-0.005, 0.01]))  # rate 0.05
    assert not correction.stopped


def test_bias_correction_stops_for_good_without_noise() -> None:
    correction = BiasCorrection(torch.zeros(1))
    same = torch.ones(1, 1, 2, 2)
    correction.update(Difference.of(same, same))
    assert correction.stopped
    correction.update(Difference.of(same + 1, same))
    assert torch.equal(correction.bias, torch.zeros(1))


def test_a_tensor_that_is_never_finite_is_named() -> None:
    calibrator = _calibrator()
    calibrator.observe(torch.full((1, 3, 16, 16), float("nan")))
    with pytest.raises(UsageError, match="NaN or infinite in every calibration batch"):
        calibrator.finish()
