"""The self-test notices arithmetic that is not exact, and the kernels then take another path."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from runtime.emulator import reference, selftest, torch_conv, torch_selftest
from runtime.emulator.layer import Layer
from runtime.emulator.torch_conv import Path, prepare
from runtime.emulator.torch_kernels import TorchKernels
from xmodel.errors import UnavailableError
from xmodel.graph import Array


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    torch_selftest.verified.cache_clear()
    yield
    torch_selftest.verified.cache_clear()


def test_float_paths_are_exact_on_this_machine() -> None:
    paths, _ = torch_selftest.verified()
    assert {Path.FLOAT32, Path.FLOAT64} <= paths


def off_by_one(original: Callable[..., torch_conv.Function]) -> Callable[..., torch_conv.Function]:
    """A path whose largest sums are wrong, as after 16-bit saturation."""

    def make(layer: Layer, *rest: object) -> torch_conv.Function:
        exact = original(layer, *rest)

        def run(x: Array, *_: Array) -> Array:
            y = exact(x)
            return np.where(y == 127, np.int8(126), y) if x.max() == 127 else y

        return run

    return make


def test_a_wrong_int8_path_is_found_and_avoided(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch_conv, "int8", off_by_one(torch_conv.int8))
    paths, notes = torch_selftest.verified()
    assert not {Path.INT8, Path.INT8_FULL} & paths and "int8 convolutions are not exact on this machine" in notes[0]
    assert notes[0] in caplog.text
    layer, x = next(selftest.layers())
    prepared = prepare(layer, TorchKernels(paths, notes).allowed)
    assert prepared is not None and prepared[1] is Path.FLOAT32
    np.testing.assert_array_equal(prepared[0](x), reference.convolution(layer.spec, x, layer.weights, layer.bias))


def test_an_operator_that_is_missing_is_a_path_that_cannot_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> torch_conv.Function:
        raise AttributeError("no onednn::qconv2d_pointwise")

    monkeypatch.setattr(torch_conv, "int8", missing)
    assert Path.INT8 not in torch_selftest.verified()[0]


def test_without_exact_float64_there_are_no_torch_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_conv, "floating", lambda layer, dtype: lambda x, *_: np.zeros((1, 1, 1, 1), np.int8))
    with pytest.raises(UnavailableError, match="not exact on this machine"):
        torch_selftest.verified()


def test_the_layers_show_ties_saturation_and_signs() -> None:
    cases = list(selftest.layers())
    results = [reference.convolution(layer.spec, x, layer.weights, layer.bias) for layer, x in cases]
    assert any((y == -128).any() for y in results) and sum(int((y == 127).any()) for y in results) > 8
    assert any(x.min() == -128 for _, x in cases) and any(layer.signed.start > 0 for layer, _ in cases)
    assert any((layer.weights == -128).any() for layer, _ in cases)
