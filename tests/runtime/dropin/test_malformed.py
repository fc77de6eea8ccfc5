"""Damaged files end in an error of ours, whatever an application does with them."""

from __future__ import annotations

import random
from typing import Any

import pytest

from runtime.dropin.freeze import thaw
from tests.runtime.dropin import graphs
from tests.runtime.dropin.conftest import Names
from xmodel import file
from xmodel.errors import UnmaskError

_LARGE = 1 << 16  # elements; a damaged shape can ask for any amount of memory


def _use(graph: Any, vart: Any) -> None:
    for op in graph.toposort():
        assert isinstance(op.get_attrs(), dict) and isinstance(op.get_fanout_ops(), list)
    for part in graph.get_root_subgraph().toposort_child_subgraph():
        tensors = part.get_input_tensors() | part.get_output_tensors()
        if part.has_attr("runner") and all(tensor.get_element_num() < _LARGE for tensor in tensors):
            runner = vart.RunnerExt.create_runner(part, "run")
            runner.wait(runner.execute_async(runner.get_inputs(), runner.get_outputs()))


@pytest.mark.parametrize("seed", range(2))
def test_bytes_changed_at_random(seed: int, names: Names) -> None:
    source = [file.dumps(graphs.compiled(graphs.detector())), file.dumps(graphs.classifier())][seed % 2]
    chance, refused = random.Random(seed), 0
    for _ in range(40):
        data = bytearray(source)
        for _ in range(chance.choice((1, 1, 2, 4))):
            data[chance.randrange(len(data))] = chance.choice((0, 1, 2, 127, 128, 255, chance.randrange(256)))
        try:
            _use(thaw(file.loads(bytes(data))), names.vart)
        except UnmaskError:
            refused += 1
    assert 0 < refused < 40
