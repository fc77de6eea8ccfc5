"""Readers that nobody here wrote agree with ours on every real file, and on what ours writes of it."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.judges import accepted, agrees, needs_dot, needs_netron, needs_xir, netron, xir
from tests.shared import SHARED, needs_shared
from tests.xmodel.graphs import compiled
from xmodel import file
from xmodel.graph import Graph

FILES = sorted((SHARED / "goldens").rglob("*.xmodel")) + sorted((SHARED / "goldens").rglob("*.xmodel.gz"))


def _read(path: Path) -> Graph:
    return file.loads(gzip.decompress(path.read_bytes())) if path.suffix == ".gz" else file.read(path)


def _label(path: Path) -> str:
    return path.relative_to(SHARED / "goldens").as_posix().replace("/expected/model_int.xmodel", "")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    file.write(tmp_path / "net.xmodel", compiled())
    return tmp_path / "net.xmodel"


@needs_xir
def test_libxir_accepts_a_graph_made_here(small: Path) -> None:
    accepted(small, compiled())


@needs_xir
@needs_dot
def test_libxir_draws_a_graph_made_here(small: Path, tmp_path: Path) -> None:
    xir("svg", small, tmp_path / "net.svg")
    picture = (tmp_path / "net.svg").read_text()
    assert picture.count("<svg") == 1 and all(op.name in picture for op in compiled().ops)


@needs_netron
def test_netron_reads_a_graph_made_here(small: Path) -> None:
    (found,) = netron([small])
    agrees(found, compiled())
    with pytest.raises(AssertionError):
        agrees(found, compiled().with_attrs(origin="tensorflow"))


@needs_shared
@needs_xir
@pytest.mark.parametrize("path", FILES, ids=_label)
def test_libxir_accepts_every_real_file_rewritten(path: Path, tmp_path: Path) -> None:
    graph = _read(path)
    file.write(tmp_path / "net.xmodel", graph)
    accepted(tmp_path / "net.xmodel", graph)


@needs_shared
@needs_netron
def test_netron_reads_every_real_file_rewritten(tmp_path: Path) -> None:
    graphs = [_read(path) for path in FILES]
    paths = [tmp_path / f"{number}.xmodel" for number in range(len(graphs))]
    for path, graph in zip(paths, graphs, strict=True):
        file.write(path, graph)
    for found, graph in zip(netron(paths), graphs, strict=True):
        agrees(found, graph)
