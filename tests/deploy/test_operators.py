"""From module to machine: the emulator gives the quantizer's own integers, operator by operator."""

from __future__ import annotations

import numpy as np
import pytest

from arch import targets
from compile.pipeline import compile_graph
from quantize.execute import Executor
from quantize.pipeline import float_graph, quantize_graph
from runtime.emulator.program import Program
from tests.quantize import test_real_networks
from tests.quantize.networks import images
from tests.quantize.operators import NETWORKS, OPERATORS, build
from tests.shared import needs_shared


@pytest.mark.parametrize("name", [*NETWORKS, *OPERATORS])
def test_compiled_equals_quantized(name: str) -> None:
    batch = images(4)
    graph = float_graph(build((NETWORKS | OPERATORS)[name]), "Net", batch[:1])
    quantized = quantize_graph(graph, [batch[:2], batch[2:]]).graph
    nhwc = batch.transpose(0, 2, 3, 1)
    (expected,) = Executor(quantized).run(nhwc).values()
    compiled = compile_graph(quantized, targets.find(targets.DEFAULT))
    program = Program(compiled, "auto")
    (found,) = program.run({compiled.inputs[0].name: nhwc}).values()
    np.testing.assert_array_equal(found, expected)


def test_relu_behind_a_concat_runs_on_the_dpu() -> None:
    batch = images(2)
    graph = float_graph(build(NETWORKS["concat_norm"]), "Net", batch[:1])
    compiled = compile_graph(quantize_graph(graph, [batch]).graph, targets.find(targets.DEFAULT))
    assert [op.type for op in compiled.ops if op.get("device") == "CPU"] == ["fix2float"]


@needs_shared
@pytest.mark.parametrize("name", ["Meso4", "MesoInception", "FaceUNet"])
def test_trained_networks_compiled_equal_quantized(name: str) -> None:
    quantized, images, _ = test_real_networks.quantized(name)
    (expected,) = Executor(quantized.graph).run(images[:2]).values()
    compiled = compile_graph(quantized.graph, targets.find(targets.DEFAULT))
    (found,) = Program(compiled, "auto").run({compiled.inputs[0].name: images[:2]}).values()
    np.testing.assert_array_equal(found, expected)
