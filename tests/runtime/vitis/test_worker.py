"""The worker stays what an old interpreter can run, obeys its lines, and never outlives the other side."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.vitis.interpreter import WORKER, find, probe, release
from runtime.vitis.memory import Memory
from tests.runtime.vitis import tool
from tests.runtime.vitis.conftest import Recorded
from tests.xmodel.test_process import wait_gone
from xmodel.errors import UnavailableError, UsageError

HERE = Path(sys.executable)
ROOT = Path(__file__).resolve().parents[3]


def test_it_is_python_3_6_and_imports_nothing_of_ours() -> None:
    tree = ast.parse(WORKER.read_text(encoding="utf-8"), feature_version=(3, 6))
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level and node.module
            imported.add(node.module.split(".")[0])
        assert not isinstance(node, ast.NamedExpr)
    assert imported - {"numpy"} <= set(sys.stdlib_module_names)
    assert {"annotations", "dataclasses"}.isdisjoint(imported)


@pytest.mark.parametrize("version", ["3.6", "3.7", "3.8"])
def test_old_pythons_answer(version: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    python = tool.old_python(version)
    with pytest.raises(UnavailableError, match=r"It has no (numpy and )?xir and vart\."):
        probe(python)
    tool.use(monkeypatch, tmp_path)
    assert find(python).python.startswith(version)


def test_modules_that_do_not_import(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool.use(monkeypatch, tmp_path, "import")
    with pytest.raises(UnavailableError, match=r"do not import: ImportError: librt-engine\.so: cannot open shared"):
        find(HERE)
    with pytest.raises(UsageError, match="There is no program"):
        find(tmp_path / "nothing")


def test_the_release_is_that_of_the_packages() -> None:
    assert release(["librt-engine.so", "libxir.so.2.5.0", "libvart-runner.so.2.5.0"]) == "2.5.0"
    assert release(["vart-3.0.0-h6a2_1.json", "libxir.so.2.5.0"]) == "3.0.0"
    assert release(["libxir.so", "libxir.so.2", "libvart-cpu-runner.so.2.5.0"]) is None


class Raw:
    """A worker without our side of it: the lines alone."""

    def __init__(self, *timing: float, memory: int = 0) -> None:
        command = [sys.executable, str(WORKER), "serve", str(memory), *map(str, timing)]
        self.process = subprocess.Popen(
            command, pass_fds=(memory,) if memory else (),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip

    def send(self, **message: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message) + "\n")

    def ask(self, **message: Any) -> dict[str, Any]:
        self.send(**message)
        assert self.process.stdout is not None
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def end(self) -> tuple[int, str]:
        """(exit code, what it said besides) after the end of stdin."""
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, said


@pytest.fixture
def memory() -> Iterator[Memory]:
    made = Memory()
    made.resize(1 << 20)
    yield made
    made.close()


def test_it_obeys_and_ends_with_its_stdin(recorded: Recorded, monkeypatch: pytest.MonkeyPatch, memory: Memory) -> None:
    tool.use(monkeypatch, recorded.answers)
    worker = Raw(60, 60, 60, memory=memory.descriptor)
    assert worker.ask(do="beat") == {"said": "beat"}
    opened = worker.ask(do="open", model=str(recorded.path), parts=["subgraph_c", "subgraph_d"], runners=2)
    assert opened["said"] == "opened" and [len(part["outputs"]) for part in opened["parts"]] == [1, 1]
    (tensor,) = opened["parts"][0]["inputs"]
    assert tensor == {"name": recorded.x, "dims": [8, 8, 8, 3], "fix_point": recorded.graph.inputs[0].output.fix_point}
    places = [
        {side: {t["name"]: 4096 for t in part[side]} for side in ("inputs", "outputs")} for part in opened["parts"]
    ]
    assert worker.ask(do="map", size=1 << 20, slots=2, stride=1 << 17, parts=places) == {"said": "mapped"}
    assert worker.ask(do="run", job=7, runner=1, slot=1, part=0) == {"said": "done", "job": 7}
    failed = worker.ask(do="run", job=8, runner=2, slot=0, part=0)
    assert failed == {"said": "failed", "job": 8, "why": "IndexError: list index out of range"}
    lost = worker.ask(do="open", model=str(recorded.path), parts=["subgraph_dw"], runners=1)
    assert lost["why"] == "CallError: the vendor's xir finds no DPU subgraph 'subgraph_dw' in the file"
    code, said = worker.end()
    assert code == 0 and said.endswith("unmask worker: the other side has ended\n")
    assert "job 0 of a runner that prints" in said  # and not among the answers


def test_silence_ends_it() -> None:
    code, said = (worker := Raw(60, 60, 0.2)).process.wait(60), worker.process.stderr
    assert code == 0 and said is not None and said.read() == "unmask worker: nothing was heard for 0.2 s\n"
    worker.end()


def test_a_job_that_never_returns_ends_it_though_nobody_is_left(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch, memory: Memory
) -> None:
    tool.use(monkeypatch, recorded.answers, "hang")
    worker = Raw(60, 0.5, 60, memory=memory.descriptor)
    opened = worker.ask(do="open", model=str(recorded.path), parts=["subgraph_c"], runners=1)
    places = [{side: {t["name"]: 0 for t in opened["parts"][0][side]} for side in ("inputs", "outputs")}]
    worker.send(do="map", size=1 << 20, slots=1, stride=1 << 17, parts=places)
    worker.send(do="run", job=0, runner=0, slot=0, part=0)
    assert worker.end()[0] == -signal.SIGALRM


def test_it_ends_with_a_parent_that_is_killed(monkeypatch: pytest.MonkeyPatch, recorded: Recorded) -> None:
    tool.use(monkeypatch, recorded.answers)
    code = (
        "import sys, time; from pathlib import Path; from runtime.vitis.memory import Memory\n"
        "from runtime.vitis.process import Limits, Worker\n"
        "worker = Worker(Path(sys.executable), Memory().descriptor, Limits()); worker.call(60, do='open', parts=[], "
        f"runners=1, model={str(recorded.path)!r})\n"
        "print(worker.pid, flush=True); time.sleep(600)"
    )
    path = f"{ROOT}:{os.environ['PYTHONPATH']}"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONPATH": path.replace(str(tool.LIBRARIES), "")},
        stdout=subprocess.PIPE, text=True,
    ) as parent:  # fmt: skip
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.kill()
    assert wait_gone(worker)


def test_usage() -> None:
    done = subprocess.run([sys.executable, str(WORKER), "serve"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 64 and done.stderr.startswith("usage:")
