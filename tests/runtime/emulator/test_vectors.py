"""Every recorded operator vector, on every kernel set, byte for byte."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.emulator.program import KernelChoice, Program
from runtime.emulator.spec import Rules
from tests.runtime.emulator.native import needs_native
from tests.runtime.emulator.vectors import OPS, PROGRAMS, index, vector
from tests.shared import needs_shared

KERNELS = ["reference", "torch", pytest.param("native", marks=needs_native)]
SINGLE = [name for name, entry in index(PROGRAMS).items() if "+" not in entry["op"]]


@needs_shared
@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("name", sorted(index(OPS)))
def test_cpu_runner_vector(name: str, kernels: KernelChoice) -> None:
    case = vector(OPS, name)
    (got,) = Program(case.graph, kernels, Rules.CPU_RUNNER).run(case.feeds).values()
    assert got.dtype == case.output.dtype and got.shape == case.output.shape
    if "allclose" in index(OPS)[name].get("compare", ""):
        np.testing.assert_allclose(got, case.output, rtol=1e-5, atol=1e-6)
    else:
        np.testing.assert_array_equal(got, case.output)


@needs_shared
@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("name", SINGLE)
def test_simulator_vector(name: str, kernels: KernelChoice) -> None:
    case = vector(PROGRAMS, name)
    (got,) = Program(case.graph, kernels).run(case.feeds).values()
    np.testing.assert_array_equal(got, case.output)
