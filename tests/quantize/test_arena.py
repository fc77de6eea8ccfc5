"""Memory that is lent again, and the kernels that write into it."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import torch

from quantize import arena
from quantize.arena import Arena, ArenaKernels
from quantize.execute import forward, parameters
from quantize.pipeline import float_graph
from tests.quantize.networks import images, small


def test_memory_comes_back_when_the_last_tensor_on_it_is_gone() -> None:
    lender = Arena()
    first = lender.empty((2, 3, 4, 5))
    address, view = first.data_ptr(), first[1:]
    assert first.shape == (2, 3, 4, 5) and first.is_contiguous(memory_format=torch.channels_last)
    del first
    other = lender.empty((2, 3, 4, 5))
    assert other.data_ptr() != address  # a view still reads it
    del view
    assert lender.empty((1, 3, 5, 5)).data_ptr() == address  # it fits, with room to spare


def test_memory_of_another_size_class_is_not_taken() -> None:
    lender = Arena()
    large = lender.empty((1, 8, 8, 8))
    address = large.data_ptr()
    del large
    small_one = lender.empty((1, 1, 8, 8))
    assert small_one.data_ptr() != address and small_one.shape == (1, 1, 8, 8)


def test_results_are_those_of_the_usual_kernels() -> None:
    graph = float_graph(small(), "Small", images(1))
    values = parameters(graph)
    batch = torch.from_numpy(images(5))
    feeds, last = {graph.inputs[0].name: batch}, batch.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), patch.object(arena, "_BYTES", 1):  # one image at a time
        expected = forward(graph, values, feeds)
        found = forward(graph, values, {graph.inputs[0].name: last}, kernels=ArenaKernels(graph).table())
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-5, rtol=1e-5)
    np.testing.assert_array_equal(batch.numpy(), images(5))


def test_a_convolution_that_others_read_is_not_overwritten() -> None:
    class Both(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.alone = torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(4, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.conv(x)
            return torch.relu(self.alone(torch.relu(y) + y))

    graph = float_graph(Both().eval(), "Both", images(1))
    overwritten = {graph.op(name).output.shape[-1] for name in ArenaKernels(graph).overwritten}
    assert len(ArenaKernels(graph).overwritten) == 1 and overwritten == {4}
    assert graph.fanout[next(iter(ArenaKernels(graph).overwritten))][0].type == "relu"
