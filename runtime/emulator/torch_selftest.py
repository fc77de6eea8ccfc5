"""What this machine's torch computes exactly: tried once a process, before the first network is loaded.

CPUs differ in their integer instructions (16-bit saturation without VNNI) and torch can be told to use less than
float32, so exactness is measured, not assumed: ties, saturation at both ends, signed and unsigned channels,
every kind of convolution, against the reference.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cache

import numpy as np

from runtime.emulator import reference, selftest, torch_kernels
from runtime.emulator.operations import Function
from runtime.emulator.spec import Concat, Eltwise, Pool
from runtime.emulator.torch_conv import Path, prepare
from xmodel.errors import UnavailableError
from xmodel.graph import Array

log = logging.getLogger("unmask.emulator")


def exact(path: Path) -> bool:
    """Whether every layer that takes `path` gives the reference's bytes here."""
    for layer, x in selftest.layers():
        try:
            prepared = prepare(layer, frozenset({path}))
            if prepared is None:
                continue
            got = prepared[0](x)
        except (RuntimeError, NotImplementedError, AttributeError) as error:
            log.info("The %s path cannot run here: %s", path.value, error)
            return False
        if not np.array_equal(got, reference.convolution(layer.spec, x, layer.weights, layer.bias)):
            return False
    return True


def others_exact() -> bool:
    """The same for concat, pools and eltwise."""
    return all(np.array_equal(fast(*x), wanted) for fast, x, wanted in _others() if fast is not None)


def _others() -> Iterator[tuple[Function | None, tuple[Array, ...], Array]]:
    for spec, x, wanted in selftest.others():
        match spec:
            case Concat():
                yield torch_kernels.concat(spec), x, wanted
            case Pool():
                yield torch_kernels.maximum_pool(spec) if spec.maximum else torch_kernels.average_pool(spec), x, wanted
            case Eltwise():
                yield torch_kernels.add(spec), x, wanted


@cache
def verified() -> tuple[frozenset[Path], tuple[str, ...]]:
    """The exact paths of this machine, and sentences about those that are not. Raises `UnavailableError`."""
    paths = frozenset(path for path in Path if exact(path))
    if Path.FLOAT64 not in paths or not others_exact():
        raise UnavailableError("this torch build is not exact on this machine")
    notes = tuple(
        f"{path.value} convolutions are not exact on this machine; layers that would take them run slower, exactly."
        for path in (Path.INT8, Path.FLOAT32)
        if path not in paths
    )
    for note in notes:
        log.warning("%s", note)
    return paths, notes
