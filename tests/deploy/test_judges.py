"""Readers that nobody here wrote take what the quantizer and the compiler write, custom operators included."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from arch import targets
from compile.pipeline import compile_graph
from deploy.golden import noise, record
from quantize.pipeline import float_graph, quantize_graph
from tests.compile.build import uynet
from tests.judges import accepted, agrees, needs_dot, needs_netron, needs_xir, netron, xir
from tests.quantize.networks import images
from tests.quantize.operators import NETWORKS, OPERATORS, build
from xmodel import file
from xmodel.graph import Graph

pytestmark = pytest.mark.xdist_group("judges")  # in one process, where each network is made once

NAMES = [*NETWORKS, *OPERATORS]


@cache
def _graphs(name: str) -> tuple[Graph, Graph, Graph]:
    """A network's float, quantized and compiled graph."""
    batch = images(1)
    graph = float_graph(build((NETWORKS | OPERATORS)[name]), "Net", batch)
    quantized = quantize_graph(graph, [batch]).graph
    return graph, quantized, compile_graph(quantized, targets.find(targets.DEFAULT))


def _written(folder: Path, *graphs: Graph) -> list[Path]:
    paths = [folder / f"{number}.xmodel" for number in range(len(graphs))]
    for path, graph in zip(paths, graphs, strict=True):
        file.write(path, graph)
    return paths


@needs_xir
@pytest.mark.parametrize("name", NAMES)
def test_libxir_accepts_every_operator(name: str, tmp_path: Path) -> None:
    graphs = _graphs(name)
    for path, graph in zip(_written(tmp_path, *graphs), graphs, strict=True):
        accepted(path, file.loads(file.dumps(graph)))


@needs_netron
def test_netron_reads_every_operator(tmp_path: Path) -> None:
    graphs = [graph for name in NAMES for graph in _graphs(name)]
    for found, graph in zip(netron(_written(tmp_path, *graphs)), graphs, strict=True):
        agrees(found, file.loads(file.dumps(graph)))


def _golden(target: str) -> Graph:
    graph = compile_graph(uynet(4, 64), targets.find(target))
    return record(graph, noise(graph), "noise")


@needs_xir
@needs_dot
def test_libxir_draws_a_compiled_network(tmp_path: Path) -> None:
    (path,) = _written(tmp_path, _golden("8PE"))
    xir("svg", path, tmp_path / "net.svg")
    assert (tmp_path / "net.svg").read_text().count('class="node"') > 50


@needs_netron
@needs_xir
def test_both_read_a_file_with_a_golden_run(tmp_path: Path) -> None:
    graph = _golden("4PE")
    (path,) = _written(tmp_path, graph)
    accepted(path, graph)
    agrees(netron([path])[0], graph)
