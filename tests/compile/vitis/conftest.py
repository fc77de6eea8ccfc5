"""A machine where nothing of the vendor's is installed, and the stand-in for its compiler."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from arch.targets import find
from compile.pipeline import compile_graph
from tests.compile.build import Builder
from xmodel import conda, file
from xmodel.graph import Attr, Graph, Subgraph
from xmodel.preprocess import Preprocessing

STANDIN = Path(__file__).parent / "standin.py"


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No conda, nothing on the PATH but what a test puts into tmp_path/bin."""
    for name in ("CONDA_PREFIX", "CONDA_EXE", "MAMBA_ROOT_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(conda, "ROOTS", (str(tmp_path / "conda"),))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("STANDIN_LOGS", str(tmp_path / "logs"))
    (tmp_path / "logs").mkdir()


def program(path: Path, body: str = f'exec {sys.executable} {STANDIN} "$@"') -> Path:
    """An executable shell script; by default the stand-in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def network() -> Graph:
    """conv, relu, depthwise convolution, conv: a quantized graph with its preprocessing."""
    b = Builder("Net")
    x = b.fix(b.unary("r", "relu", b.conv("c", b.data((1, 8, 8, 3)), 8)), 4)
    inputs = {"input": [x], "weights": [b.weights("dw_w", (1, 3, 3, 8))]}
    window = {"kernel": [3, 3], "stride": [1, 1], "pad": [1, 1, 1, 1], "dilation": [1, 1], "pad_mode": "FLOOR"}
    deep = b.fix(b.op("dw", "depthwise-conv2d", inputs, (1, 8, 8, 8), **window), 4)
    return Preprocessing(8, 8).store(b.graph(b.fix(b.conv("d", deep, 4), 4)))


def compiled(target: str = "4PE", dpu: Mapping[str, Attr | None] | None = None) -> Graph:
    """What the vendor's compiler would make of it: machine code inside, attributes that it does not know dropped."""
    graph = compile_graph(network(), find(target))
    assert graph.root is not None

    def coded(part: Subgraph) -> Subgraph:
        if part.get("device") != "DPU":
            return part
        values = {**part.attrs, "mc_code": Attr.of(b"\1\2\3"), **(dpu or {})}
        return replace(part, attrs={k: v for k, v in values.items() if v is not None})

    root = replace(graph.root, children=tuple(map(coded, graph.root.children)))
    kept = {k: v for k, v in graph.attrs.items() if k in ("origin", "files_md5sum")}
    return replace(graph, root=root, attrs=kept)


@pytest.fixture
def answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Graph], None]:
    """Sets the file that the stand-in hands out."""

    def set_answer(graph: Graph) -> None:
        file.write(tmp_path / "answer.xmodel", graph)
        monkeypatch.setenv("STANDIN_ANSWER", str(tmp_path / "answer.xmodel"))

    set_answer(compiled())
    return set_answer
