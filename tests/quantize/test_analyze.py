"""Per-tensor error analysis."""

from __future__ import annotations

import math

import numpy as np
import pytest

from quantize.analyze import analyze
from quantize.execute import Executor
from quantize.pipeline import float_graph, quantize_graph
from tests.quantize.networks import images, small


def test_every_quantized_activation_is_measured_once() -> None:
    result = quantize_graph(float_graph(small(), "Small", images(1)), [images(4)])
    batch = images(2, seed=3).transpose(0, 2, 3, 1)
    layers = analyze(result.graph, result.float_graph, [batch])
    assert len(layers) == 8
    assert all(0 < layer.used <= 1 and 0 <= layer.saturated < 0.5 for layer in layers)
    assert layers[0].key == "Small::nndct_input_0" and layers[0].sqnr_db > 40


def test_the_ratio_is_that_of_the_sums_over_all_batches() -> None:
    result = quantize_graph(float_graph(small(), "Small", images(1)), [images(4)])
    data = images(3, seed=3).transpose(0, 2, 3, 1)
    layer = analyze(result.graph, result.float_graph, [data[:1], data[1:]])[-1]
    fake = Executor(result.graph).run(data, keep=[f"{layer.name}_fix"])[f"{layer.name}_fix"].astype(np.float64)
    real = Executor(result.float_graph).run(data, keep=[layer.name])[layer.name].astype(np.float64)
    expected = 10 * math.log10(np.square(real).sum() / np.square(fake - real).sum())
    assert layer.sqnr_db == pytest.approx(expected, rel=1e-4)
