"""Cross-layer equalization."""

from __future__ import annotations

import numpy as np

from quantize.equalize import equalize, pair_scale, pairs
from quantize.execute import Executor
from quantize.pipeline import float_graph
from tests.quantize.networks import images, small


def test_pair_scale_balances_the_two_ranges() -> None:
    w0 = np.array([[8.0, -1.0], [0.5, 0.25]], np.float32)
    w1 = np.array([[2.0], [2.0]], np.float32)
    scale = pair_scale(w0, None, w1)
    np.testing.assert_allclose(scale, [2.0, 0.5])  # r0 / sqrt(r0 r1): 8 / 4 and 0.5 / 1
    np.testing.assert_allclose(np.abs(w0).max(1) / scale, np.abs(w1).max(1) * scale)


def test_small_ranges_and_dead_channels_are_left_alone() -> None:
    w0 = np.array([[0.1], [0.0], [4.0]], np.float32)
    w1 = np.array([[0.2], [3.0], [0.0]], np.float32)
    np.testing.assert_array_equal(pair_scale(w0, None, w1), [1, 1, 1])


def test_pairs_cross_relu_and_pool_with_one_reader_only() -> None:
    graph = float_graph(small(), "Small", images(1))
    # conv1's relu and conv2's relu are both read twice: no pair survives except none through concat
    assert [(a.name, b.name) for a, b in pairs(graph)] == []


def test_equalization_changes_no_result() -> None:
    from torch import nn

    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU(),
                           nn.Conv2d(8, 4, 1), nn.ReLU(), nn.ConvTranspose2d(4, 2, 2, 2)).eval()  # fmt: skip
    nn.init.uniform_(module[0].weight, -4, 4)  # type: ignore[arg-type]
    graph = float_graph(module, "Chain", images(1))
    equal = equalize(graph)
    assert len(list(pairs(graph))) == 3
    assert not np.array_equal(equal.op("Chain__0_weight").array(), graph.op("Chain__0_weight").array())
    batch = images(2).transpose(0, 2, 3, 1)
    name = graph.outputs[0].name
    np.testing.assert_allclose(Executor(equal).run(batch)[name], Executor(graph).run(batch)[name], rtol=1e-4, atol=1e-5)
