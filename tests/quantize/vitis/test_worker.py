"""The worker stays what an old interpreter can run, and runs there."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from quantize.capture import capture, export_program
from quantize.vitis.interpreter import WORKER
from quantize.vitis.job import VitisSettings, write_job
from quantize.vitis.modelcode import model_code
from tests.quantize.networks import images, small
from tests.quantize.vitis import tool
from xmodel.errors import UsageError
from xmodel.python import MARK, environment

ALLOWED = {"numpy", "torch", "pytorch_nndct"}


def test_it_is_python_3_6_and_imports_nothing_of_ours() -> None:
    tree = ast.parse(WORKER.read_text(encoding="utf-8"), feature_version=(3, 6))
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level and node.module
            imported.add(node.module.split(".")[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "importlib.import_module":
            imported.add(ast.literal_eval(node.args[0]).split(".")[0])
        assert not isinstance(node, ast.NamedExpr)
    assert imported - ALLOWED <= set(sys.stdlib_module_names)
    assert {"annotations", "dataclasses"}.isdisjoint(imported)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vitis") / "answers"
    tool.answers(folder)
    return folder


def make_job(folder: Path, **settings: Any) -> Path:
    folder.mkdir()
    program = export_program(small(), torch.from_numpy(images(1)))
    write_job(folder, model_code(capture(program, "Small")), (1, 3, 16, 16), tool.batches(), VitisSettings(**settings))
    return folder


def run(python: Path, step: str, folder: Path) -> tuple[int, dict[str, Any], str]:
    done = subprocess.run(
        [str(python), str(folder / "worker.py"), step, str(folder)], env=dict(environment(python)),
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    path = folder / f"{step}.json"
    return done.returncode, json.loads(path.read_text()) if path.exists() else {}, done.stdout + done.stderr


@pytest.mark.parametrize("version", ["3.6", "3.7", "3.8"])
def test_on_a_real_old_python(version: str, answers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tool.old_python(version)
    tool.use(monkeypatch, answers, bare=not tool.has_torch(python))
    folder = make_job(tmp_path / "job", fast_finetune=True, deploy_check=True)
    code, calib, said = run(python, "calib", folder)
    assert code == 0 and calib["ok"], said
    assert calib["images"] == 11 and calib["batches"] == 3
    assert tool.read(folder / "quantize_result/batches.json") == [4, 4, 3, 4, 4, 3]  # finetune, then calibration
    assert set(calib["files"]) == {"quant_info.json", "bias_corr.pth", "bias_corr.npz", "param.pth"}
    assert tool.read(folder / "quantize_result/quant_info.json")["fast_finetuned"]  # type: ignore[index]
    with np.load(folder / "quantize_result/bias_corr.npz") as arrays:
        wanted = json.loads((answers / "bias_corr.json").read_text())
        assert set(arrays.files) == set(wanted)
        assert all(np.array_equal(arrays[name], np.float32(values)) for name, values in wanted.items())
    code, test, said = run(python, "test", folder)
    assert code == 0 and test["ok"] and test["images"] == 4, said
    with np.load(folder / "quantize_result/outputs.npz") as arrays:
        assert np.array_equal(arrays["out0"], np.load(answers / "out0.npy"))
    code, export, said = run(python, "export", folder)
    assert code == 0 and export["xmodel"] == "Small_int.xmodel", said
    written = (folder / "quantize_result/Small_int.xmodel").read_bytes()
    assert written == (answers / "model.xmodel").read_bytes()
    assert (folder / "quantize_result/deploy_check_data_int/Small/shape.txt").is_file()
    events = [json.loads(line[len(MARK) :]) for line in said.splitlines() if line.startswith(MARK)]
    assert {"event": "export", "images": 0, "total": 1} in events


@pytest.mark.parametrize("version", ["3.6", "3.8"])
def test_the_calls_of_1_4_1(version: str, answers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tool.old_python(version)
    tool.use(monkeypatch, answers, version="1.4.1", bare=not tool.has_torch(python))
    folder = make_job(tmp_path / "job")
    for step in ("calib", "test", "export"):
        code, answer, said = run(python, step, folder)
        assert code == 0 and answer["ok"], said
    info: Any = tool.read(folder / "quantize_result/quant_info.json")
    new: Any = tool.read(answers / "quant_info.json")
    assert {key: [value] for key, value in info["param"].items()} == new["param"]  # flat in that version
    assert (folder / "quantize_result/Small_int.xmodel").is_file()


@pytest.mark.parametrize(
    ("settings", "lacks"),
    [({"equalize": False}, "quant_config_file"), ({"target": "DPUCVDX8H_ISA1_F2W4_4PE"}, "target")],
)
def test_an_option_that_the_version_lacks_is_refused(
    settings: dict[str, Any], lacks: str, answers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool.use(monkeypatch, answers, version="1.4.1", bare=True)
    code, answer, _ = run(Path(sys.executable), "calib", make_job(tmp_path / "job", **settings))
    assert code == 1
    assert answer["error"]["kind"] == "option" and lacks in answer["error"]["message"]


def test_with_this_torch(answers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool.use(monkeypatch, answers)
    folder = make_job(tmp_path / "job", bias_correction=False)
    code, answer, said = run(Path(sys.executable), "calib", folder)
    assert code == 0, said
    assert set(answer["files"]) == {"quant_info.json"}
    config: Any = tool.read(folder / "quant_config.json")
    assert config["include_bias_corr"] is False and config["include_cle"] is True
    assert run(Path(sys.executable), "test", folder)[0] == 0


def test_files_of_an_earlier_run_do_not_count(answers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_job(tmp_path / "job")
    tool.use(monkeypatch, answers, bare=True)
    for step in ("calib", "test", "export"):
        assert run(Path(sys.executable), step, folder)[0] == 0
    tool.use(monkeypatch, answers, fault="no_file", bare=True)
    code, answer, _ = run(Path(sys.executable), "export", folder)
    assert code == 1 and answer["error"] == {"kind": "missing", "message": "the tool did not write Small_int.xmodel"}
    tool.use(monkeypatch, answers, fault="no_calibration", bare=True)
    code, answer, _ = run(Path(sys.executable), "calib", folder)
    assert code == 1 and answer["error"]["message"] == "the tool did not write quant_info.json"


@pytest.mark.parametrize(
    ("fault", "step", "status"),
    [
        ("lose_bias", "test", 2),
        ("lose_quant_info", "test", 2),
        ("other_graph", "test", 0),
        ("other_graph", "export", 0),
    ],
)
def test_the_tools_exit_is_no_success(
    fault: str, step: str, status: int, answers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_job(tmp_path / "job")
    tool.use(monkeypatch, answers, bare=True)
    assert run(Path(sys.executable), "calib", folder)[0] == 0
    tool.use(monkeypatch, answers, fault=fault, bare=True)
    code, answer, _ = run(Path(sys.executable), step, folder)
    assert code == 1 and answer["error"]["kind"] == "exit" and answer["error"]["code"] == status


def test_calibration_on_a_gpu_exports_from_the_cpu(
    answers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool.use(monkeypatch, answers, bare=True)
    folder = make_job(tmp_path / "job", device="cuda")
    for step in ("calib", "test", "export"):
        code, answer, said = run(Path(sys.executable), step, folder)
        assert code == 0 and answer["ok"], said


def test_a_target_beside_a_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="ignores the target 'DPUCVDX8H'"):
        make_job(tmp_path / "job", equalize=False, target="DPUCVDX8H")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("job.json", "{", "job.json cannot be read"),
        ("job.json", '{"schema": 2}', "schema 2, not 1"),
    ],
)
def test_a_damaged_job(
    name: str, content: str, message: str, answers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool.use(monkeypatch, answers, bare=True)
    folder = make_job(tmp_path / "job")
    (folder / name).write_text(content)
    code, answer, _ = run(Path(sys.executable), "calib", folder)
    assert code == 1 and message in answer["error"]["message"]


def test_batches_that_do_not_fit(answers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool.use(monkeypatch, answers, bare=True)
    folder = make_job(tmp_path / "job")
    np.save(folder / "images/00001.npy", images(2))
    code, answer, _ = run(Path(sys.executable), "calib", folder)
    assert code == 1 and answer["error"]["message"].startswith("images/00001.npy holds ")
    assert answer["error"]["message"].endswith(" (2, 3, 16, 16)")


def test_usage() -> None:
    done = subprocess.run([sys.executable, str(WORKER), "nonsense"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 64 and done.stderr.startswith("usage:")
