"""A float network on NumPy arrays, for callers that know nothing of torch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray


def forward(module: torch.nn.Module, images: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Real-valued images (N, 3, H, W) → mask logits (N, H, W, 2) and P(real) (N,), without gradients."""
    with torch.inference_mode():
        logits, p_real = module(torch.from_numpy(images))
    return logits.permute(0, 2, 3, 1).numpy(), p_real.reshape(-1).numpy()
