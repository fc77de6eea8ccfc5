from __future__ import annotations

import os
from pathlib import Path

import pytest

from compile.vitis.find import Compiler, candidates, find
from tests.compile.vitis.conftest import program
from xmodel.errors import UnavailableError, UsageError

IMAGES = 'case "$2" in ls) echo xilinx/vitis-ai-cpu:2.5; echo debian:12; echo xilinx/vitis-ai-pytorch-cpu:3.0;; esac'


def test_the_order_of_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = program(tmp_path / "bin/vai_c_xir")
    env = program(tmp_path / "conda/envs/vitis-ai-pytorch/bin/vai_c_xir")
    program(tmp_path / "conda/envs/other/bin/vai_c_xir")
    active = program(tmp_path / "active/bin/vai_c_xir")
    docker = program(tmp_path / "bin/docker", IMAGES)
    monkeypatch.setenv("CONDA_PREFIX", str(tmp_path / "active"))
    assert list(candidates()) == [
        Compiler(here),
        Compiler(active),
        Compiler(env),
        Compiler(docker, "xilinx/vitis-ai-pytorch-cpu:3.0"),
        Compiler(docker, "xilinx/vitis-ai-cpu:2.5"),
    ]
    assert find() == Compiler(here)


def test_nothing_found_tells_where_was_looked(tmp_path: Path) -> None:
    program(tmp_path / "bin/docker", "echo no daemon >&2; exit 1")
    with pytest.raises(UnavailableError, match=r"\(vai_c_xir\) was not found: not on the PATH") as told:
        find()
    assert "--vitis-compiler PATH (or docker:IMAGE)" in told.value.hint and "--backend unmask" in told.value.hint


def test_a_compiler_that_was_named(tmp_path: Path) -> None:
    path = program(tmp_path / "tools/vai_c_xir")
    docker = program(tmp_path / "bin/docker", "exit 1")
    assert find(str(path)) == find(str(path.parent)) == Compiler(path)
    assert find("docker:mine:1.0") == Compiler(docker, "mine:1.0")
    for wrong in (str(tmp_path / "nothing"), "docker:", "docker:--privileged", "podman:x"):
        with pytest.raises(UsageError):
            find(wrong)


def test_a_conda_environment_is_entered(tmp_path: Path) -> None:
    path = program(tmp_path / "conda/envs/vitis-ai-pytorch/bin/vai_c_xir")
    (path.parents[1] / "conda-meta").mkdir()
    found = Compiler(path).environment()
    assert found["CONDA_PREFIX"] == str(path.parents[1])
    assert found["PATH"].split(os.pathsep)[0] == str(path.parent)


def test_a_container_sees_the_folder_alone(tmp_path: Path) -> None:
    compiler = Compiler(tmp_path / "bin/docker", "image:1")
    command = compiler.command(["-x", "a b"], tmp_path, "unmask-1")
    assert command[:4] == [str(tmp_path / "bin/docker"), "run", "--rm", "--init"]
    assert command[command.index("--name") + 1] == "unmask-1" and command[command.index("--network") + 1] == "none"
    volumes = [command[i + 1] for i, word in enumerate(command) if word == "--volume"]
    assert volumes == [f"{tmp_path}:{tmp_path}", f"{tmp_path}/tmp:/tmp"]
    assert command[-3:] == ["vai_c_xir", "-x", "a b"]
    assert str(compiler) == f"vai_c_xir in the image image:1 ({tmp_path}/bin/docker)"
    log = tmp_path / "asked"
    program(tmp_path / "bin/docker", f'echo "$@" > {log}')
    compiler.remove("unmask-1")
    assert log.read_text() == "rm --force unmask-1\n"
