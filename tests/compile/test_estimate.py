from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from arch.targets import Parallelism, find
from compile.estimate import Cost, augmented, cost, total
from compile.lower import lower
from tests.compile.build import uynet
from tests.compile.goldens import GOLDENS, facts
from tests.shared import needs_shared
from xmodel import file
from xmodel.graph import Graph as XGraph
from xmodel.graph import Op, Subgraph, Tensor, attrs

ARRAY = Parallelism(input_channels=64, output_channels=128, pixels=8)
FILES = sorted((GOLDENS / "xmodels").glob("*vck5000*.xmodel"))


@needs_shared
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_vendors_numbers_come_out(path: Path) -> None:
    graph = file.read(path)
    worked = 0
    for op in graph.ops:
        if "workload" in op.attrs:
            found = cost(graph, op, ARRAY)
            assert (found.workload, found.workload_on_arch) == (op.get("workload"), op.get("workload_on_arch")), op.name
            worked += 1
    assert worked >= 6
    assert graph.root is not None
    for part in graph.root.children:
        found = total(cost(graph, graph.op(name), ARRAY) for name in part.all_ops())
        assert (found.workload, found.workload_on_arch) == (part.get("workload"), part.get("workload_on_arch"))
        if part.get("device") == "DPU":
            assert found.parameter_bytes == part.get("reg_id_to_size")["REG_0"]
        for layer in part.children:
            found = total(cost(graph, graph.op(name), ARRAY) for name in layer.ops)
            assert (found.workload, found.workload_on_arch) == (layer.get("workload"), layer.get("workload_on_arch"))


@needs_shared
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_first_layers_are_augmented_where_the_vendors_are(path: Path) -> None:
    graph = file.read(path)
    for op in graph.ops:
        if op.type == "conv2d-fix":
            plain = replace(op, attrs={k: v for k, v in op.attrs.items() if k != "channel_augmentation"})
            assert augmented(graph, plain, ARRAY) == ("channel_augmentation" in op.attrs)


@needs_shared
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_recorded_facts_come_out(path: Path) -> None:
    """Every node of the recorded tree: subgraphs, super-layers, bytes of parameters."""
    graph = file.read(path)
    assert graph.root is not None
    pairs: list[tuple[Any, Subgraph]] = [(facts(path.stem)["subgraph_tree"], graph.root)]
    checked = 0
    while pairs:
        node, part = pairs.pop()
        assert node["name"] == part.name
        found = total(cost(graph, graph.op(name), ARRAY) for name in part.all_ops())
        assert (found.workload, found.workload_on_arch) == (node["workload"], node["workload_on_arch"]), part.name
        if node.get("device") == "DPU":
            assert found.parameter_bytes == node["reg_id_to_size"]["REG_0"]
        pairs += zip(node.get("children", ()), part.children, strict=True)
        checked += 1
    assert checked >= 15


def test_uynet_has_the_published_work() -> None:
    graph = lower(uynet(64, 224))
    found = total(cost(graph, op, find("8PE").parallel) for op in graph.ops)
    assert found == Cost(workload=73_800_663_553, workload_on_arch=95_959_336_960, parameter_bytes=31_833_856)


def single(kind: str, source: tuple[int, ...], output: tuple[int, ...], **values: object) -> Cost:
    data = Op("x", "upload" if values.pop("first", False) else "conv2d-fix", {}, {}, Tensor("x", source))
    op = Op("y", kind, {"input": ("x",)}, attrs(**values), Tensor("y", output))
    return cost(XGraph("g", (data, op)), op, ARRAY)


def test_formulas_by_hand() -> None:
    dense = single("conv2d-fix", (1, 2, 2, 64), (1, 1, 1, 10), kernel=[2, 2])
    assert dense == Cost(10 * (2 * 256 + 1), 8 * 128 * (2 * 256 + 1), 128 * 257)
    first = single("conv2d-fix", (1, 28, 28, 1), (1, 22, 22, 32), kernel=[7, 7], first=True)
    assert first == Cost(1_533_312, 60_622_848, 7 * 64 * 128 + 128)
    up = single("transposed-conv2d-fix", (1, 62, 54, 64), (1, 248, 216, 64), kernel=[4, 4], stride=[4, 4])
    assert up == Cost(442_257_408, 913_047_552, 128 * (16 * 64 + 1))
    pool = single("pool-fix", (1, 16, 16, 32), (1, 8, 8, 32), kernel=[2, 2])
    assert pool == Cost(8192, 16384, 0)
    assert single("eltwise-fix", (1, 8, 8, 4), (1, 8, 8, 4)) == Cost()
