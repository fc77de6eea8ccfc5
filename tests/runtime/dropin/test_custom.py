"""Ops of an application's own, in Python, between ops that the emulator knows."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.runtime.dropin.conftest import Names
from tests.shared import SHARED, needs_shared
from xmodel.errors import ArtifactError

PATH = SHARED / "goldens" / "xmodels" / "v25_vck50008pe_tf2_custom_op.xmodel"
OWN = """
import numpy as np

class Mylayer:
    def __init__(self, op):
        assert op.get_type() == "Mylayer" and op.get_output_tensor().dims == [1, 2, 2, 64]

    def calculate(self, output, input):
        x, slope = (np.asarray(tensor) for tensor in input)
        assert x.shape == (1, 2, 2, 64) and slope.shape == (2, 2, 64)
        np.asarray(output)[...] = np.where(x < 0, x * slope, x)
"""


@pytest.fixture
def folder(tmp_path: Path, names: Names) -> Iterator[Path]:
    (tmp_path / "vart_op_imp").mkdir()
    sys.path.insert(0, str(tmp_path))
    yield tmp_path / "vart_op_imp"
    sys.path.remove(str(tmp_path))


@needs_shared
@pytest.mark.parametrize("arguments", ["output, input", "input, output", "result, given, scale=1.0"])
def test_a_graph_with_an_op_of_the_applications_own(arguments: str, folder: Path, names: Names) -> None:
    own = OWN.replace("(self, output, input)", f"(self, {arguments})")
    if "result" in arguments:
        own = own.replace("tensor in input", "tensor in given").replace("asarray(output)", "asarray(result)")
    (folder / "Mylayer.py").write_text(own)
    graph = names.xir.Graph.deserialize(PATH)
    runner = names.library.GraphRunner.create_graph_runner(graph)
    (given,), (out,) = runner.get_inputs(), runner.get_outputs()
    x = np.random.default_rng(1).integers(-128, 128, (8, 28, 28, 1), np.int8)
    np.asarray(given)[...] = x
    runner.wait(runner.execute_async([given], [out]))
    # The same by hand: DPU, the op in numpy, DPU, each subgraph on its own.
    first, custom, second, last = graph.get_root_subgraph().toposort_child_subgraph()[1:]
    create = names.vart.Runner.create_runner
    middle, between = np.zeros((8, 2, 2, 64), np.int8), np.zeros((8, 2, 2, 64), np.int8)
    run = create(first, "run")
    run.wait(run.execute_async([x], [middle]))
    alpha = graph.get_op("custom_layer").get_input_op("input", 1)
    slope = np.frombuffer(alpha.get_attr("data"), np.float32).reshape(2, 2, 64)
    real = middle.astype(np.float32) / 8
    wanted = np.clip(np.floor(np.where(real < 0, real * slope, real) * 8 + 0.5), -128, 127)
    run = create(custom, "run")
    for image in range(8):
        run.wait(run.execute_async([middle[image : image + 1].copy()], [between[image]]))
    np.testing.assert_array_equal(between, wanted)
    logits = np.zeros((8, 10), np.int8)
    run = create(second, "run")
    run.wait(run.execute_async([between], [logits]))
    np.testing.assert_array_equal(np.asarray(out), logits / np.float32(128))
    assert last.get_attr("device") == "CPU" and len(np.unique(logits)) > 3


@needs_shared
def test_an_op_without_an_implementation_is_named(names: Names) -> None:
    graph = names.xir.Graph.deserialize(PATH)
    with pytest.raises(ArtifactError, match=r"Op 'custom_layer' has type 'Mylayer'.* into vart_op_imp/Mylayer.py"):
        names.library.GraphRunner.create_graph_runner(graph)


@needs_shared
def test_a_mistake_in_an_implementation_is_the_applications_own(folder: Path, names: Names) -> None:
    (folder / "Mylayer.py").write_text("import no_such_module_here")
    with pytest.raises(ModuleNotFoundError, match="no_such_module_here"):
        names.library.GraphRunner.create_graph_runner(names.xir.Graph.deserialize(PATH))
