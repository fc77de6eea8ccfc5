from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from arch.targets import find
from compile.pipeline import compile_graph
from compile.vitis.backend import LOG, VitisJob, VitisResult, compile_with_vitis
from compile.vitis.find import Compiler
from tests.compile.vitis.conftest import STANDIN, compiled, network, program
from tests.xmodel.test_process import wait_gone
from xmodel import file
from xmodel.errors import ArtifactError, UnavailableError
from xmodel.graph import Attr, Graph
from xmodel.preprocess import Preprocessing

pytestmark = pytest.mark.usefixtures("answer")
Answer = Callable[[Graph], None]


def run(
    tmp_path: Path, fault: str = "", target: str = "4PE", silence: float = 60.0, said: list[str] | None = None
) -> VitisResult:
    os.environ["STANDIN_FAULT"] = fault
    (tmp_path / "out").mkdir(exist_ok=True)
    file.write(tmp_path / "Net_int.xmodel", network())
    compiler = Compiler(program(tmp_path / "bin/vai_c_xir"))
    job = VitisJob(tmp_path / "Net_int.xmodel", find(target), tmp_path / "out", "net", {"mode": "debug"}, silence)
    try:
        return compile_with_vitis(job, compiler, (said if said is not None else []).append)
    finally:
        del os.environ["STANDIN_FAULT"]
        assert not list((tmp_path / "out").glob(".vitis-*"))  # nothing is left behind


@pytest.mark.parametrize("fault", ["", "glog"])
def test_a_good_compilation_is_checked_and_named_as_ours(fault: str, tmp_path: Path) -> None:
    said: list[str] = []
    found = run(tmp_path, fault, said=said)
    out = tmp_path / "out"
    assert found.files == ["net.xmodel", "meta.json", "md5sum.txt", LOG]
    assert json.loads((out / "meta.json").read_text())["target"] == "DPUv4E"
    assert (out / "md5sum.txt").read_text().strip() == hashlib.md5((out / "net.xmodel").read_bytes()).hexdigest()
    assert [line.partition(": ")[2] for line in said] == [
        "Target architecture: DPUCVDX8H_ISA1_F2W4_4PE",
        "Graph name: Net, with op num: 12",
        "Begin to compile...",
        "Total device subgraph number 4, DPU subgraph number 1",
        "Compile done.",
    ]
    log = (out / LOG).read_text()
    assert "-n net -e" in log and "VITIS_AI Compilation" in log and "== exit code 0" in log


def test_the_preprocessing_survives_a_compiler_that_drops_it(tmp_path: Path) -> None:
    found = run(tmp_path)
    again = file.read(tmp_path / "out/net.xmodel")
    assert Preprocessing.load(again) == Preprocessing(8, 8) == Preprocessing.load(found.graph)
    assert again.root is not None
    assert [part.get("mc_code") for part in again.root.children if part.get("device") == "DPU"] == [b"\1\2\3"]
    assert "preprocessing was added" in found.notes[0]


def test_a_file_that_lost_nothing_keeps_its_bytes(tmp_path: Path, answer: Answer) -> None:
    answer(Preprocessing(8, 8).store(compiled()))
    assert run(tmp_path).notes == ()
    assert (tmp_path / "out/net.xmodel").read_bytes() == (tmp_path / "answer.xmodel").read_bytes()


def test_a_missing_meta_file_is_made(tmp_path: Path) -> None:
    assert "no meta.json" in run(tmp_path, "no meta").notes[-1]
    assert json.loads((tmp_path / "out/meta.json").read_text()) == {
        "lib": "librt-engine.so",
        "filename": "net.xmodel",
        "kernel": ["subgraph_c"],
        "target": "DPUCVDX8H_ISA1_F2W4_4PE",
    }


def test_done_without_a_dpu_subgraph_is_no_success(
    tmp_path: Path, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_COUNT", "0")
    graph = compiled()
    answer(graph.with_ops(graph.ops))  # without its subgraphs
    with pytest.raises(ArtifactError, match="nothing runs on the DPU: 0 DPU subgraphs") as told:
        run(tmp_path, target="8PE")
    assert "dw: depthwise convolution 3x3: 8PE has no depthwise engine" in told.value.hint
    assert not (tmp_path / "out/net.xmodel").exists()


@pytest.mark.parametrize(
    ("change", "count", "target", "message"),
    [
        ({}, "2", "4PE", "counts 2 DPU subgraphs, its file holds 1"),
        ({}, "1", "6PE_aieDWC", "has the fingerprint 0x05010000001e082f; DPUCVDX8H_ISA1_F2W4_6PE_aieDWC has 0x0501"),
        ({"dpu_fingerprint": None}, "1", "4PE", "has the fingerprint none"),
        ({"mc_code": Attr.of(b"")}, "1", "4PE", "'subgraph_c' holds no machine code"),
    ],
)
def test_a_result_that_is_not_what_it_claims(
    change: dict[str, Attr | None], count: str, target: str, message: str,
    tmp_path: Path, answer: Answer, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    answer(compiled(dpu=change))
    monkeypatch.setenv("STANDIN_COUNT", count)
    with pytest.raises(ArtifactError, match=message):
        run(tmp_path, target=target)


def test_a_wrong_digest_and_a_cut_file(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"and md5sum\.txt says 0000"):
        run(tmp_path, "md5")
    with pytest.raises(ArtifactError):
        run(tmp_path, "cut")


def test_an_abort_is_told_with_its_code_and_the_likely_op(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"\[XCOM_PM_FAIL\] The pass failed! step 3 A pass of the compiler") as told:
        run(tmp_path, "abort", target="8PE")
    assert "likely 'dw' (depthwise-conv2d): depthwise convolution 3x3: 8PE has no depthwise engine" in told.value.what
    assert "is empty" in told.value.hint and "unmask inspect" in told.value.hint
    assert told.value.where.endswith(LOG)


def test_the_compilers_own_log_names_the_op(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"The log names op 'dw' \(depthwise-conv2d\)") as told:
        run(tmp_path, "named")
    assert "is copied below ours" in told.value.hint
    assert "visiting dw" in (tmp_path / "out" / LOG).read_text()


def test_a_target_that_the_release_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="does not know DPUCVDX8H_ISA1_F2W4_4PE") as told:
        run(tmp_path, "target")
    assert "belongs to Vitis AI 2.5, 3.0" in told.value.hint


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ("lies", ArtifactError, r"\[XCOM_WHAT_IS_THIS\] Nobody knows\. The code is in no list"),
        ("nothing", UnavailableError, r"ended with exit code 0 and wrote no net\.xmodel"),
        ("exit", UnavailableError, "ended with exit code 3"),
        ("crash", UnavailableError, "was ended by signal 11"),
    ],
)
def test_exit_codes_are_not_believed(fault: str, error: type[Exception], message: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=message):
        run(tmp_path, fault)


def test_silence_ends_a_compiler_that_hangs(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="said nothing for 1 s"):
        run(tmp_path, "hang", silence=1.0)
    assert wait_gone(int((tmp_path / "logs/pid").read_text()))


def test_ctrl_c_ends_the_compiler_and_leaves_no_folder(tmp_path: Path) -> None:
    file.write(tmp_path / "Net_int.xmodel", network())
    compiler = program(tmp_path / "bin/vai_c_xir")
    code = "from deploy.command import main; main()"
    command = [sys.executable, "-c", code, "compile", str(tmp_path / "Net_int.xmodel"), "-o", str(tmp_path / "out")]
    process = subprocess.Popen(
        [*command, "--vitis-compiler", str(compiler)],
        env={**os.environ, "STANDIN_FAULT": "hang", "PYTHONPATH": os.getcwd()},  # noqa: PTH109
        stderr=subprocess.PIPE,
    )
    pid = tmp_path / "logs/pid"
    deadline = time.monotonic() + 60
    while (not pid.is_file() or not pid.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and b"Interrupted" in error
    assert wait_gone(int(pid.read_text()))
    assert not list((tmp_path / "out").glob(".vitis-*"))


def test_a_container_does_the_same(tmp_path: Path) -> None:
    inside = f'while [ "$1" != -c ]; do shift; done; shift 3; exec {sys.executable} {STANDIN} "$@"'
    compiler = Compiler(program(tmp_path / "bin/docker", inside), "xilinx/vitis-ai-pytorch-cpu:3.0")
    (tmp_path / "out").mkdir()
    file.write(tmp_path / "Net_int.xmodel", network())
    job = VitisJob(tmp_path / "Net_int.xmodel", find("4PE"), tmp_path / "out", "net", {})
    assert compile_with_vitis(job, compiler, print).files[0] == "net.xmodel"


def test_our_own_file_is_not_mistaken_for_the_vendors(tmp_path: Path, answer: Answer) -> None:
    answer(compile_graph(network(), find("4PE")))
    with pytest.raises(ArtifactError, match="holds no machine code"):
        run(tmp_path)
