"""Modules of one idea each, for the tests of what can be captured, quantized, compiled and run."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Between(nn.Module):
    """conv > `middle` > conv; `channels` come out of the middle."""

    def __init__(self, middle: Callable[[Tensor], Tensor], channels: int = 8, made: int = 8) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, made, 3, padding=1)
        self.middle = middle
        self.last = nn.Conv2d(channels, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 16, 16) to (N, 4, ...)."""
        result: Tensor = self.last(self.middle(self.first(x)))
        return result


class Sequence(nn.Module):
    """An `nn.Sequential` whose parts keep their own class in the exported stack."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        """The parts in order."""
        result: Tensor = self.parts(x)
        return result


class SqueezeExcite(nn.Module):
    """The gate of MobileNetV3 (hard) and EfficientNet (soft)."""

    def __init__(self, hard: bool) -> None:
        super().__init__()
        self.reduce, self.expand, self.hard = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1), hard

    def forward(self, x: Tensor) -> Tensor:
        """x * gate(mean(x))."""
        pooled = F.adaptive_avg_pool2d(x, 1)
        if self.hard:
            return x * F.hardsigmoid(self.expand(F.relu(self.reduce(pooled))))
        return x * torch.sigmoid(self.expand(F.silu(self.reduce(pooled))))


class InvertedResidual(nn.Module):
    """MobileNetV2/V3: expand, depthwise, project, add."""

    def __init__(self, activation: type[nn.Module], gate: nn.Module | None = None) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.expand = nn.Sequential(nn.Conv2d(4, 8, 1, bias=False), nn.BatchNorm2d(8), activation())
        depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.depthwise = nn.Sequential(depthwise, nn.BatchNorm2d(8), activation())
        self.gate = gate or nn.Identity()
        self.project = nn.Sequential(nn.Conv2d(8, 4, 1, bias=False), nn.BatchNorm2d(4))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 16, 16) to (N, 4, 16, 16)."""
        stem = self.stem(x)
        result: Tensor = stem + self.project(self.gate(self.depthwise(self.expand(stem))))
        return result


class ConcatNorm(nn.Module):
    """conv, conv > concat > batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.Conv2d(3, 6, 1)
        self.norm, self.last = nn.BatchNorm2d(10), nn.Conv2d(10, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 16, 16) to (N, 4, 16, 16)."""
        result: Tensor = self.last(F.relu(self.norm(torch.cat([self.a(x), self.b(x)], 1))))
        return result


class Vgg(nn.Module):
    """Two blocks, adaptive pooling to 4x4, two linear layers with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        )  # fmt: skip
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.classifier = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 5))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 16, 16) to (N, 5)."""
        result: Tensor = self.classifier(torch.flatten(self.pool(self.features(x)), 1))
        return result


class Residual(nn.Module):
    """A ResNet's strided basic block, global pooling, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.b = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8))
        self.short = nn.Sequential(nn.Conv2d(3, 8, 1, 2, bias=False), nn.BatchNorm2d(8))
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 16, 16) to (N, 5)."""
        y = F.relu(self.b(self.a(x)) + self.short(x))
        result: Tensor = self.head(y.mean([2, 3]))
        return result


def _shuffle(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


def _sliced(x: Tensor) -> Tensor:
    return x[:, 2:6, ::2, 1:-1]


def _split(x: Tensor) -> Tensor:
    a, b, c = torch.split(x, [2, 2, 4], 1)
    return torch.cat([c, a * b], 1)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "vgg": Vgg,
    "residual": Residual,
    "mobilenet_v2": lambda: InvertedResidual(nn.ReLU6),
    "mobilenet_v3": lambda: InvertedResidual(nn.Hardswish, SqueezeExcite(hard=True)),
    "efficientnet": lambda: InvertedResidual(nn.SiLU, SqueezeExcite(hard=False)),
    "concat_norm": ConcatNorm,
    "bilinear_decoder": lambda: Between(
        lambda x: torch.cat([x, F.interpolate(F.max_pool2d(x, 2), scale_factor=2, mode="bilinear")], 1), 16
    ),
    "aligned_bilinear": lambda: Between(lambda x: F.interpolate(x, (31, 31), mode="bilinear", align_corners=True)),
    "nearest": lambda: Between(lambda x: F.interpolate(x, scale_factor=2)),
}

OPERATORS: dict[str, Callable[[], nn.Module]] = {
    "elu": lambda: Between(F.elu),
    "tanh": lambda: Between(torch.tanh),
    "silu": lambda: Between(F.silu),
    "softplus": lambda: Between(F.softplus),
    "mish": lambda: Between(F.mish),
    "gelu": lambda: Between(F.gelu),
    "gelu_tanh": lambda: Between(lambda x: F.gelu(x, approximate="tanh")),
    "hardtanh": lambda: Between(F.hardtanh),
    "hardswish": lambda: Between(F.hardswish),
    "hardsigmoid": lambda: Between(F.hardsigmoid),
    "clamp_above": lambda: Between(lambda x: x.clamp(max=0.25)),
    "abs": lambda: Between(torch.abs),
    "square": lambda: Between(lambda x: x**2),
    "exp": lambda: Between(torch.exp),
    "sqrt": lambda: Between(lambda x: torch.sqrt(F.relu(x))),
    "neg": lambda: Between(torch.neg),
    "prelu": lambda: Sequence(nn.Conv2d(3, 8, 3, padding=1), nn.PReLU(8), nn.Conv2d(8, 4, 1)),
    "one_minus": lambda: Between(lambda x: 1 - x),
    "times_two_thirds": lambda: Between(lambda x: x * (2 / 3)),
    "over_three": lambda: Between(lambda x: x / 3),
    "mean_of_channels": lambda: Between(lambda x: x.mean(1, keepdim=True), 1),
    "sum_of_channels": lambda: Between(lambda x: x.sum(1, keepdim=True), 1),
    "max_of_channels": lambda: Between(lambda x: x.max(1, keepdim=True)[0], 1),
    "amax_of_image": lambda: Between(lambda x: x.amax((2, 3), keepdim=True)),
    "adaptive_max": lambda: Between(lambda x: F.adaptive_max_pool2d(x, 3)),
    "adaptive_average": lambda: Between(lambda x: F.adaptive_avg_pool2d(x, 3)),
    "group_norm": lambda: Sequence(nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.Conv2d(8, 4, 1)),
    "instance_norm": lambda: Sequence(
        nn.Conv2d(3, 8, 3, padding=1), nn.InstanceNorm2d(8, affine=True), nn.Conv2d(8, 4, 1)
    ),
    "shuffle": lambda: Between(_shuffle),
    "slice": lambda: Between(_sliced, 4),
    "split": lambda: Between(_split, 6),
    "chunk": lambda: Between(lambda x: torch.add(*torch.chunk(x, 2, 1)), 4),
    "pixel_shuffle": lambda: Between(lambda x: F.pixel_shuffle(x, 2), 2),
    "pixel_unshuffle": lambda: Between(lambda x: F.pixel_unshuffle(x, 2), 32),
    "permute": lambda: Between(lambda x: x.permute(0, 1, 3, 2)),
    "zero_pad": lambda: Between(lambda x: F.pad(x, (1, 1, 1, 1))),
    "uneven_pad": lambda: Between(lambda x: F.pad(x, (1, 2, 0, 1))),
    "reflect_pad": lambda: Between(lambda x: F.pad(x, (1, 2, 2, 1), mode="reflect")),
    "same_padding": lambda: Sequence(
        nn.Conv2d(3, 8, 3, padding="same"), nn.ReLU(), nn.Conv2d(8, 4, 4, padding="same"), nn.Conv2d(4, 4, 1)
    ),
    "output_padding": lambda: Sequence(nn.ConvTranspose2d(3, 8, 3, 2, 1, output_padding=1), nn.Conv2d(8, 4, 1)),
    "depthwise_multiplier": lambda: Sequence(
        nn.Conv2d(3, 8, 1), nn.Conv2d(8, 24, 3, padding=1, groups=8), nn.BatchNorm2d(24), nn.Conv2d(24, 4, 1)
    ),
    "squeezed": lambda: Sequence(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Unflatten(1, (8, 1, 1)),
        nn.Conv2d(8, 4, 1),
    ),
}


def build(make: Callable[[], nn.Module], seed: int = 3) -> nn.Module:
    """The module in eval mode, random weights and batch-norm statistics of `seed`."""
    torch.manual_seed(seed)
    module = make().eval()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None and part.running_var is not None
            part.running_mean.uniform_(-0.3, 0.3)
            part.running_var.uniform_(0.4, 1.6)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.3, 0.3)
    return module
