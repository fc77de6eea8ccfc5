"""The native libraries that tests run: the real one, and one whose AVX512 and AMX instructions are a software model."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from runtime.emulator.layer import Layer
from runtime.emulator.native import build
from runtime.emulator.native.library import Isa, Library, PackedConvolution
from runtime.emulator.native.native_kernels import table
from xmodel.errors import UnavailableError

needs_compiler = pytest.mark.skipif(build.compiler() is None, reason="there is no C++ compiler for the native kernels")

# AVX512-VNNI and AMX run in the software model here, whatever this CPU has; the others on the CPU.
EVERY_ISA = tuple(Isa)


@cache
def library(isa: Isa) -> Library:
    """A library limited to `isa`; compiled once and kept. Skips where this CPU has no such instructions."""
    modelled = isa in (Isa.VNNI, Isa.AMX)
    made = Library(build.build(build.MODEL if modelled else ()), isa)
    if made.isa is not isa:
        pytest.skip(f"this CPU has no {isa.name}")
    return made


def packed(layer: Layer, tile: int, on: Library | None = None) -> PackedConvolution:
    """The layer on AVX2 in the way that `tile` names, see `Library.convolution`."""
    negative = np.zeros(layer.weights.shape[3], bool)
    negative[layer.signed] = True
    size, steps = (layer.height, layer.width), layer.half_steps()
    activation = table(layer.spec.activation)
    made = (on or library(Isa.AVX2)).convolution(layer.spec, *size, layer.weights, steps, negative, activation, tile)
    assert made is not None and made.tile == tile
    return made


def _built() -> bool:
    try:
        return build.compiler() is not None and build.build().is_file()
    except UnavailableError:
        return False


needs_native = pytest.mark.skipif(not _built(), reason="the native kernels cannot be built here")
