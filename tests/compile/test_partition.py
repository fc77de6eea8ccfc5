from __future__ import annotations

import numpy as np
import pytest

from arch.targets import find
from compile.edit import int8_tensor
from compile.partition import devices, group, partition
from compile.pipeline import compile_graph
from tests.compile.goldens import GOLDENS
from tests.shared import needs_shared
from xmodel import file
from xmodel.check import check
from xmodel.graph import Graph, Op, Subgraph, attrs, const

SHAPE = (1, 4, 4, 2)
TARGET = find("8PE")


def data(name: str = "x") -> Op:
    return Op(name, "data-fix", {}, attrs(shape=list(SHAPE), data_type="XINT8"), int8_tensor(name, SHAPE, 4))


def pool(name: str, source: str) -> Op:
    values = attrs(kernel=[1, 1], stride=[1, 1], pad=[0, 0, 0, 0], type="MAX")
    return Op(name, "pool-fix", {"input": (source,)}, values, int8_tensor(f"{name}_fix", SHAPE, 4))


def add(name: str, *sources: str) -> Op:
    values = attrs(type="ADD", nonlinear="NONE")
    return Op(name, "eltwise-fix", {"input": sources}, values, int8_tensor(f"{name}_fix", SHAPE, 4))


def parts(graph: Graph) -> list[tuple[str, list[str]]]:
    assert graph.root is not None
    return [(str(part.get("device")), list(part.all_ops())) for part in graph.root.children]


def test_transfers_stand_at_the_border() -> None:
    graph = Graph("g", (data(), pool("a", "x"), pool("b", "a"), pool("c", "b"), pool("d", "c")))
    made = check(partition(graph, TARGET, {"c": "it says so"}))
    assert parts(made) == [
        ("USER", ["x"]),
        ("DPU", ["x_upload_0", "a", "b", "b_download_0"]),
        ("CPU", ["c"]),
        ("DPU", ["c_upload_0", "d"]),
    ]
    assert made.op("b").output.name == "b_fix_download_0"
    assert made.op("b_download_0").output.name == "b_fix"
    assert made.op("c").inputs["input"] == ("b_download_0",)
    assert made.op("d").inputs["input"] == ("c_upload_0",)
    assert made.op("c_upload_0").output.name == "c_fix_upload_0"
    assert made.op("c_upload_0").output.fix_point == 4
    assert [made.op(name).get("device") for name in ("x", "a", "c", "c_upload_0")] == ["USER", "DPU", "CPU", "DPU"]


def test_a_detour_over_the_cpu_splits_what_waits_for_it() -> None:
    """x > a > (c on the CPU) > join, and a > join: the join must not be in a's subgraph."""
    graph = Graph("g", (data(), pool("a", "x"), pool("c", "a"), pool("e", "a"), add("join", "e", "c")))
    made = check(partition(graph, TARGET, {"c": "it says so"}))
    assert parts(made) == [
        ("USER", ["x"]),
        ("DPU", ["x_upload_0", "a", "a_download_0", "e", "e_download_0"]),
        ("CPU", ["c"]),
        ("DPU", ["e_upload_0", "c_upload_0", "join"]),
    ]


def test_branches_that_share_an_upload_are_one_subgraph() -> None:
    graph = Graph("g", (data(), pool("a", "x"), pool("b", "x")))
    assert parts(partition(graph, TARGET, {}))[1] == ("DPU", ["x_upload_0", "a", "b"])


def test_unconnected_networks_are_subgraphs_of_their_own() -> None:
    graph = Graph("g", (data("x"), data("y"), pool("a", "x"), pool("b", "y")))
    assert [device for device, _ in parts(partition(graph, TARGET, {}))] == ["USER", "USER", "DPU", "DPU"]


def test_a_constant_is_copied_to_every_subgraph_that_reads_it() -> None:
    k = const("k", np.ones(SHAPE, np.int8), "const-fix")
    k = Op(k.name, k.type, {}, k.attrs, int8_tensor("k_fix", SHAPE, 4))
    graph = Graph("g", (k, data(), add("a", "x", "k"), pool("c", "a"), add("b", "c", "k")))
    made = check(partition(graph, TARGET, {"c": "it says so"}))
    assert parts(made)[1] == ("DPU", ["x_upload_0", "k", "a", "a_download_0"])
    assert parts(made)[3] == ("DPU", ["c_upload_0", "k_copy_3", "b"])
    assert made.op("k_copy_3").array().tobytes() == made.op("k").array().tobytes()


def test_a_dpu_subgraph_without_work_goes_to_the_cpu() -> None:
    values = attrs(shape=list(SHAPE))
    move = Op("r", "reshape-fix", {"input": ("c",)}, values, int8_tensor("r_fix", SHAPE, 4))
    graph = Graph("g", (data(), pool("a", "x"), pool("c", "a"), move))
    assert devices(graph, {"c": "it says so"}) == {"x": "USER", "a": "DPU", "c": "CPU", "r": "CPU"}
    assert devices(graph, {})["r"] == "DPU"


@pytest.mark.parametrize("seed", range(30))
def test_any_placement_gives_an_acyclic_cover(seed: int) -> None:
    random = np.random.default_rng(seed)
    ops = [data("n0")]
    for i in range(1, 40):
        sources = [f"n{j}" for j in random.integers(0, i, 1 + int(random.random() < 0.5))]
        ops.append(add(f"n{i}", *sources))
    on_cpu = {f"n{i}": "chosen" for i in range(1, 40) if random.random() < 0.3}
    made = check(partition(Graph("g", tuple(ops)), TARGET, on_cpu))
    assert made.root is not None
    owner = {name: n for n, part in enumerate(made.root.children) for name in part.all_ops()}
    assert set(owner) == {op.name for op in made.ops}
    for op in made.ops:
        assert all(owner[name] <= owner[op.name] for name in op.input_names)
    device = [part.get("device") for part in made.root.children]
    for op in made.ops:
        crosses = [name for name in op.input_names if owner[name] != owner[op.name]]
        if device[owner[op.name]] == "DPU":
            assert op.type == "upload" or not crosses
        assert all(made.op(n).type == "download" for n in crosses if device[owner[n]] == "DPU")


def test_groups_come_in_order() -> None:
    graph = Graph("g", (data(), pool("a", "x"), pool("c", "a"), pool("d", "c")))
    found = group(graph, {"x": "USER", "a": "DPU", "c": "CPU", "d": "DPU"})
    assert [(part.device, part.ops) for part in found] == [
        ("USER", ("x",)), ("DPU", ("a",)), ("CPU", ("c",)), ("DPU", ("d",)),
    ]  # fmt: skip


def dpu(graph: Graph) -> list[Subgraph]:
    assert graph.root is not None
    return [part for part in graph.root.children if part.get("device") == "DPU"]


@needs_shared
@pytest.mark.parametrize("variant", ["8PE", "4PE"])
def test_a_real_network_is_cut_as_the_vendor_cuts_it(variant: str) -> None:
    ours = compile_graph(file.read(GOLDENS / "xmodels/v25_quantized_voxelnet_int.xmodel"), find(variant))
    theirs = file.read(GOLDENS / f"xmodels/v25_vck5000{variant.lower()}_pointpillars_custom_op.xmodel")
    assert ours.root is not None and theirs.root is not None
    assert [p.get("device") for p in ours.root.children] == [p.get("device") for p in theirs.root.children]
    for key in ("workload", "workload_on_arch"):
        assert ours.root.attrs[key] == theirs.root.attrs[key]
    for mine, real in zip(dpu(ours), dpu(theirs), strict=True):
        assert set(mine.all_ops()) == set(real.all_ops())
        layers = [{frozenset(c.ops): (c.name, dict(c.attrs)) for c in part.children} for part in (mine, real)]
        for ops, (name, values) in layers[1].items():
            code = {"mc_code", "mc_code_preload"}
            assert layers[0][ops] == (name, {k: v for k, v in values.items() if k not in code})
        for key in (
            "dpu_name",
            "dpu_fingerprint",
            "runner",
            "debug_mode",
            "if_prefetch",
            "workload",
            "workload_on_arch",
        ):
            assert mine.attrs[key] == real.attrs[key], key
        assert mine.get("reg_id_to_size").items() <= real.get("reg_id_to_size").items()
        for key in ("reg_id_to_context_type", "reg_id_to_context_type_v2", "reg_id_to_hw_segment"):
            assert mine.attrs[key].kind == real.attrs[key].kind
            assert mine.get(key).items() <= real.get(key).items()
        for name in real.all_ops():
            assert (ours.op(name).output.name, ours.op(name).inputs) == (
                theirs.op(name).output.name,
                theirs.op(name).inputs,
            )
            assert ours.op(name).get("workload") == theirs.op(name).get("workload")
