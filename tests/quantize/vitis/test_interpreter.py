"""Where the vendor's Python is looked for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from quantize.vitis.interpreter import find, probe
from tests.quantize.vitis import tool
from xmodel import conda
from xmodel.errors import UnavailableError, UsageError
from xmodel.python import candidates, environment, event


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No conda, nothing on the PATH."""
    for name in ("CONDA_PREFIX", "CONDA_EXE", "MAMBA_ROOT_PREFIX", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(conda, "ROOTS", (str(tmp_path / "conda"),))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def make_python(path: Path, body: str) -> Path:
    """An executable that runs `body` in place of a Python."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = tmp_path / "conda/envs"
    for name in ("vitis-ai-caffe", "vitis-ai-pytorch", "other"):
        make_python(root / name / "bin/python", "")
    make_python(tmp_path / "bin/python3", "")
    monkeypatch.setenv("CONDA_PREFIX", str(tmp_path / "active"))
    assert list(candidates()) == [
        Path(sys.executable),
        tmp_path / "active/bin/python",
        root / "vitis-ai-pytorch/bin/python",
        root / "vitis-ai-caffe/bin/python",
        tmp_path / "bin/python3",
    ]


def test_nothing_found_tells_what_was_asked(tmp_path: Path) -> None:
    make_python(tmp_path / "conda/envs/vitis-ai-pytorch/bin/python", "echo broken; exit 3")
    with pytest.raises(UnavailableError) as told:
        find()
    assert f"{sys.executable} (It has no pytorch_nndct)" in told.value.what
    assert "vitis-ai-pytorch/bin/python (It ended with exit code 3: broken)" in told.value.what
    assert "--backend unmask, which needs nothing" in told.value.hint


def test_the_first_that_has_the_tool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    env = tmp_path / "conda/envs/vitis-ai-pytorch"
    made = make_python(env / "bin/python", f'PYTHONPATH={tool.TOOL}:{tool.LIBRARIES} exec {sys.executable} "$@"')
    found = find()
    assert found.path == made and found.nndct == "3.5.0" and found.torch == "1.4.0"
    assert str(made) in str(found) and "pytorch_nndct 3.5.0" in str(found)
    (env / "conda-meta").mkdir()
    assert environment(made)["CONDA_PREFIX"] == str(env)
    assert environment(made)["PATH"].startswith(f"{made.parent}:")


@pytest.mark.parametrize("version", ["3.6", "3.7", "3.8"])
def test_old_pythons_answer(version: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    python = tool.old_python(version)
    with pytest.raises(UnavailableError, match="no pytorch_nndct"):
        probe(python)
    tool.use(monkeypatch, tmp_path, bare=True)
    found = find(python)
    assert found.python.startswith(version) and not found.cuda


def test_a_tool_that_does_not_import(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool.use(monkeypatch, tmp_path, fault="import", bare=True)
    with pytest.raises(UnavailableError, match=r"does not import: SystemExit: 1"):
        find(Path(sys.executable))


def test_a_path_that_is_no_program(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no program"):
        find(tmp_path / "nothing")


def test_a_python_that_hangs(tmp_path: Path) -> None:
    made = make_python(tmp_path / "python", "exec /bin/sleep 600")
    with pytest.raises(UnavailableError, match=r"said nothing for 0\.5 s"):
        probe(made, 0.5)


def test_events_are_only_the_workers_own() -> None:
    assert event('@unmask {"event": "calib"}') == {"event": "calib"}
    assert event("@unmask {") is None and event("@unmask []") is None and event("[VAIQ_NOTE]: x") is None
