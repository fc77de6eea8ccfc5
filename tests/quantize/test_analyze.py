"""Per-layer error analysis, against numbers computed by hand and against whole runs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from quantize.analyze import BINS, Measured, analyze, bins, decibel, levels
from quantize.execute import Executor
from quantize.pipeline import float_graph, quantize_graph
from tests.quantize.byhand import float_form, image, quantized_form
from tests.quantize.networks import images, small


def _by_hand() -> tuple[Measured, Measured]:
    first, second = analyze(quantized_form(), float_form(), [image()])
    return first, second


def _db(signal: float, noise: float) -> float:
    return 10 * math.log10(signal / noise)


def test_ratios_by_hand() -> None:
    x, r = _by_hand()
    # x: 0.3 1.6 -2 200 becomes 0 2 -2 127
    assert x.sqnr_db == x.isolated_db == x.rounding_db == pytest.approx(_db(40006.65, 5329.25))
    assert x.parameters_db == math.inf
    # r alone: 0.3 1.6 0 200 becomes 0 2 0 200; after x: 0 2 0 127 becomes 0 2 0 128
    assert r.isolated_db == r.rounding_db == pytest.approx(_db(40002.65, 0.25), rel=1e-5)
    assert r.sqnr_db == pytest.approx(_db(40002.65, 5184.25))


def test_range_and_saturation_by_hand() -> None:
    x, r = _by_hand()
    assert (x.saturated, x.count, x.low, x.high) == (1, 4, -2.0, 127.0)
    assert x.used == 1.0 and x.clipping == pytest.approx(5329 / 5329.25)
    assert (r.saturated, r.count, r.high) == (0, 4, 128.0)
    assert r.used == pytest.approx(128 / 254) and r.clipping == 0


def test_the_better_position_by_hand() -> None:
    x, r = _by_hand()
    assert (x.fix_point, x.better) == (0, -1)  # step 2 saves the 200 and loses nothing
    assert x.better_db == pytest.approx(_db(40006.65, 0.25), rel=1e-5)
    assert (r.fix_point, r.better) == (-1, -1)


def test_histograms_by_hand() -> None:
    x, r = _by_hand()
    assert {i: n for i, n in enumerate(x.histogram) if n} == {31: 1, 32: 2, 63: 1}  # -2; 0 and 2; 127
    assert {i: n for i, n in enumerate(r.histogram) if n} == {32: 3, 48: 1}  # 0 1 0; 64
    assert len(x.histogram) == BINS


def test_levels_count_every_number_once() -> None:
    numbers = torch.arange(-128, 128, dtype=torch.float32)
    assert levels(numbers / 8, 3).tolist() == [1] * 256
    assert bins(levels(numbers * 4, -2)) == (4,) * BINS
    assert int(levels(torch.tensor([math.nan, 0.0]), 3)[128]) == 2


def test_decibel_says_what_is_not_a_number() -> None:
    assert (decibel(1.0, 0.0), decibel(0.0, 0.0), decibel(0.0, 1.0)) == (math.inf, math.inf, -math.inf)
    assert math.isnan(decibel(1.0, math.nan)) and decibel(100.0, 1.0) == 20.0


def test_every_quantized_activation_is_measured_once() -> None:
    result = quantize_graph(float_graph(small(), "Small", images(1)), [images(4)])
    batch = images(2, seed=3).transpose(0, 2, 3, 1)
    layers = analyze(result.graph, result.float_graph, [batch])
    assert len(layers) == 8
    assert all(0 < layer.used <= 1 and 0 <= layer.saturated < layer.count / 2 for layer in layers)
    assert layers[0].key == "Small::nndct_input_0" and layers[0].sqnr_db > 40
    assert all(sum(layer.histogram) == layer.count for layer in layers)


def test_the_ratio_is_that_of_the_sums_over_all_batches() -> None:
    result = quantize_graph(float_graph(small(), "Small", images(1)), [images(4)])
    data = images(3, seed=3).transpose(0, 2, 3, 1)
    layer = analyze(result.graph, result.float_graph, [data[:1], data[1:]])[-1]
    fake = Executor(result.graph).run(data, keep=[f"{layer.name}_fix"])[f"{layer.name}_fix"].astype(np.float64)
    real = Executor(result.float_graph).run(data, keep=[layer.name])[layer.name].astype(np.float64)
    expected = 10 * math.log10(np.square(real).sum() / np.square(fake - real).sum())
    assert layer.sqnr_db == pytest.approx(expected, rel=1e-4)


def test_values_that_are_no_numbers_do_not_stop_it() -> None:
    broken = image()
    broken[0, 0, 0, 1] = np.nan
    x, r = analyze(quantized_form(), float_form(), [broken])
    assert math.isnan(x.sqnr_db) and math.isnan(r.isolated_db) and sum(x.histogram) == 4
