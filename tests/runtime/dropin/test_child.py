"""Processes that an application starts afresh run what it runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from runtime.dropin import child, session
from tests.runtime.dropin import graphs
from tests.runtime.dropin.conftest import Names

ROOT = Path(__file__).resolve().parents[3]
APP = """
import multiprocessing, sys
import deploy

def dims(path):
    import vart, xir
    (sub,) = [s for s in xir.Graph.deserialize(path).get_root_subgraph().toposort_child_subgraph()
              if s.get_attr("device") == "DPU"]
    return deploy.NAME, vart.Runner.create_runner(sub, "run").get_input_tensors()[0].dims

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(dims, sys.argv[1:]))
"""


def test_a_spawned_child_compiles_a_quantizers_file(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "deploy.py").write_text("NAME = 'its own'")
    model = graphs.write(tmp_path, graphs.detector())
    command = [sys.executable, "-m", "runtime.dropin", str(tmp_path / "app.py"), str(model)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "[('its own', [8, 8, 8, 3])]\n"), done.stderr
    assert "it is compiled here, for this run" in done.stderr


def test_a_session_is_inherited_with_the_kernels(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    own = ModuleType("deploy")
    own.__file__ = "/somewhere/deploy.py"
    monkeypatch.setitem(sys.modules, "deploy", own)
    monkeypatch.setattr(session, "_current", [])
    child.announce("reference")
    path = list(sys.path)
    now = session.current()
    assert now.kernels == "reference" and now.compile is not None and session.current() is now
    assert sys.modules["deploy"] is own and sys.path == path and vars(np)["float"] is float


@pytest.mark.parametrize("value", [None, "", "fast"])
def test_without_a_parent_a_session_is_plain(value: str | None, names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_current", [])
    if value is not None:
        monkeypatch.setenv(child.VARIABLE, value)
    assert session.current() == session.Session(lock=session.current().lock)
