"""Small networks for the quantizer's tests."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from quantize.approximate import approximate
from quantize.calibrate import Calibrator
from quantize.equalize import equalize
from quantize.pipeline import float_graph
from quantize.plan import plan
from quantize.tuning import Network
from xmodel.graph import Array


class Small(nn.Module):
    """Conv-BN-ReLU, pools, skip concat through a transposed convolution, flatten, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(16)
        self.up = nn.ConvTranspose2d(16, 8, 2, 2)
        self.head = nn.Conv2d(16, 2, 1)
        self.fc = nn.Linear(16 * 4 * 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        skip = torch.relu_(self.bn1(self.conv1(x)))
        deep = torch.relu(self.bn2(self.conv2(nn.functional.max_pool2d(skip, 2))))
        mask = self.head(torch.cat([skip, self.up(deep)], 1))
        pooled = nn.functional.avg_pool2d(deep, 2)
        return mask, torch.sigmoid(self.fc(pooled.flatten(1)))


def small(seed: int = 0) -> Small:
    """A `Small` in eval mode with random weights and batch-norm statistics."""
    torch.manual_seed(seed)
    module = Small()
    for norm in (module.bn1, module.bn2):
        assert norm.running_mean is not None and norm.running_var is not None
        norm.running_mean.uniform_(-0.2, 0.2)
        norm.running_var.uniform_(0.5, 1.5)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.2, 0.2)
    return module.eval()


def images(count: int, size: int = 16, seed: int = 1) -> Array:
    """NCHW float32 in [0, 1] on the 8-bit grid."""
    levels = np.random.default_rng(seed).integers(0, 256, (count, 3, size, size))
    return (levels / 255).astype(np.float32)


def frozen(module: nn.Module, data: Array, batch_size: int) -> tuple[Network, list[Tensor]]:
    """`module` calibrated on `data` without bias correction: its network with frozen positions, and the batches."""
    graph = approximate(equalize(float_graph(module, "Net", data[:1])))
    calibrator = Calibrator(graph, plan(graph), correct_bias=False)
    batches = [torch.from_numpy(data[i : i + batch_size]) for i in range(0, len(data), batch_size)]
    for batch in batches:
        calibrator.observe(batch)
    found = Network(graph, calibrator.plan, calibrator.positions, calibrator.float_constants, calibrator.constants)
    return found, batches
