"""What every kernel set is tried on before it is trusted on a machine: ties, saturation at both ends, signs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from runtime.emulator import reference
from runtime.emulator.layer import Layer
from runtime.emulator.spec import Activation, Concat, Convolution, Eltwise, Pool, Window
from xmodel.graph import Array

_RELU, _NONE = Activation("RELU"), Activation("NONE")


def _extremes(random: np.random.Generator, shape: tuple[int, ...], low: int) -> Array:
    """Mostly values at the ends of the range, where sums overflow narrow accumulators."""
    ends = random.choice(np.array([low, low, 127, 127, 1, 0], np.int8), shape)
    return np.where(random.random(shape) < 0.7, ends, random.integers(low, 128, shape)).astype(np.int8)


def layers() -> Iterator[tuple[Layer, Array]]:
    """Convolutions and inputs that show ties, saturation and sign mistakes."""
    random = np.random.default_rng(20)
    square, down = Window((3, 3), pad=(1, 1, 1, 1)), Window((3, 3), (2, 2), pad=(0, 1, 0, 1))
    cases = (
        (square, 16, 16, 12, _RELU, 9, slice(0, 0)),
        (square, 64, 64, 28, _RELU, 11, slice(0, 0)),
        (square, 32, 16, 12, _RELU, 10, slice(16, 32)),
        (down, 65, 33, 11, _NONE, 8, slice(0, 65)),
        (Window((1, 1)), 256, 2, 7, _NONE, 7, slice(0, 0)),
        (Window((1, 1)), 24, 40, 9, _RELU, 0, slice(0, 24)),
        (square, 3, 16, 16, _RELU, 3, slice(0, 3)),
        (square, 600, 16, 14, _NONE, 13, slice(300, 600)),
        (square, 128, 48, 6, _RELU, 11, slice(0, 0)),
    )
    for window, made, given, size, activation, shift, signed in cases:
        for extreme in (False, True):
            x = _extremes(random, (2, size, size, made), -128 if extreme else -3)
            x[..., [c for c in range(made) if not signed.start <= c < signed.stop]] &= 127  # not negative
            shape = (given, window.kernel[1], window.kernel[0], made)
            weights = _extremes(random, shape, -128) if extreme else random.integers(-2, 3, shape).astype(np.int8)
            bias = random.integers(-128, 128, given).astype(np.int8)
            out = window.outputs(1, size), window.outputs(0, size)
            spec = Convolution(window, False, False, out, -1 if shift % 2 else 1, shift, activation)
            yield Layer(spec, weights, bias, size, size, signed), x
    up = Convolution(Window((2, 2), (2, 2)), False, True, (12, 12), 0, 6, _NONE)
    x = _extremes(random, (2, 6, 6, 32), 0)
    yield Layer(up, _extremes(random, (16, 2, 2, 32), -128), None, 6, 6, slice(0, 0)), x
    deep = Convolution(square, True, False, (9, 9), 1, 5, _RELU)
    x = _extremes(random, (2, 9, 9, 24), -128)
    yield Layer(deep, _extremes(random, (1, 3, 3, 24), -128), None, 9, 9, slice(0, 24)), x


def others() -> Iterator[tuple[Concat | Eltwise | Pool, tuple[Array, ...], Array]]:
    """Concat, pools and eltwise: what they are, their inputs, the bytes that must come out."""
    x = np.arange(-128, 128, dtype=np.int8).reshape(1, 8, 8, 4)
    y = np.ascontiguousarray(x[:, ::-1, ::-1])
    window = Window((3, 3), (2, 2), pad=(1, 1, 1, 1))
    join, add = Concat(3, (1, -1)), Eltwise(False, (5, 3), 4, _RELU)
    yield join, (x, y), reference.concat(join, x, y)
    yield add, (x, y), reference.eltwise(add, x, y)
    for pool in (Pool(window, True, (4, 4), 1), Pool(window, False, (4, 4), 0, 7, 6)):
        yield pool, (x,), reference.pool(pool, x)
