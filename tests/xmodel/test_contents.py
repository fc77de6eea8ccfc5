from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.shared import SHARED, needs_shared
from tests.xmodel.graphs import FIX, compiled, with_op
from xmodel import file
from xmodel.contents import contents, fix_point, plain, tensor_bytes
from xmodel.graph import Attr, Graph, Op, Tensor, attrs, const

GRAPH = compiled()


def test_a_compiled_graph() -> None:
    found = contents(GRAPH)
    assert (found["name"], found["kind"], found["golden"]) == ("net", "compiled", None)
    assert found["inputs"] == [{"name": "input_t", "shape": [1, 4, 4, 2], "data_type": "XINT8", "fix_point": 5}]
    assert found["outputs"] == [{"name": "out_t", "shape": [1, 4, 4, 4], "data_type": "FLOAT32", "fix_point": None}]
    assert found["attributes"] == {"origin": "pytorch"}
    assert found["totals"] == {
        "ops": 6,
        "op_types": {"const-fix": 1, "conv2d-fix": 1, "data-fix": 1, "download": 1, "fix2float": 1, "upload": 1},
        "constants": 1,
        "parameters": 72,
        "constant_bytes": 72,
        "blob_bytes": 0,
        "tensor_bytes": 32 + 32 + 64 + 64 + 256,
        "largest_tensor_bytes": 256,
        "subgraphs": {"CPU": 1, "DPU": 1, "USER": 1},
        "workload": 0,
        "workload_on_arch": 0,
    }
    root = found["subgraphs"]
    assert [(node["device"], node["op_count"]) for node in root["children"]] == [("USER", 1), ("DPU", 4), ("CPU", 1)]
    assert root["children"][1]["children"][0]["ops"] == ["up", "w", "conv", "down"]
    conv = found["ops"][3]
    assert (conv["name"], conv["type"], conv["device"], conv["bytes"]) == ("conv", "conv2d-fix", "DPU", 64)
    assert conv["inputs"] == {"input": ["up"], "weights": ["w"]}
    assert conv["attributes"]["kernel"] == [3, 3] and "data" not in found["ops"][2]["attributes"]
    assert json.loads(json.dumps(found)) == found


def test_a_constants_position_is_that_of_its_fix() -> None:
    import numpy as np

    grid = Op("w_fix", "fix", {"input": ("w",)}, attrs(**FIX), Tensor("w_fix", (2,)))
    graph = Graph("g", (const("w", np.zeros(2, np.float32)), grid))
    found = contents(graph)
    assert found["kind"] == "quantized"
    assert [op["fix_point"] for op in found["ops"]] == [None, 5]
    assert fix_point(graph, graph.ops[0]) == fix_point(graph, graph.ops[1]) == 5
    assert found["totals"]["tensor_bytes"] == 0  # parameters on their grid are no tensor an image


def test_values_of_every_kind_are_told() -> None:
    assert plain({"b": (1, b"xy"), "a": 0.5}) == {"a": 0.5, "b": [1, {"bytes": 2, "md5": plain(b"xy")["md5"]}]}
    assert plain(b"xy")["md5"] == "3e44107170a520582ade522fa73c1d15"


@pytest.mark.parametrize(
    ("data_type", "size"), [("FLOAT32", 24), ("XINT8", 6), ("XINT4", 3), ("INT1", 1), ("UNKNOWN0", 0)]
)
def test_the_size_of_a_tensor(data_type: str, size: int) -> None:
    assert tensor_bytes(Tensor("t", (2, 3), data_type)) == size


def test_attributes_of_another_kind_do_no_harm() -> None:
    strange = attrs(device=5, dpu_fingerprint="x", workload="much", reg_id_to_parameter_value=[1])
    assert GRAPH.root is not None
    children = tuple(replace(child, attrs=strange) for child in GRAPH.root.children)
    graph = replace(GRAPH, root=replace(GRAPH.root, children=children))
    graph = with_op(graph, "w", attrs=attrs(data=7, shape="x", data_type=1))
    graph = with_op(graph, "conv", output=Tensor("c", (1,), "XINT8", {"fix_point": Attr("string", "5")}))
    found = contents(graph)
    assert found["ops"][3]["fix_point"] is None and found["ops"][2]["bytes"] == 0


@needs_shared
def test_a_real_file() -> None:
    found = contents(file.read(SHARED / "goldens/xmodels/v25_vck50008pe_tf2_custom_op.xmodel"))
    assert found["totals"]["subgraphs"] == {"CPU": 2, "DPU": 2, "USER": 1}
    assert found["totals"]["workload"] == 28_880_256 + 5_130
    assert (found["totals"]["constant_bytes"], found["totals"]["parameters"]) == (1024, 105_898)
    assert found["totals"]["blob_bytes"] > 100_000
