"""An application finds what it would find under Python, and its end is the command's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy import application
from tests.runtime.dropin import graphs
from tests.runtime.dropin.conftest import Run
from xmodel.errors import ArtifactError, UsageError
from xmodel.graph import Graph

ROOT = Path(__file__).resolve().parents[3]


def _app(folder: Path, text: str, name: str = "app.py") -> Path:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def test_the_interpreter_is_as_python_makes_it(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link = tmp_path / "link.py"
    link.symlink_to(_app(tmp_path, "import sys\nprint(__name__, __file__, sys.argv, sys.path[0], __package__)\n"
                                   "print(sys.modules['__main__'].sys is sys, __spec__)\n", "real/app.py"))  # fmt: skip
    assert run(link, "--help", "-x", "--", "a b", "") == 0
    argv = [str(link), "--help", "-x", "--", "a b", ""]
    assert capsys.readouterr().out == f"__main__ {link} {argv} {tmp_path / 'real'} None\nTrue None\n"


def test_a_folder_is_an_application(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _app(tmp_path / "tool", "import helper, sys; print(helper.VALUE, sys.argv)", "__main__.py")
    _app(tmp_path / "tool", "VALUE = 5", "helper.py")
    assert run(tmp_path / "tool", 1) == 0
    assert capsys.readouterr().out == f"5 {[str(tmp_path / 'tool'), '1']}\n"


def test_its_own_modules_come_before_ours(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = graphs.write(tmp_path, graphs.compiled(graphs.detector()))
    for name in ("model", "runtime", "deploy"):
        _app(tmp_path, f"NAME = 'my {name}'", f"{name}.py")
    _app(tmp_path, "from deep.registry import X", "xmodel.py")
    _app(tmp_path / "deep", "X = 'deep'", "registry.py")
    app = _app(
        tmp_path,
        "import sys, model, runtime, deploy, xmodel\nimport vart, xir\n"
        "print(model.NAME, runtime.NAME, deploy.NAME, xmodel.X)\n"
        "g = xir.Graph.deserialize(sys.argv[1])\n"
        "s = [c for c in g.get_root_subgraph().toposort_child_subgraph() if c.get_attr('device') == 'DPU'][0]\n"
        "r = vart.Runner.create_runner(s, 'run')\nprint(r.get_input_tensors()[0].dims)\n",
    )
    assert run(app, model) == 0
    assert capsys.readouterr().out == "my model my runtime my deploy deep\n[8, 8, 8, 3]\n"


def test_former_names_of_the_modules_and_of_numpy(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        "import numpy as np, xir, xir.graph, xir.subgraph\nfrom xir.op import Op\nfrom xir.tensor import Tensor as _\n"
        "print(xir.graph.Graph is xir.Graph, xir.subgraph.Subgraph is xir.Subgraph, Op is xir.Op)\n"
        "print(np.array([1.9]).astype(np.int), np.float(2))\n"
    )
    assert run(_app(tmp_path, text)) == 0
    assert capsys.readouterr().out == "True True True\n[1] 2.0\n"


def test_an_overlay_in_the_manner_of_pynq(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        "import sys\nfrom pynq_dpu import DpuOverlay\noverlay = DpuOverlay('dpu.bit')\n"
        "overlay.load_model(sys.argv[1])\nprint([t.name for t in overlay.runner.get_output_tensors()])\n"
    )
    assert run(_app(tmp_path, text), graphs.write(tmp_path, graphs.detector())) == 0
    assert capsys.readouterr().out == "['mask_fix', 'linear_fix']\n"


@pytest.mark.parametrize(
    ("end", "code", "told"),
    [("", 0, ""), ("sys.exit()", 0, ""), ("sys.exit(7)", 7, ""), ("sys.exit(True)", 1, ""), ("exit_()", 0, ""),
     ("sys.exit('It ended.')", 1, "It ended.\n"), ("raise KeyboardInterrupt", 130, None)],
)  # fmt: skip
def test_exit_codes_pass_through(
    end: str, code: int, told: str | None, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(_app(tmp_path, f"import sys\nexit_ = lambda: sys.exit(0)\nprint('out')\n{end}\n")) == code
    seen = capsys.readouterr()
    assert seen.out == "out\n" and (told is None or seen.err == told)


def test_an_exception_is_shown_as_python_does(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app = _app(tmp_path, "def f():\n    return 1 / 0\n\nf()\n")
    assert run(app) == 1
    python = subprocess.run([sys.executable, app], capture_output=True, text=True, timeout=60)
    assert capsys.readouterr().err == python.stderr and python.returncode == 1
    assert run(_app(tmp_path, "a = = 2\n")) == 1
    assert "SyntaxError" in capsys.readouterr().err


def test_our_error_is_shown_with_the_applications_line(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = _app(
        tmp_path, "import xir\n\ndef load(path):\n    return xir.Graph.deserialize(path)\n\nload('none.xmodel')\n"
    )
    with pytest.raises(UsageError, match="Cannot read this file"):
        run(app)
    shown = capsys.readouterr().err
    assert f'File "{app}", line 6' in shown and f'File "{app}", line 4, in load' in shown
    assert shown.startswith("Traceback (most recent call last):\n") and "/runtime/" not in shown


def test_an_error_that_ends_a_thread_is_the_exit_code(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.xmodel").write_bytes(b"\xff" * 9)
    text = (
        "import sys, threading, xir\nt = threading.Thread(target=xir.Graph.deserialize, args=(sys.argv[1],))\n"
        "t.start(); t.join(); print('went on')\n"
    )
    assert run(_app(tmp_path, text), tmp_path / "bad.xmodel") == ArtifactError.exit_code
    seen = capsys.readouterr()
    assert seen.out == "went on\n" and "Error: " in seen.err and "bad.xmodel" in seen.err


@pytest.mark.parametrize("name", ["none.py", "folder"])
def test_an_application_that_is_not_there(name: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="Cannot read this application: No such file"):
        run(tmp_path / name)


def test_a_quantizers_file_that_cannot_be_compiled_stays_as_it_is(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Graph:
        raise ArtifactError("No.")

    monkeypatch.setattr(application, "compile_graph", refuse)
    model = graphs.write(tmp_path, graphs.detector())
    text = (
        "import sys, vart, xir\ng = [xir.Graph.deserialize(sys.argv[1]) for _ in 'ab']\nsys.exit(g[1].get_op_num())\n"
    )
    notes: list[str] = []
    assert run(_app(tmp_path, text), model, notes=notes) == len(graphs.detector().ops)
    assert notes == [f"{model} is not compiled, and cannot be: No."]


@pytest.mark.parametrize(
    ("later", "ops"), [("import vart as v", 1), ("from vart import Runner", 1), ("pass  # vart", 0)]
)
def test_what_it_imports_after_reading_counts(later: str, ops: int, run: Run, tmp_path: Path) -> None:
    text = (
        "import sys, xir\ng = xir.Graph.deserialize(sys.argv[1])\ndef go():\n"
        f"    {later}\ngo()\nsys.exit(int(g.get_root_subgraph().get_children_num() > 0))\n"
    )
    assert run(_app(tmp_path, text), graphs.write(tmp_path, graphs.detector())) == ops


@pytest.mark.parametrize("command", [["runtime.dropin"], ["deploy.command", "exec", "--kernels", "reference"]])
def test_as_a_process(command: list[str], tmp_path: Path) -> None:
    model = graphs.write(tmp_path, graphs.compiled(graphs.detector()))
    app = _app(
        tmp_path,
        "import sys, vart, xir\nprint(sys.argv[2:])\ng = xir.Graph.deserialize(sys.argv[1])\n"
        "vart.Runner.create_runner(g.get_root_subgraph(), 'run')\n",
    )
    arguments = [sys.executable, "-m", *command, str(app), str(model), "--help", "--kernels"]
    environment = {**os.environ, "NO_COLOR": "1"}
    done = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (2, "['--help', '--kernels']\n")
    assert done.stderr.startswith("Traceback (most recent call last):\n") and f'File "{app}", line 4' in done.stderr
    assert "Error: Subgraph 'root' (no device) has no runner.\n  what to do: Take a child" in done.stderr


def test_a_program_may_end_with_jobs_in_flight(tmp_path: Path) -> None:
    model = graphs.write(tmp_path, graphs.compiled(graphs.detector()))
    app = _app(
        tmp_path,
        "import sys, numpy as np, vart, xir\ng = xir.Graph.deserialize(sys.argv[1])\n"
        "s = [c for c in g.get_root_subgraph().toposort_child_subgraph() if c.get_attr('device') == 'DPU'][0]\n"
        "r = vart.Runner.create_runner(s, 'run')\n"
        "made = [np.zeros(t.dims, np.int8) for t in r.get_output_tensors()]\n"
        "for _ in range(300):\n    r.execute_async([np.zeros((8, 192), np.int8)], made)\n"
        "print('end')\nsys.exit(3)\n",
    )
    command = [sys.executable, "-m", "runtime.dropin", str(app), str(model)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (3, "end\n", "")


def test_the_vendors_names_are_nobodys_elsewhere() -> None:
    code = (
        "import deploy.command, runtime.dropin.runner, sys\nassert not {'xir', 'vart'} & set(sys.modules)\nimport xir"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "ModuleNotFoundError: No module named 'xir'" in done.stderr


def test_a_file_without_end_is_no_application(run: Run) -> None:
    with pytest.raises(UsageError, match="no Python program"):
        run(Path("/dev/zero"))
