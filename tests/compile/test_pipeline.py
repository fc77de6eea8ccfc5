from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from arch.targets import find, targets
from compile.pipeline import EMULATOR_ONLY, compile_graph, summarize, write_package
from runtime.emulator.program import Program
from tests.compile.build import Builder, uynet
from tests.compile.goldens import GOLDENS, cases, int8_tensors, int_graph, label, run
from tests.shared import needs_shared
from xmodel import file
from xmodel.errors import ArtifactError
from xmodel.graph import Graph
from xmodel.preprocess import Preprocessing

needs_xir = pytest.mark.skipif(shutil.which("xir") is None, reason="the xir tool (libxir-utils) is not installed")


def devices(graph: Graph) -> list[str]:
    assert graph.root is not None
    return [str(part.get("device")) for part in graph.root.children]


@pytest.mark.parametrize("target", targets()[:5], ids=lambda target: target.name)
def test_full_size_uynet_is_one_dpu_subgraph(target: object) -> None:
    chosen = next(t for t in targets() if t is target)
    graph = compile_graph(uynet(64, 224), chosen)
    assert devices(graph) == ["USER", "DPU", "CPU", "CPU"]
    downloads = [op.output for op in graph.ops if op.type == "download"]
    assert [(tensor.name, tensor.shape) for tensor in downloads] == [
        ("outc_fix", (1, 224, 224, 2)),
        ("linear_2_fix", (1, 1)),
    ]
    assert [op.name for op in graph.outputs] == ["outc_fix_", "prob"]
    assert graph.op("prob").get("device") == "CPU"
    assert graph.root is not None
    part = graph.root.children[1]
    assert part.get("dpu_name") == chosen.name
    assert part.get("dpu_fingerprint") == chosen.fingerprint
    assert part.get("reg_id_to_size") == {"REG_0": 31_833_856, "REG_2": 224 * 224 * 3, "REG_3": 224 * 224 * 2 + 1}
    assert graph.op("inc_c1").get("channel_augmentation") == 1


def test_summary_counts_and_explains() -> None:
    b = Builder()
    x = b.fix(b.pool("p", "maxpool2d", b.fix(b.conv("c", b.data((1, 28, 28, 3)), 8), 3), 14), 3)
    target = find("8PE")
    summary = summarize(compile_graph(b.graph(b.fix(b.conv("d", x, 4), 2)), target), target)
    assert (summary.target, summary.subgraphs, summary.dpu_subgraphs) == (target.name, 5, 2)
    assert summary.ops == {"CPU": 2, "DPU": 6, "USER": 1}
    assert [(op.name, op.type) for op in summary.cpu_ops] == [("p", "pool-fix"), ("d_fix_", "fix2float")]
    assert summary.cpu_ops[0].reason.startswith("max-pool 14x14: 8PE takes kernels 1, 2, 3, 7; use 2x2 then 7x7")
    first, second = 28 * 28 * 8 * (2 * 9 * 3 + 1), 2 * 2 * 4 * (2 * 9 * 8 + 1)
    assert summary.workload == first + second
    assert summary.parameter_bytes == 2 * 128 * (3 * 64 + 1)  # both fold 3 columns into 64 channels
    assert json.loads(json.dumps(summary.as_dict()))["cpu_ops"][0]["type"] == "pool-fix"


def test_graph_attributes_stay_and_say_what_the_file_is() -> None:
    source = Preprocessing(64, 64, scale=(2.0, 2.0, 2.0)).store(uynet(4, 64))
    graph = compile_graph(source, find("8PE"), "0123")
    assert Preprocessing.load(graph) == Preprocessing(64, 64, scale=(2.0, 2.0, 2.0))
    assert graph.get(EMULATOR_ONLY) is True
    assert isinstance(graph.get("unmask_version"), str)
    assert graph.get("files_md5sum") == {"UNet_int.xmodel": "0123"}
    assert graph.get("origin") == "pytorch"


def test_a_graph_without_fixes_is_refused() -> None:
    b = Builder()
    b.op("x", "data", {}, (1, 4, 4, 2), shape=[1, 4, 4, 2], data_type="FLOAT32")
    with pytest.raises(ArtifactError, match="holds no fix ops: it is not the output of a quantizer"):
        compile_graph(b.graph(b.unary("t", "tanh", "x")), find("8PE"))


def test_a_compiled_graph_is_refused() -> None:
    compiled = compile_graph(uynet(4, 64), find("8PE"))
    with pytest.raises(ArtifactError, match="holds integer ops: it is compiled already"):
        compile_graph(compiled, find("4PE"))


def test_the_package(tmp_path: Path) -> None:
    graph = compile_graph(uynet(4, 64), find("8PE"))
    assert write_package(graph, tmp_path, "net") == ["net.xmodel", "meta.json", "md5sum.txt"]
    assert json.loads((tmp_path / "meta.json").read_text()) == {
        "lib": "librt-engine.so",
        "filename": "net.xmodel",
        "kernel": ["subgraph_inc_c1"],
        "target": "DPUCVDX8H_ISA1_F2W2_8PE",
        "compiler": f"unmask {graph.get('unmask_version')}: for the emulator, no machine code",
    }
    data = (tmp_path / "net.xmodel").read_bytes()
    assert (tmp_path / "md5sum.txt").read_text() == hashlib.md5(data).hexdigest() + "\n"
    again = file.read(tmp_path / "net.xmodel")
    assert file.dumps(again) == data
    target = find("8PE")
    assert summarize(again, target) == summarize(graph, target)


def test_a_package_without_a_dpu_subgraph_is_refused(tmp_path: Path) -> None:
    b = Builder()
    graph = compile_graph(b.graph(b.fix(b.pool("p", "maxpool2d", b.data((1, 8, 8, 2)), 4), 5)), find("8PE"))
    with pytest.raises(ArtifactError, match="has no DPU subgraph"):
        write_package(graph, tmp_path, "net")
    assert not list(tmp_path.iterdir())


@needs_shared
@pytest.mark.parametrize("case", [c for c in cases() if c.parent.parent.name == "quantizer"], ids=label)
def test_compiled_goldens_give_the_quantizers_bytes(case: Path) -> None:
    graph = compile_graph(int_graph(case), find("8PE"))
    recorded = int8_tensors(case)
    tensors = run(graph, recorded)
    compared = [name for name in recorded if name in tensors and tensors[name].dtype == np.int8]
    assert len(compared) >= 16
    for name in compared:
        np.testing.assert_array_equal(tensors[name].reshape(-1), recorded[name].reshape(-1), name)


@needs_shared
def test_the_float_outputs_are_the_quantizers() -> None:
    case = GOLDENS / "quantizer/b_uynet_div8/expected"
    graph = compile_graph(int_graph(case), find("8PE"))
    inputs = Program(graph, "reference").inputs
    outputs = Program(graph, "reference").run({inputs[0].name: int8_tensors(case)[inputs[0].name]})
    with np.load(case / "quant_outputs_float.npz") as expected:
        mask, score = (outputs[op.output.name] for op in graph.outputs)
        np.testing.assert_array_equal(mask.transpose(0, 3, 1, 2), expected["out0"])
        np.testing.assert_allclose(score, expected["out1"], rtol=0, atol=1e-6)


@needs_xir
@pytest.mark.parametrize("command", ["dump_txt", "subgraph"])
def test_the_vendors_reader_accepts_the_file(command: str, tmp_path: Path) -> None:
    write_package(compile_graph(uynet(4, 64), find("8PE")), tmp_path, "net")
    extra = [str(tmp_path / "net.txt")] if command == "dump_txt" else []
    done = subprocess.run(
        ["xir", command, str(tmp_path / "net.xmodel"), *extra], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    if command == "subgraph":
        assert done.stdout.count("[device=DPU") == 1
        assert done.stdout.count("[device=CPU") == 2


@needs_shared
@needs_xir
@pytest.mark.parametrize("case", [c for c in cases() if c.parent.parent.name == "opzoo"], ids=label)
def test_the_vendors_reader_accepts_every_kind_of_op(case: Path, tmp_path: Path) -> None:
    path = tmp_path / "net.xmodel"
    file.write(path, compile_graph(int_graph(case), find("4PE")))
    done = subprocess.run(["xir", "subgraph", str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
