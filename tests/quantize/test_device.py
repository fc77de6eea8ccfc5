"""Devices: what can be asked for, and full float32 wherever it runs."""

from __future__ import annotations

import pytest
import torch

from quantize.device import full_precision, resolve
from xmodel.errors import UnavailableError, UsageError


def test_the_cpu_is_always_there() -> None:
    assert resolve("cpu") == "cpu"


def test_auto_takes_cuda_where_there_is_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve("auto") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert (resolve("auto"), resolve("cuda"), resolve("cuda:1")) == ("cuda", "cuda", "cuda:1")
    with pytest.raises(UnavailableError, match="no CUDA device 2; PyTorch sees 2"):
        resolve("cuda:2")


def test_cuda_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UnavailableError, match="No CUDA device can be used"):
        resolve("cuda")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:", "cuda:x", "cpu:1", "auto:0"])
def test_names_that_are_no_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UsageError, match="There is no device"):
        resolve(name)


def test_no_tensor_float_while_calibrating() -> None:
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        with full_precision():
            assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
            assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
        assert torch.backends.cuda.matmul.allow_tf32 and torch.backends.cudnn.allow_tf32 == before
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False
