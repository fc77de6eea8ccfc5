"""A network from a file of the user's: made in its own namespace, errors told with the line."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from quantize.pipeline import float_graph
from quantize.user_module import beside, load_module, split
from xmodel.errors import ArtifactError, UsageError

FILE = """\
import torch
from torch import nn
from helper_of_net import WIDTH

print("a word of the file's")

class Net(nn.Module):
    def __init__(self, width=WIDTH):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)

    def forward(self, x):
        return torch.relu(self.conv(x))

class Needy(Net):
    def __init__(self, width, depth):
        super().__init__(width)

class Broken(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, undefined, 3)

class Forward(Net):
    def forward(self, x):
        return self.conv(x).view(3, 17)

class Data(Net):
    def forward(self, x):
        return x if x.sum() > 0 else -x

class Plain:
    pass

def make():
    return Needy(width=2, depth=1)

def number():
    return 3

def leave():
    raise SystemExit("bye")
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "helper_of_net.py").write_text("WIDTH = 5\n")
    (tmp_path / "net.py").write_text(FILE)
    return tmp_path / "net.py"


def _make(path: Path, name: str) -> torch.nn.Module:
    with beside(path):
        return load_module(path, name)


def _fails(path: Path, name: str) -> UsageError:
    with pytest.raises(UsageError) as caught, beside(path):
        float_graph(load_module(path, name), name, np.zeros((1, 3, 8, 8), np.float32))
    return caught.value


def test_a_class_and_a_function_that_makes_one(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = _make(path, "Net")
    assert module.conv.weight.shape == (5, 3, 3, 3) and not module.training  # type: ignore[union-attr]
    assert capsys.readouterr().out == ""  # stdout is for results
    assert _make(path, "make").conv.weight.shape == (2, 3, 3, 3)  # type: ignore[union-attr]
    assert str(path.parent) not in sys.path


def test_random_weights_are_the_same_every_time_and_leave_the_generator_alone(path: Path) -> None:
    state = torch.random.get_rng_state()
    first, second = _make(path, "Net").state_dict(), _make(path, "Net").state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("Nothing", "", "The class 'Nothing' is not there"),
        ("Plain", "", "The class 'Plain' is no torch.nn.Module"),
        ("Needy", "", "'Needy' needs the arguments width, depth"),
        ("number", "", "'number' gave a int, not a torch.nn.Module"),
        ("Broken", ":22", "NameError: name 'undefined' is not defined"),
        ("Forward", ":26", "shape '[3, 17]' is invalid"),
        ("Data", ":30", "torch.export cannot capture Data"),
        ("leave", ":42", "Your file raised SystemExit: bye"),
    ],
)
def test_errors_name_the_line(name: str, line: str, message: str, path: Path) -> None:
    error = _fails(path, name)
    assert message in error.what
    assert error.where == f"{path}{line}"


def test_hints_name_what_there_is(path: Path) -> None:
    assert "Net, Needy, Broken, Forward, Data" in _fails(path, "Nothing").hint
    assert "def make(): return Needy(width=...)" in _fails(path, "Needy").hint


def test_files_that_do_not_run(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("import torch\nclass Net(:\n")
    assert _fails(tmp_path / "net.py", "Net").where == f"{tmp_path / 'net.py'}:2"
    (tmp_path / "net.py").write_bytes(b"x = 1\n\0")
    assert "This file is not valid Python" in _fails(tmp_path / "net.py", "Net").what
    (tmp_path / "net.py").write_text("import no_such_module_anywhere\n")
    error = _fails(tmp_path / "net.py", "Net")
    assert "No module named 'no_such_module_anywhere'" in error.what and error.where.endswith("net.py:1")
    assert "no such Python file" in _fails(tmp_path / "none.py", "Net").what
    (tmp_path / "net.txt").write_text("")
    assert "must end in .py" in _fails(tmp_path / "net.txt", "Net").what


def test_faults_that_are_not_the_files_pass(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), beside(path):
        _ = 1 / 0
    with pytest.raises(ArtifactError, match="elsewhere"), beside(path):
        raise ArtifactError("elsewhere")


def test_how_a_class_is_named() -> None:
    assert split("a/net.py:Net") == (Path("a/net.py"), "Net")
    for text in ("net.py", ":Net", "net.py:", "net.py:a b"):
        with pytest.raises(UsageError, match="does not name a class"):
            split(text)
