"""Where calibration runs: the CPU or a CUDA device, computing in full float32 on both."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from xmodel.errors import UnavailableError, UsageError

CHOICES = ("cpu", "cuda", "auto")


def resolve(name: str) -> str:
    """The torch device that `name` ("cpu", "cuda", "cuda:1" or "auto") stands for: auto is CUDA where there is any.

    Raises `UnavailableError` for a CUDA device that is not there.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    match = re.fullmatch(r"(cpu)|(cuda)(?::(\d{1,3}))?", name)
    if match is None:
        raise UsageError(f"There is no device {name!r}.", hint=f"Choose one of: {', '.join(CHOICES)}.")
    index = match[3]
    if match[2] and not torch.cuda.is_available():
        built = "" if torch.version.cuda else " This PyTorch is built without CUDA."
        raise UnavailableError(f"No CUDA device can be used.{built}", hint="Use --device cpu or auto.")
    if index and int(index) >= torch.cuda.device_count():
        raise UnavailableError(
            f"There is no CUDA device {index}; PyTorch sees {torch.cuda.device_count()}.", hint="Use --device cuda."
        )
    return name


@contextmanager
def full_precision() -> Iterator[None]:
    """Convolutions and products in float32 with the same result every time.

    By default cuDNN takes TensorFloat-32, whose 10-bit mantissa moves fix positions, and whichever algorithm is
    fastest at the moment. What still differs from the CPU is the order of float32 sums: the last bits of
    activations, which decide a position only where two candidates' errors are equal within float32 rounding.
    """
    products = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = products
