"""Whether the native kernels give the reference's bytes on this machine: tried once a process, before they are used."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache, partial

import numpy as np

from runtime.emulator import reference, selftest
from runtime.emulator.layer import Layer
from runtime.emulator.native import native_kernels
from runtime.emulator.native.library import Isa, Library, PackedConvolution, limit, load
from runtime.emulator.operations import Function
from runtime.emulator.spec import Concat, Eltwise, Pool
from xmodel.errors import UnavailableError
from xmodel.graph import Array

MOST_SPLIT = 32  # channels of a layer that is also tried on two inputs side by side: enough, and quick
_JOIN = Concat(3, (1, -1))


def convolution(library: Library, layer: Layer) -> Function | None:
    """The native function of a layer."""
    negative = np.zeros(layer.weights.shape[3], bool)
    negative[layer.signed] = True
    size = layer.height, layer.width
    return native_kernels.convolution(library, layer.spec, size, layer.weights, layer.bias, negative)


def _joined(function: PackedConvolution, *inputs: Array) -> Array:
    return function.joined(_JOIN.rescale, inputs)


def exact(library: Library) -> bool:
    """Whether every case gives the reference's bytes."""
    cases = _cases(library)
    return all(np.array_equal(function(*inputs), wanted) for function, inputs, wanted in cases if function is not None)


def _cases(library: Library) -> Iterator[tuple[Function | None, tuple[Array, ...], Array]]:
    for layer, x in selftest.layers():
        wanted = reference.convolution(layer.spec, x, layer.weights, layer.bias)
        function = convolution(library, layer)
        yield function, (x,), wanted
        if isinstance(function, PackedConvolution) and function.joins and x.shape[3] <= MOST_SPLIT:
            halves = x[..., : x.shape[3] // 2], x[..., x.shape[3] // 2 :]
            joined = reference.concat(_JOIN, *halves)
            wanted = reference.convolution(layer.spec, joined, layer.weights, layer.bias)
            yield partial(_joined, function), halves, wanted
    for spec, inputs, wanted in selftest.others():
        match spec:
            case Concat():
                yield native_kernels.concat(library, spec), inputs, wanted
            case Eltwise():
                yield native_kernels.add(library, spec), inputs, wanted
            case Pool():
                yield native_kernels.pool(library, spec), inputs, wanted


def verified() -> Library:
    """The library, exact here, with the best instructions that UNMASK_ISA allows. Raises `UnavailableError`."""
    return _verified(limit(), os.environ.get("UNMASK_NATIVE"))


@cache
def _verified(cap: Isa, folder: str | None) -> Library:
    library = load(cap)
    if not exact(library):
        raise UnavailableError(f"the native kernels ({library.isa.name.lower()}) are not exact on this machine")
    return library
