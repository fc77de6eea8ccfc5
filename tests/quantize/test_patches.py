"""A layer as rows times a matrix gives what the convolution gives, at every place and for every kind of layer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from quantize import patches
from quantize.execute import parameters
from quantize.kernels import convolve
from quantize.pipeline import float_graph
from quantize.plan import plan
from quantize.tuning import layers

LAYERS = {
    "plain": nn.Conv2d(6, 4, 3, padding=1),
    "strided": nn.Conv2d(6, 4, (3, 2), stride=(2, 1), padding=(0, 1)),
    "dilated": nn.Conv2d(6, 4, 3, dilation=2, padding=2),
    "grouped": nn.Conv2d(6, 4, 3, groups=2),
    "depthwise": nn.Conv2d(6, 6, 3, groups=6, padding=1),
    "multiplied": nn.Conv2d(6, 12, 3, groups=6),
    "transposed": nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1),
    "doubled": nn.ConvTranspose2d(6, 4, 2, stride=2),
    "output padding": nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1, output_padding=1),
    "transposed depthwise": nn.ConvTranspose2d(6, 6, 4, stride=2, padding=1, groups=6),
    "linear": nn.Sequential(nn.Flatten(), nn.Linear(6 * 7 * 5, 3)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_rows_times_matrix_is_the_layer(name: str) -> None:
    generator = torch.Generator().manual_seed(5)
    x = torch.rand(1, 6, 7, 5, generator=generator)
    graph = float_graph(LAYERS[name].eval(), "Net", x.numpy())
    (layer,) = layers(graph, plan(graph))
    weights = parameters(graph)[layer.weights]
    fed = x.flatten(1) if name == "linear" else x
    y = convolve(layer.op, fed, weights, None)
    at = _everywhere(y)
    rows = patches.rows(layer.op, fed, weights, at)
    count = patches.groups(layer.op, fed)
    matrix = patches.matrix(layer.op, weights, count)
    assert rows.shape == (len(at), count, matrix.shape[2])
    assert rows[0].numel() == patches.row_length(layer.op, weights)
    found = torch.einsum("ngk,gok->ngo", rows, matrix).flatten(1)
    torch.testing.assert_close(found, patches.results(y, at))
    assert torch.equal(patches.from_matrix(layer.op, matrix, weights), weights)


def _everywhere(y: Tensor) -> Tensor:
    if y.ndim == 2:
        return torch.zeros(1, 2, dtype=torch.int64)
    return torch.cartesian_prod(torch.arange(y.shape[2]), torch.arange(y.shape[3]))


def test_places_are_inside_and_depend_on_the_generator_alone() -> None:
    graph = float_graph(nn.Conv2d(3, 2, 3).eval(), "Net", torch.zeros(1, 3, 9, 6).numpy())
    (layer,) = layers(graph, plan(graph))
    at = patches.places(layer.op, 500, torch.Generator().manual_seed(1))
    assert at.min() == 0 and at.amax(0).tolist() == [6, 3]
    assert torch.equal(at, patches.places(layer.op, 500, torch.Generator().manual_seed(1)))
    assert not torch.equal(at, patches.places(layer.op, 500, torch.Generator().manual_seed(2)))
