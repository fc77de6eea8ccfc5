"""What finetuning recovers: accuracy of a network in float, int8, after the vendor's fast finetune, and after learned
rounding.

The network reads one of ten patterns out of noise; its convolutions are random and its last layer is solved for. Its
channels are then scaled without changing its function, so that one fix position a tensor leaves most of them few
bits, which cross-layer equalization (off here) would undo. Run it with: python benchmarks/finetune.py
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from quantize.execute import Executor
from quantize.pipeline import Settings, float_graph, quantize_graph
from xmodel.graph import Graph

CLASSES, SIZE, NOISE = 10, 16, 0.6
TRAINING, TEST, CALIBRATION = 2000, 1000, 64
BATCH = 16
SPREAD = 2.5  # channels are scaled by 2**-SPREAD to 2**SPREAD
FORMS = {
    "int8, equalized": Settings(),
    "int8": Settings(equalize=False),
    "fast finetune": Settings(equalize=False, finetune="adaquant"),
    "learned rounding": Settings(equalize=False, finetune="learned"),
}

Images = NDArray[np.float32]
Labels = NDArray[np.int64]


def task(count: int, seed: int) -> tuple[Images, Labels]:
    """(count, 1, 16, 16) float32 images in [0, 1] on the 8-bit grid, and the pattern in each, 0 to 9."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, count)
    images = random.normal(size=(count, 1, SIZE, SIZE)) * NOISE
    patterns = _patterns()
    for i, (row, column) in enumerate(random.integers(0, 5, (count, 2))):
        images[i, 0, row : row + 12, column : column + 12] += patterns[labels[i]]
    return (np.round(np.clip(images * 0.12 + 0.5, 0, 1) * 255) / 255).astype(np.float32), labels


def _patterns() -> NDArray[np.float64]:
    """Ten smooth 12x12 patterns of unit deviation."""
    spectra = np.fft.fft2(np.random.default_rng(99).normal(size=(CLASSES, 12, 12)))
    squares = np.fft.fftfreq(12) ** 2
    smooth: NDArray[np.float64] = np.fft.ifft2(spectra * np.exp(-25 * (squares[:, None] + squares))).real
    smooth /= smooth.std((1, 2), keepdims=True)
    return smooth


class Reader(nn.Module):
    """Four convolutions, one of them depthwise and one 1x1, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 16, 5, padding=2)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.mix = nn.Conv2d(16, 32, 1)
        self.last = nn.Conv2d(32, 48, 3, padding=1, stride=2)
        self.classify = nn.Linear(48 * 4 * 4, CLASSES)

    def features(self, x: Tensor) -> Tensor:
        """What the linear layer reads, (n, 768)."""
        x = F.max_pool2d(torch.relu(self.first(x)), 2)
        return torch.relu(self.last(torch.relu(self.mix(torch.relu(self.depthwise(x)))))).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.classify(self.features(x))
        return found


@torch.no_grad()
def reader(spread: float = SPREAD) -> Reader:
    """The network, in eval mode, the same every time; torch's own random state is left alone."""
    generator = torch.Generator().manual_seed(4)
    with torch.random.fork_rng():
        network = Reader().eval()
    images, labels = task(TRAINING, 1)
    x = torch.from_numpy(images)
    _spread_out(network, x[:200], generator)
    features = network.features(x).double()
    mean = features.mean(0)
    features = features - mean
    goals = F.one_hot(torch.from_numpy(labels), CLASSES).double() - 1 / CLASSES
    weights = torch.linalg.solve(features.T @ features + 30 * torch.eye(features.shape[1]), features.T @ goals)
    network.classify.weight.copy_(weights.T)
    network.classify.bias.copy_(1 / CLASSES - mean @ weights)
    _rescale(network, spread)
    return network


def _spread_out(network: Reader, x: Tensor, generator: torch.Generator) -> None:
    """Random filters whose results have unit deviation on `x`."""
    for layer in (network.first, network.depthwise, network.mix, network.last):
        assert layer.bias is not None
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator))
        layer.bias.zero_()
        y = layer(x)
        deviation, mean = y.std((0, 2, 3)), y.mean((0, 2, 3))
        layer.weight /= deviation[:, None, None, None]
        layer.bias.copy_(0.3 * torch.randn(len(mean), generator=generator) - mean / deviation)
        x = torch.relu(layer(x))
        x = F.max_pool2d(x, 2) if layer is network.first else x


def _rescale(network: Reader, spread: float) -> None:
    """Each channel between two layers smaller by a factor in the one, larger in the other: ReLU lets it through."""
    generator = torch.Generator().manual_seed(3)
    chain = [network.first, network.depthwise, network.mix, network.last]
    for layer, after in pairwise(chain):
        assert layer.bias is not None
        scale = torch.exp2((2 * torch.rand(layer.out_channels, generator=generator) - 1) * spread)
        layer.weight /= scale[:, None, None, None]
        layer.bias /= scale
        after.weight *= scale[:, None, None, None] if after is network.depthwise else scale[None, :, None, None]


@dataclass(frozen=True, slots=True)
class Result:
    """Accuracy on the test images, int8 weights changed by tuning, seconds."""

    accuracy: float
    changed: int
    seconds: float


def measure(spread: float = SPREAD, forms: dict[str, Settings] = FORMS) -> dict[str, Result]:
    """Results by form, "float" first; calibration and tuning see 64 images in 4 batches."""
    images, _ = task(CALIBRATION, 7)
    batches = [images[start : start + BATCH] for start in range(0, CALIBRATION, BATCH)]
    graph = float_graph(reader(spread), "Reader", images[:1])
    found = {"float": Result(_accuracy(graph), 0, 0.0)}
    for name, settings in forms.items():
        start = time.perf_counter()
        result = quantize_graph(graph, batches, settings, finetune_batches=batches)
        seconds = time.perf_counter() - start
        changed = sum(layer.changed for layer in result.tuning.layers) if result.tuning else 0
        found[name] = Result(_accuracy(result.graph), changed, seconds)
    return found


def _accuracy(graph: Graph) -> float:
    images, labels = task(TEST, 5)
    outputs: dict[str, NDArray[Any]] = Executor(graph).run(np.ascontiguousarray(images.transpose(0, 2, 3, 1)))
    (scores,) = outputs.values()
    return float((scores.argmax(1) == labels).mean())


def main() -> None:
    """Print the table."""
    found = measure()
    print(f"{'':18}{'accuracy':>10}{'weights changed':>18}{'seconds':>10}")
    for name, result in found.items():
        print(f"{name:18}{result.accuracy:>10.1%}{result.changed:>18}{result.seconds:>10.1f}")


if __name__ == "__main__":
    main()
