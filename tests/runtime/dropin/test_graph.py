"""Graphs: identity, types that are returned, building, changing, writing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.dropin.freeze import freeze, thaw
from runtime.dropin.graph import Graph
from runtime.dropin.op import Op
from tests.judges import accepted, needs_xir
from tests.runtime.dropin import graphs
from tests.runtime.dropin.conftest import Names
from tests.shared import SHARED, needs_shared
from xmodel import file
from xmodel.errors import ArtifactError, UnavailableError, UsageError


def _chain(*names: str) -> tuple[Graph, list[Op]]:
    """A graph of an input and a relu after another."""
    graph = Graph("chain")
    ops = [graph.create_op("x", "data", {"shape": [1, 4], "data_type": "FLOAT32"})]
    for name in names:
        ops.append(graph.create_op(name, "relu", input_ops={"input": [ops[-1]]}))
    return graph, ops


def _files() -> list[Path]:
    goldens = SHARED / "goldens"
    return [*sorted((goldens / "xmodels").glob("*.xmodel")), *sorted(goldens.glob("quantizer/*/expected/*.xmodel"))]


@needs_shared
@pytest.mark.parametrize("path", _files(), ids=lambda path: str(path.relative_to(SHARED / "goldens")))
def test_real_files_come_back_as_they_were_and_their_shapes_follow_from_their_ops(path: Path) -> None:
    frozen = file.read(path)
    graph = thaw(frozen)
    again = freeze(graph)
    assert (again.name, again.ops, again.attrs) == (frozen.name, frozen.ops, frozen.attrs)
    assert frozen.root is None or again.root == frozen.root
    before = {op: (op.get_output_tensor().dims, op.get_output_tensor().dtype) for op in graph.toposort()}
    graph.infer_shape()
    assert {op: (op.get_output_tensor().dims, op.get_output_tensor().dtype) for op in graph.toposort()} == before


def test_the_same_op_tensor_and_subgraph_are_equal_twice(tmp_path: Path, names: Names) -> None:
    graph = names.xir.Graph.deserialize(str(graphs.write(tmp_path, graphs.compiled(graphs.detector()))))
    op = graph.get_op("conv1")
    assert op is graph.get_op("conv1") and op in graph.get_ops() and len(graph.get_ops() | {op}) == graph.get_op_num()
    assert graph.get_tensor(op.get_output_tensor().name) is op.get_output_tensor()
    part = graph.get_leaf_subgraph(op)
    assert part is op.home and part.get_parent() in graph.get_root_subgraph().get_children()
    assert graph.get_root_subgraph() == part.root and graph.get_tensor_producer(op.get_output_tensor()) is op
    other = names.xir.Graph.deserialize(tmp_path / "Detector.xmodel")
    assert other.get_op("conv1") != op and isinstance(op, names.xir.Op)


def test_the_types_that_are_returned(tmp_path: Path, names: Names) -> None:
    graph = names.xir.Graph.deserialize(graphs.write(tmp_path, graphs.compiled(graphs.detector())))
    root = graph.get_root_subgraph()
    for value in (graph.get_ops(), graph.get_tensors(), graph.get_head_ops(), graph.get_tail_ops(), root.get_ops(),
                  root.get_children(), root.get_input_tensors(), root.get_output_tensors()):  # fmt: skip
        assert type(value) is set
    op = graph.get_op("conv1")
    for value in (graph.toposort(), root.toposort(), root.toposort_child_subgraph(), op.get_fanout_ops(),
                  op.get_input_tensors(), op.get_output_tensor().dims, op.get_attr("kernel")):  # fmt: skip
        assert type(value) is list
    assert type(op.get_input_ops()) is dict and op.get_input_num() == 3 and op.get_input_num("weights") == 1
    assert type(root.toposort_child_subgraph()[1].get_attr("runner")) is dict
    assert graph.get_op("none") is None and graph.get_tensor("none") is None
    assert {op.get_name() for op in graph.get_tail_ops()} == {"mask_fix_", "prob"}


def test_an_op_and_its_neighbours() -> None:
    graph, (x, a, b, c) = _chain("a", "b", "c")
    assert a.get_graph() is graph and a.get_input_op("input") is x and a.get_fanout_ops() == [b]
    assert b.get_input_tensor() is a.get_output_tensor() and b.get_input_ops_by_name("input") == [a]
    assert b.get_input_tensors_by_name("input") == b.get_input_tensors() == [a.get_output_tensor()]
    c.replace_input_ops(b, a)
    assert a.get_fanout_num() == 2 and b.get_fanout_num() == 0 and b.get_input_ops_by_name("bias") == []
    b.set_input_ops("input", [x])
    assert a.get_fanout_ops() == [c] and repr(b) == "xir.Op{name: b, type: relu}"
    with pytest.raises(UsageError, match="has 1 ops as argument 'input'; number 3"):
        b.get_input_op("input", 3)
    with pytest.raises(UsageError, match="it is no op of the same graph"):
        b.set_input_ops("input", [_chain()[1][0]])


def test_removing_ops() -> None:
    graph, (x, a, b) = _chain("a", "b")
    with pytest.raises(UsageError, match="Op 'a' cannot be removed: 'b' reads it"):
        graph.remove_op(a)
    graph.get_root_subgraph().create_child_subgraph()
    graph.remove_op(b)
    assert graph.toposort() == [x, a] and graph.get_root_subgraph().get_children_num() == 2
    with pytest.raises(UsageError, match="no such op"):
        graph.remove_op(b)


def test_order_is_that_of_dependencies_and_a_cycle_is_named() -> None:
    graph, (x, a, b, c) = _chain("a", "b", "c")
    a.set_input_ops("input", [c])
    b.set_input_ops("input", [x])
    assert graph.toposort() == [x, b, c, a] and [op.name for op in freeze(graph).ops] == ["x", "b", "c", "a"]
    b.set_input_ops("input", [a])
    with pytest.raises(ArtifactError, match="a cycle through op"):
        graph.toposort()


@pytest.mark.parametrize(
    ("kind", "attrs", "inputs", "message"),
    [
        ("conv2d", {"kernel": [3, 3]}, ["input"], "has 0 ops as argument 'weights'; it takes 1"),
        ("relu", {}, [], "has 0 ops as argument 'input'; it takes 1"),
        ("add", {}, [], "has 0 ops as argument 'input'; it takes at least 1"),
        ("softmax", {}, ["input"], "lacks the attribute 'axis' .int32."),
        ("Mine", {"shape": [1]}, [], "which XIR does not define, needs the attribute 'data_type'"),
        ("reshape", {"shape": [3, 3]}, ["input"], "4 elements do not make .3, 3."),
        ("data", {"shape": [1, 0], "data_type": "FLOAT32"}, [], "they would be .1, 0."),
        ("data", {"shape": [1], "data_type": "nothing"}, [], "no data type 'nothing'"),
    ],
)
def test_an_op_that_the_vendors_module_aborts_on_is_refused(
    kind: str, attrs: dict[str, Any], inputs: list[str], message: str
) -> None:
    graph, (x,) = _chain()
    with pytest.raises(UsageError, match=message):
        graph.create_op("new", kind, attrs, {name: [x] for name in inputs})
    assert graph.get_op("new") is None and graph.get_tail_ops() == {x} and x.get_fanout_ops() == []


def test_a_wrong_kind_and_a_second_name_are_refused() -> None:
    graph, (x,) = _chain()
    with pytest.raises(TypeError, match=r"'kernel' of op 'c' of type 'maxpool2d': 'wide' cannot be .* int32_vec"):
        graph.create_op("c", "maxpool2d", {"kernel": "wide"}, {"input": x})
    with pytest.raises(UsageError, match="has an op 'x' already"):
        graph.create_op("x", "relu", {}, {"input": x})


def test_an_op_has_the_optional_attributes_that_nobody_set() -> None:
    graph = Graph("g")
    x = graph.create_op("x", "data", {"shape": [1, 8, 8, 3], "data_type": "float32"})
    pool = graph.create_op("p", "maxpool2d", {"kernel": [2, 2], "stride": [2, 2], "pad_mode": "SAME"}, {"input": [x]})
    assert pool.get_attr("pad") == [0, 0, 0, 0] and pool.has_attr("global") and pool.get_attrs()["global"] is False
    assert pool.get_output_tensor().dims == [1, 4, 4, 3] and "pad" not in freeze(graph).op("p").attrs
    own = graph.create_op("o", "Mine", {"shape": [1, 2], "data_type": "XINT8", "alpha": 2}, {"input": [pool]})
    assert (own.get_output_tensor().dims, own.get_output_tensor().dtype) == ([1, 2], "xint8")


def test_dimensions_follow_a_changed_input() -> None:
    graph = Graph("g")
    x = graph.create_op("x", "data", {"shape": [1, 8, 8, 3], "data_type": "FLOAT32"})
    graph.create_op("p", "avgpool2d", {"kernel": [2, 2], "stride": [2, 2], "pad_mode": "FLOOR"}, {"input": [x]})
    x.set_attr("shape", [4, 6, 10, 3])
    graph.infer_shape()
    assert graph.get_tensor("p").dims == [4, 3, 5, 3]  # type: ignore[union-attr]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "uint8", "int16", "int32", "int64"])
def test_constants_of_arrays(dtype: str) -> None:
    graph, array = Graph("g"), np.arange(6).reshape(2, 3).astype(dtype)
    op = graph.create_const_op("c", array.T)
    assert (op.get_type(), op.get_output_tensor().dims, op.get_output_tensor().dtype) == ("const", [3, 2], dtype)
    np.testing.assert_array_equal(np.frombuffer(op.get_attr("data"), dtype).reshape(3, 2), array.T)
    with pytest.raises(UsageError, match="cannot hold complex128"):
        graph.create_const_op("d", np.zeros(2, complex))


@needs_xir
def test_what_an_application_builds_is_a_file_to_the_vendors_library(tmp_path: Path) -> None:
    graph = Graph("built")
    x = graph.create_op("x", "data", {"shape": [1, 4, 4, 2], "data_type": "FLOAT32"})
    w = graph.create_const_op("w", np.ones((3, 1, 1, 2), np.float32))
    conv = {"kernel": [1, 1], "stride": [1, 1], "pad_mode": "FLOOR"}
    y = graph.create_op("y", "conv2d", conv, {"input": [x], "weights": [w]})
    graph.create_op("z", "softmax", {"axis": 3}, {"input": [y]})
    graph.get_root_subgraph().create_child_subgraph()
    graph.serialize(tmp_path / "built.xmodel")
    accepted(tmp_path / "built.xmodel", file.read(tmp_path / "built.xmodel"))


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Cannot read this file"):
        Graph.deserialize(str(tmp_path / "none.xmodel"))
    (tmp_path / "bad.xmodel").write_bytes(b"\xff" * 20)
    with pytest.raises(ArtifactError):
        Graph.deserialize(tmp_path / "bad.xmodel")


def test_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, _ = _chain('a"b')
    graph.save_as_dot(tmp_path / "g.dot")
    text = (tmp_path / "g.dot").read_text()
    assert text.startswith('digraph "chain" {') and '"x" -> "a\\"b" [label="input"];' in text
    assert 'label="x\\ndata\\nfloat32 [1, 4]"' in text
    graph.get_root_subgraph().save_as_dot(str(tmp_path / "s.dot"))
    assert (tmp_path / "s.dot").read_text().count("->") == 1
    with pytest.raises(UsageError, match="no picture format 'bmp2'"):
        graph.save_as_image(tmp_path / "g", "bmp2")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="takes Graphviz"):
        graph.save_as_image(tmp_path / "g.png")
    program = tmp_path / "dot"
    program.write_text("#!/bin/sh\n/bin/cat\n")
    program.chmod(0o755)
    graph.save_as_image(tmp_path / "g.svg", "svg")
    assert (tmp_path / "g.svg").read_text() == text
    program.write_text("#!/bin/sh\necho no >&2; exit 1\n")
    with pytest.raises(UnavailableError, match="Graphviz cannot draw the graph: no"):
        graph.save_as_image(tmp_path / "g.svg", "svg")
