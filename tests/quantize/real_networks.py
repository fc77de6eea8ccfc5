"""Published networks whose trained weights the reference data holds, rebuilt by the names of those weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

_EPSILON = 1e-3  # they were trained in Keras


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_EPSILON)


class Meso4(nn.Module):
    """MesoNet-4: (N, 3, 256, 256) in [0, 1] to a logit (N, 1); sigmoid 1 is real."""

    def __init__(self) -> None:
        super().__init__()
        widths = ((3, 8, 3), (8, 8, 5), (8, 16, 5), (16, 16, 5))
        for index, (read, made, kernel) in enumerate(widths, 1):
            setattr(self, f"conv{index}", nn.Conv2d(read, made, kernel, padding=kernel // 2))
            setattr(self, f"bn{index}", _norm(made))
        self.fc1, self.fc2 = nn.Linear(1024, 16), nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        """conv > relu > norm > pool, four times; two linear layers."""
        for index in range(1, 5):
            x = getattr(self, f"bn{index}")(F.relu(getattr(self, f"conv{index}")(x)))
            x = F.max_pool2d(x, 4 if index == 4 else 2)
        result: Tensor = self.fc2(F.leaky_relu(self.fc1(x.flatten(1)), 0.1))
        return result


class Inception(nn.Module):
    """Four branches, two of them dilated, concatenated."""

    def __init__(self, read: int, first: int, others: tuple[int, int, int]) -> None:
        super().__init__()
        self.a1 = nn.Conv2d(read, first, 1)
        for name, made, dilation in zip("bcd", others, (1, 2, 3), strict=True):
            setattr(self, f"{name}1", nn.Conv2d(read, made, 1))
            setattr(self, f"{name}2", nn.Conv2d(made, made, 3, padding=dilation, dilation=dilation))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, first + others, H, W)."""
        parts = [F.relu(self.a1(x))]
        parts += [F.relu(getattr(self, f"{n}2")(F.relu(getattr(self, f"{n}1")(x)))) for n in "bcd"]
        return torch.cat(parts, 1)


class MesoInception(nn.Module):
    """MesoInception-4: as `Meso4`, with inception modules for the first two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.inc1, self.bn1 = Inception(3, 1, (4, 4, 2)), _norm(11)
        self.inc2, self.bn2 = Inception(11, 2, (4, 4, 2)), _norm(12)
        self.conv3, self.bn3 = nn.Conv2d(12, 16, 5, padding=2), _norm(16)
        self.conv4, self.bn4 = nn.Conv2d(16, 16, 5, padding=2), _norm(16)
        self.fc1, self.fc2 = nn.Linear(1024, 16), nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 256, 256) to a logit (N, 1)."""
        x = F.max_pool2d(self.bn1(self.inc1(x)), 2)
        x = F.max_pool2d(self.bn2(self.inc2(x)), 2)
        x = F.max_pool2d(self.bn3(F.relu(self.conv3(x))), 2)
        x = F.max_pool2d(self.bn4(F.relu(self.conv4(x))), 4)
        result: Tensor = self.fc2(F.leaky_relu(self.fc1(x.flatten(1)), 0.1))
        return result


class Block(nn.Module):
    """Two times conv > norm > relu."""

    def __init__(self, read: int, made: int) -> None:
        super().__init__()
        self.c1, self.b1 = nn.Conv2d(read, made, 3, padding=1, bias=False), _norm(made)
        self.c2, self.b2 = nn.Conv2d(made, made, 3, padding=1, bias=False), _norm(made)

    def forward(self, x: Tensor) -> Tensor:
        """(N, read, H, W) to (N, made, H, W)."""
        return F.relu(self.b2(self.c2(F.relu(self.b1(self.c1(x))))))


class FaceUNet(nn.Module):
    """A face segmentation U-Net with bilinear upsampling: (N, 3, 256, 256) in [0, 1] to logits (N, 1, 256, 256)."""

    def __init__(self) -> None:
        super().__init__()
        self.e1, self.e2, self.e3, self.mid = Block(3, 16), Block(16, 32), Block(32, 64), Block(64, 64)
        self.d3, self.d2, self.d1 = Block(128, 64), Block(96, 32), Block(48, 16)
        self.out = nn.Conv2d(16, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Encoder, decoder, one logit a pixel."""
        skips = [self.e1(x)]
        for block in (self.e2, self.e3):
            skips.append(block(F.max_pool2d(skips[-1], 2)))
        x = self.mid(F.max_pool2d(skips[-1], 2))
        for block in (self.d3, self.d2, self.d1):
            up = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = block(torch.cat([up, skips.pop()], 1))
        result: Tensor = self.out(x)
        return result


def load(module: nn.Module, path: Path) -> nn.Module:
    """`module` with the arrays of an .npz for weights, in eval mode."""
    with np.load(path) as arrays:
        found = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    counters = {name: value for name, value in module.state_dict().items() if name.endswith("num_batches_tracked")}
    module.load_state_dict(found | counters)
    return module.eval()
