"""The subgraph tree: what is in it, and dividing and merging it."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.dropin.graph import Graph
from runtime.dropin.op import Op
from tests.runtime.dropin import graphs
from xmodel import file
from xmodel.errors import ArtifactError, UsageError


def _diamond() -> tuple[Graph, dict[str, Op]]:
    """x -> a -> c, x -> b -> c."""
    graph = Graph("diamond")
    ops = {"x": graph.create_op("x", "data", {"shape": [1, 4], "data_type": "FLOAT32"})}
    for name, kind, sources in (("a", "relu", "x"), ("b", "tanh", "x"), ("c", "add", "ab")):
        ops[name] = graph.create_op(name, kind, {}, {"input": [ops[source] for source in sources]})
    return graph, ops


def test_a_compiled_tree(tmp_path: Path) -> None:
    graph = Graph.deserialize(graphs.write(tmp_path, graphs.compiled(graphs.detector())))
    root = graph.get_root_subgraph()
    assert root.is_root and not root.is_leaf and root.depth == 0 and root.get_parent() is None
    user, dpu, *cpus = root.toposort_child_subgraph()
    assert [part.get_attr("device") for part in (user, dpu, *cpus)] == ["USER", "DPU", "CPU", "CPU"]
    assert user.is_leaf and user.depth == 1 and not dpu.is_leaf and dpu.root is root and root.is_child(dpu)
    assert {t.name for t in dpu.get_input_tensors()} == {"x_fix"} == {t.name for t in user.get_output_tensors()}
    assert {t.name for t in dpu.get_output_tensors()} == {"mask_fix", "linear_fix"}
    assert sum(part.get_op_num() for part in root.get_children()) == root.get_op_num() == graph.get_op_num()
    conv = graph.get_op("conv1")
    assert conv is not None and dpu.has_op(conv) and dpu.has_op("conv1") and not user.has_op("conv1")
    assert root.find_child_subgraph_by_op(conv) is dpu is root.find_child_subgraph_by_op_name("conv1")
    layer = dpu.find_child_subgraph_by_op(conv)
    assert layer is not None and layer.is_leaf and layer.depth == 2 and layer is graph.get_leaf_subgraph(conv)
    assert user.find_child_subgraph_by_op(conv) is None and root.find_child_subgraph_by_op_name("none") is None
    assert dpu.get_tensor_producer(conv.get_output_tensor()) is conv
    assert user.get_tensor_producer(conv.get_output_tensor()) is None


def test_dividing_and_merging(tmp_path: Path) -> None:
    graph, ops = _diamond()
    root = graph.get_root_subgraph()
    assert root.is_leaf and root.get_ops() == set(ops.values())
    root.create_child_subgraph()
    assert [part.get_name() for part in root.toposort_child_subgraph()] == [f"subgraph_{name}" for name in "xabc"]
    merged = root.merge_children({part for n in "ab" if (part := root.find_child_subgraph_by_op(ops[n]))})
    assert merged.is_leaf and merged.get_name() == "subgraph_a" and merged.get_ops() == {ops["a"], ops["b"]}
    assert root.get_children_num() == 3 and merged.get_parent() is root and ops["a"].home is merged
    merged.create_child_subgraph()
    last = root.find_child_subgraph_by_op(ops["c"])
    assert last is not None
    both = root.merge_children([merged, last])
    assert [part.get_name() for part in both.toposort_child_subgraph()] == ["subgraph_a", "subgraph_b", "subgraph_c"]
    assert [part.depth for part in both.get_children()] == [2, 2, 2] and both.toposort() == [ops[n] for n in "abc"]
    both.set_name("all")
    both.set_attr("device", "CPU")
    graph.serialize(tmp_path / "d.xmodel")
    stored = file.read(tmp_path / "d.xmodel").root
    assert stored is not None and [child.name for child in stored.children] == ["subgraph_x", "all"]
    assert [child.ops for child in stored.children[1].children] == [("a",), ("b",), ("c",)]


def test_a_new_op_of_a_divided_graph_has_a_part_of_its_own_or_the_one_that_is_named() -> None:
    graph, ops = _diamond()
    root = graph.get_root_subgraph()
    root.create_child_subgraph()
    part = graph.get_leaf_subgraph(ops["c"])
    d = graph.create_op("d", "relu", {}, {"input": [ops["c"]]}, part)
    e = graph.create_op("e", "relu", {}, {"input": [d]})
    assert d.home is part and e.home is not part and e.home is not None and e.home.get_name() == "subgraph_e"
    with pytest.raises(UsageError, match="it is no leaf of graph 'diamond'"):
        graph.create_op("f", "relu", {}, {"input": [d]}, root)


def test_what_cannot_be_divided_merged_or_ordered() -> None:
    graph, ops = _diamond()
    root = graph.get_root_subgraph()
    with pytest.raises(UsageError, match="can merge its own children only; 1 were given, of which 0"):
        root.merge_children({root})
    root.create_child_subgraph()
    with pytest.raises(UsageError, match="has children already"):
        root.create_child_subgraph()
    root.merge_children({part for name in "xc" if (part := graph.get_leaf_subgraph(ops[name])) is not None})
    with pytest.raises(ArtifactError, match="The children of subgraph 'root' wait for each other"):
        root.toposort_child_subgraph()
