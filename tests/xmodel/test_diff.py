from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.shared import SHARED, needs_shared
from tests.xmodel.graphs import FIX, compiled, with_op, with_output
from xmodel import file
from xmodel.diff import Change, Weights, diff
from xmodel.graph import Attr, Graph, Op, Tensor, attrs, const

GRAPH = compiled()


def test_a_graph_equals_itself() -> None:
    found = diff(GRAPH, file.loads(file.dumps(GRAPH)))
    assert found.equal and not any(json.loads(json.dumps(found.data()))[key] for key in ("positions", "renamed"))


def test_a_position() -> None:
    found = diff(GRAPH, with_output(GRAPH, "conv", attrs=attrs(**FIX | {"fix_point": 3})))
    assert found.positions == (Change("conv", "tensor fix_point", 5, 3),)
    assert not (found.attributes or found.structure or found.weights or found.equal)


def test_a_weight() -> None:
    values = GRAPH.op("w").array().copy()
    values[0, 0, 0, 1] -= 3
    values[3, 2, 2, 1] += 1
    found = diff(GRAPH, with_op(GRAPH, "w", attrs=const("w", values, "const-fix").attrs))
    assert found.weights == (Weights("w", 2, 72, 3.0, True),)
    assert not found.attributes


def _quantized(array: np.ndarray[tuple[int], np.dtype[np.float32]]) -> Graph:
    fix = Op("w_fix", "fix", {"input": ("w",)}, attrs(**FIX), Tensor("w_fix", array.shape))
    return Graph("g", (const("w", array), fix))


def test_a_float_weight_is_told_in_steps_of_its_grid() -> None:
    a, b = np.zeros(4, np.float32), np.array([0, 0, -0.0, 2.0**-4], np.float32)
    assert diff(_quantized(a), _quantized(b)).weights == (Weights("w", 1, 4, 2.0, True),)
    assert diff(_quantized(a), _quantized(-a)).equal


def test_a_weight_that_is_no_number() -> None:
    a, b = np.zeros(2, np.float32), np.array([np.nan, 1], np.float32)
    assert diff(_quantized(a), _quantized(b)).weights == (Weights("w", 2, 2, None, True),)
    assert diff(_quantized(b), _quantized(b)).equal


def test_weights_that_cannot_be_compared() -> None:
    other = with_op(GRAPH, "w", attrs={**GRAPH.op("w").attrs, "data": Attr("bytes", b"")})
    assert diff(GRAPH, other).weights == (Weights("w", 0, 0, None, False),)
    assert diff(other, other).equal


def test_attributes_and_their_kinds() -> None:
    kernel = {**GRAPH.op("conv").attrs, "kernel": Attr("int64_vec", (3, 3)), "pad": Attr("int32_vec", (0, 0, 0, 0))}
    found = diff(GRAPH, with_op(GRAPH, "conv", attrs=kernel).with_attrs(origin="tensorflow"))
    assert found.attributes == (
        Change("conv", "kernel (kind)", "int32_vec", "int64_vec"),
        Change("conv", "pad", [1, 1, 1, 1], [0, 0, 0, 0]),
        Change("graph", "origin", "pytorch", "tensorflow"),
    )


def test_structure_and_subgraphs() -> None:
    assert GRAPH.root is not None
    children = GRAPH.root.children
    moved = replace(
        GRAPH.root, children=(children[0], replace(children[1], attrs={**children[1].attrs, **attrs(device="CPU")}))
    )
    found = diff(GRAPH, replace(with_output(GRAPH, "out", shape=(1, 4, 4, 5)), root=moved))
    assert Change("out", "shape", [1, 4, 4, 4], [1, 4, 4, 5]) in found.structure
    assert Change("sub_out", "subgraph", "sub_out", None) in found.structure
    assert Change("subgraph sub_conv", "device", "DPU", "CPU") in found.attributes


def test_another_input() -> None:
    found = diff(GRAPH, with_op(GRAPH, "down", inputs={"input": ("up",)}))
    assert found.structure == (Change("down", "argument input", ["conv"], ["up"]),)


def test_ops_of_one_graph_only_and_other_names() -> None:
    less = replace(GRAPH, ops=GRAPH.ops[:-1], root=None)
    found = diff(replace(GRAPH, root=None), less)
    assert (found.only_a, found.only_b) == (("out",), ())
    assert diff(less, replace(GRAPH, root=None)).only_b == ("out",)
    renamed = replace(GRAPH, root=None, ops=(*GRAPH.ops[:-1], replace(GRAPH.ops[-1], name="result")))
    found = diff(replace(GRAPH, root=None), renamed)
    assert found.equal and found.renamed == {"out": "result"}


@needs_shared
@pytest.mark.parametrize(
    ("a", "b", "kinds"),
    [
        ("v25_vck50008pe_tf2_custom_op", "v25_vck50008pe_tf2_custom_op", set()),
        ("v20_vck5000_prod_8pe_tf2_custom_op", "v25_vck50008pe_tf2_custom_op", {"attributes", "renamed"}),
    ],
)
def test_real_files(a: str, b: str, kinds: set[str]) -> None:
    data = diff(*(file.read(SHARED / f"goldens/xmodels/{name}.xmodel") for name in (a, b))).data()
    assert {kind for kind, value in data.items() if value and kind != "equal"} == kinds
    assert data["equal"] is not bool(kinds)
