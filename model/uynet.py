"""U-YNet: a U-Net that segments manipulated pixels, with a classifier of the whole face at its deepest tensor."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xmodel.errors import UsageError

CLASSES = 2  # mask classes: 0 = genuine pixel, 1 = manipulated pixel


class DoubleConv(nn.Module):
    """(3×3 convolution, batch norm, ReLU) twice; (N, inputs, H, W) → (N, outputs, H, W)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.double_conv(x)
        return y


class Down(nn.Module):
    """Max-pool 2, then a `DoubleConv`; (N, inputs, H, W) → (N, outputs, H/2, W/2)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.maxpool_conv = nn.Sequential(nn.MaxPool2d(2), DoubleConv(inputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.maxpool_conv(x)
        return y


class Up(nn.Module):
    """Transposed convolution that doubles the size and halves the channels, concat [skip, up], `DoubleConv`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, inputs // 2, kernel_size=2, stride=2)
        self.conv = DoubleConv(inputs, outputs)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        y: Tensor = self.conv(torch.cat([skip, self.up(x)], dim=1))
        return y


class OutConv(nn.Module):
    """The 1×1 convolution to the mask classes."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y


class UNet(nn.Module):
    """U-YNet of base width `width` for square inputs of `input_size` pixels.

    Input (N, 3, S, S) float in [0, 1], RGB; outputs (mask logits (N, 2, S, S), P(real) (N, 1)).
    Mask class 1 = manipulated, class 1 of the classifier = real. Module names are those of the
    published checkpoint, except `down5`, which that checkpoint carries and no output depends on:
    `model.checkpoint` drops it.

    Raises `UsageError` when `input_size` is no multiple of 16 or below 32: four poolings by two
    must leave whole pixels, and the classifier pools the deepest tensor by two once more.
    """

    def __init__(self, width: int = 64, input_size: int = 224) -> None:
        super().__init__()
        self.width = width
        self.set_input_size(input_size)
        self.inc = DoubleConv(3, width)
        self.down1 = Down(width, 2 * width)
        self.down2 = Down(2 * width, 4 * width)
        self.down3 = Down(4 * width, 8 * width)
        self.down4 = Down(8 * width, 16 * width)
        self.up1 = Up(16 * width, 8 * width)
        self.up2 = Up(8 * width, 4 * width)
        self.up3 = Up(4 * width, 2 * width)
        self.up4 = Up(2 * width, width)
        self.outc = OutConv(width, CLASSES)
        self.linear_1 = nn.Linear(16 * width, 8 * width)
        self.linear_2 = nn.Linear(8 * width, 1)

    def set_input_size(self, input_size: int) -> None:
        """Take inputs of `input_size` × `input_size` from now on; no weight depends on it."""
        if input_size % 16 or input_size < 32:
            raise UsageError(
                f"U-YNet cannot take {input_size}x{input_size} images.",
                hint="Use a size that is a multiple of 16 and at least 32, such as 224.",
            )
        self.input_size = input_size
        self.last_pool = input_size // 32  # what five poolings by two leave: 7 for 224

    def logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(mask logits (N, 2, S, S), logit of P(real) (N, 1)); what training minimizes over."""
        x1 = self.inc(x)
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        x4 = self.down3(x3)
        x5 = self.down4(x4)
        deepest = F.max_pool2d(F.max_pool2d(x5, 2), self.last_pool)
        real = self.linear_2(F.relu(self.linear_1(torch.flatten(deepest, 1))))
        y = self.up1(x5, x4)
        y = self.up2(y, x3)
        y = self.up3(y, x2)
        y = self.up4(y, x1)
        return self.outc(y), real

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mask, real = self.logits(x)
        return mask, torch.sigmoid(real)
