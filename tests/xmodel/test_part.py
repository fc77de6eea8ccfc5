"""A subgraph as a graph of its own: its inputs, outputs and what stays as it was."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.xmodel.graphs import compiled
from xmodel.check import check
from xmodel.errors import UsageError
from xmodel.graph import Subgraph, attrs
from xmodel.part import part

GRAPH = compiled()


def test_what_comes_in_and_goes_out() -> None:
    found = check(part(GRAPH, "sub_conv"))
    assert [op.name for op in found.ops] == ["input", "up", "w", "conv", "down"]
    assert [op.name for op in found.inputs] == ["input"] and [op.name for op in found.outputs] == ["down"]
    assert found.op("conv") is GRAPH.op("conv") and found.get("origin") == "pytorch"
    assert found.root is not None and GRAPH.root is not None
    assert found.root.children[1] is GRAPH.root.children[1]


def test_a_tensor_made_elsewhere_is_an_input_of_its_name() -> None:
    found = check(part(GRAPH, "sub_out"))
    (source,) = found.inputs
    assert (source.name, source.type, source.inputs) == ("down", "data-fix", {})
    assert source.output == GRAPH.op("down").output
    assert found.root is not None and found.root.children[0].get("device") == "USER"


def test_a_float_tensor_is_a_data_input() -> None:
    ops = (*GRAPH.ops, replace(GRAPH.op("out"), name="more", type="relu", inputs={"input": ("out",)}))
    assert GRAPH.root is not None
    root = replace(GRAPH.root, children=(*GRAPH.root.children, Subgraph("rest", ("more",), attrs=attrs(device="CPU"))))
    found = part(replace(GRAPH, ops=ops, root=root), "rest")
    assert [(op.name, op.type) for op in found.ops] == [("out", "data"), ("more", "relu")]


def test_a_tensor_that_is_read_inside_and_outside_leaves_too() -> None:
    ops = (*GRAPH.ops, replace(GRAPH.op("out"), name="more", inputs={"input": ("conv",)}))
    found = part(replace(GRAPH, ops=ops), "sub_conv")
    assert [op.name for op in found.outputs] == ["conv", "down"]


def test_unknown_names() -> None:
    with pytest.raises(UsageError, match=r"no subgraph 'layer'.*It has sub_input, sub_conv, sub_out") as caught:
        part(GRAPH, "layer")
    assert caught.value.exit_code == 2
    with pytest.raises(UsageError, match="It is not partitioned"):
        part(replace(GRAPH, root=None), "sub_conv")
