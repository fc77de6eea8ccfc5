"""The float executor: any batch size, only wanted tensors kept, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from quantize.execute import Executor, forward, parameters
from quantize.pipeline import float_graph, quantize_graph
from tests.quantize.networks import images, small
from xmodel.errors import UsageError
from xmodel.graph import Graph, Op, Tensor, attrs


def test_any_batch_size_gives_the_same_rows() -> None:
    executor = Executor(float_graph(small(), "Small", images(1)))
    batch = images(5).transpose(0, 2, 3, 1)
    whole, single = executor.run(batch), executor.run(batch[3:4])
    for name, rows in whole.items():
        assert rows.shape[0] == 5
        np.testing.assert_allclose(rows[3:4], single[name], atol=1e-6)


def test_intermediate_tensors_are_returned_on_request_only() -> None:
    executor = Executor(float_graph(small(), "Small", images(1)))
    batch = images(1).transpose(0, 2, 3, 1)
    relu = next(op for op in executor.graph.ops if op.type == "relu")
    assert len(executor.run(batch)) == 2
    kept = executor.run(batch, keep=[relu.name])[relu.name]
    assert kept.shape == (1, 16, 16, 8) and kept.min() == 0


def test_fixes_put_values_on_their_grid() -> None:
    result = quantize_graph(float_graph(small(), "Small", images(1)), [images(4)])
    fixes = [op for op in result.graph.ops if op.type == "fix"]
    found = Executor(result.graph).run(images(2).transpose(0, 2, 3, 1), keep=[op.name for op in fixes])
    for op in fixes:
        if not result.graph.op(op.inputs["input"][0]).is_const:
            scaled = found[op.name] * 2.0 ** op.get("fix_point")
            assert np.array_equal(scaled, np.rint(scaled)) and scaled.min() >= -128 and scaled.max() <= 127


def test_live_tensors_are_freed_after_their_last_reader() -> None:
    graph = float_graph(small(), "Small", images(1))
    seen: list[str] = []

    def after(op: Op, result: torch.Tensor, args: object) -> torch.Tensor:
        seen.append(op.type)
        return result

    feeds = {graph.inputs[0].name: torch.from_numpy(images(1))}
    assert set(forward(graph, parameters(graph), feeds, after)) == {op.name for op in graph.outputs}
    assert seen[0] == "data" and seen.count("conv2d") == 3 and "const" not in seen


def test_an_op_without_a_kernel_is_named() -> None:
    data = Op("x", "data", {}, attrs(shape=[1, 4], data_type="FLOAT32"), Tensor("x", (1, 4)))
    odd = Op("odd", "hard-tanh", {"input": ("x",)}, {}, Tensor("odd", (1, 4)))
    with pytest.raises(UsageError, match=r"Op 'odd' of type 'hard-tanh' cannot be executed"):
        Executor(Graph("g", (data, odd)))
