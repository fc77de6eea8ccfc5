"""How parameters fit their grids, and what equalization could do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from quantize.layers import Layer, layers
from quantize.pipeline import Quantized, float_graph, quantize_graph
from quantize.weights import equalization, layer_parameters, layer_shifts
from tests.quantize.networks import images, small


def _one() -> tuple[Quantized, Layer]:
    """A 1x1 convolution whose weights are known: rows 0.5, 0.25 and 2 (twice), biases 1, 0 and -1."""
    module = nn.Conv2d(2, 3, 1).eval()
    with torch.no_grad():
        module.weight[:] = torch.tensor([[0.5, 0.1], [0.25, -0.25], [2.0, -2.0]])[..., None, None]
        module.bias[:] = torch.tensor([1.0, 0.0, -1.0])  # type: ignore[index]
    data = np.random.default_rng(0).uniform(0, 1, (2, 2, 4, 4)).astype(np.float32)
    found = quantize_graph(float_graph(module, "One", data[:1]), [data])
    return found, layers(found.graph, found.float_graph)[-1]


def test_parameters_by_hand() -> None:
    found, layer = _one()
    weights, bias = layer_parameters(found.graph, found.float_graph, layer)
    assert (weights.name, weights.op, weights.role) == ("One__weight", "One__One_conv2d", "weights")
    assert weights.count == 6 and sum(weights.histogram) == 6
    # ranges 0.5, 0.25, 2: the median is 0.5
    assert weights.spread == pytest.approx(4) and weights.widest == 2
    step = 2.0**-weights.fix_point
    assert weights.typical == pytest.approx(0.5 / (127 * step))
    assert weights.saturated == sum(abs(v) / step >= 127.5 for v in (0.5, 0.1, 0.25, 0.25, 2.0))
    assert (bias.role, bias.spread, bias.widest, bias.typical, bias.count) == ("bias", None, None, None, 3)


def test_shifts_follow_from_the_positions() -> None:
    found, layer = _one()
    (shifts,) = layer_shifts(found.graph, layer)
    weights, bias = layer_parameters(found.graph, found.float_graph, layer)
    source = int(found.graph.op("One__input_0_fix").get("fix_point"))
    assert shifts.input_point == source
    assert shifts.cut == weights.fix_point + source - int(layer.fix.get("fix_point"))
    assert shifts.bias == weights.fix_point + source - bias.fix_point


def test_what_keeps_equalization_away_is_named() -> None:
    notes = equalization(float_graph(small(), "Small", images(1)), done=True)
    short = {name.rpartition("__")[2]: note for name, note in notes.items()}
    assert "Small__Small_relu_ is read by 2 ops" in short["conv2d"]
    assert short["conv_transpose2d"].startswith("concat Small__Small_cat follows")
    assert "output of the network" in short["conv2d_2"] and short["linear"] == "only convolutions are equalized"


def test_equalized_pairs_name_their_partner() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    graph = float_graph(module, "Pair", images(1))
    first, second = (op for op in graph.ops if op.type == "conv2d")
    assert equalization(graph, done=True)[first.name] == f"its output channels were equalized with {second.name}"
    assert set(equalization(graph, done=False).values()) == {"equalization is switched off"}
