"""Which output is which, and one sigmoid exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from deploy.roles import real, roles
from xmodel.errors import ArtifactError
from xmodel.graph import Graph, Op, Subgraph, Tensor, attrs


def _op(name: str, type_: str, shape: tuple[int, ...], *inputs: str) -> Op:
    return Op(name, type_, {"input": inputs} if inputs else {}, {}, Tensor(name, shape))


def _graph(*tail: Op) -> Graph:
    return Graph("net", (_op("x", "data", (1, 4, 4, 3)), _op("mask", "relu", (1, 4, 4, 2), "x"), *tail))


def test_a_sigmoid_in_the_graph_is_the_only_one() -> None:
    graph = _graph(_op("s", "sigmoid", (1, 1), "x"), _op("p", "fix", (1, 1), "s"))
    found = roles(graph)
    assert (found.mask.name, found.score.name, found.sigmoid_on_host) == ("mask", "p", False)
    np.testing.assert_array_equal(found.p_real(np.array([[0.25], [0.75]], np.float32)), [0.25, 0.75])


def test_a_logit_gets_its_sigmoid_on_the_host() -> None:
    found = roles(_graph(_op("fc", "matmul", (1, 1), "x"), _op("d", "download", (1, 1), "fc")))
    assert found.sigmoid_on_host
    np.testing.assert_allclose(found.p_real(np.array([[0.0], [800.0], [-800.0]], np.float32)), [0.5, 1, 0])


def _parted(score: Op, *dpu: str) -> Graph:
    graph = _graph(score)
    rest = tuple(op.name for op in graph.ops if op.name not in dpu)
    parts = (Subgraph("dpu", dpu, (), attrs(device="DPU")), Subgraph("cpu", rest, (), attrs(device="CPU")))
    return replace(graph, root=Subgraph("root", (), parts))


def test_a_sigmoid_of_the_dpu_is_told_from_one_after_it() -> None:
    fused = replace(_op("p", "conv2d-fix", (1, 1), "x"), attrs=attrs(nonlinear="HSIGMOID"))
    on_dpu, after = roles(_parted(fused, "p")), roles(_parted(_op("p", "sigmoid", (1, 1), "x"), "mask"))
    assert (on_dpu.sigmoid_on_host, on_dpu.sigmoid_on_dpu) == (False, True)
    assert (after.sigmoid_on_host, after.sigmoid_on_dpu) == (False, False)
    plain = roles(_parted(replace(fused, attrs=attrs(nonlinear="RELU")), "p"))
    assert (plain.sigmoid_on_host, plain.sigmoid_on_dpu) == (True, False)


def test_a_graph_without_a_mask_is_refused_with_its_outputs() -> None:
    graph = Graph("mesonet", (_op("x", "data", (1, 4, 4, 3)), _op("p", "sigmoid", (1, 1), "x")))
    with pytest.raises(ArtifactError, match=r"is no detector with a mask.*p \[1, 1\]") as caught:
        roles(graph)
    assert "unmask run" in caught.value.hint


def test_int8_becomes_real_by_its_fix_point() -> None:
    tensor = Tensor("t", (1, 2), "XINT8", attrs(fix_point=-1))
    np.testing.assert_array_equal(real(np.array([[-128, 3]], np.int8), tensor), [[-256, 6]])
    np.testing.assert_array_equal(real(np.array([[1.5]], np.float32), tensor), [[1.5]])
