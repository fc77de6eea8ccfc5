"""A compiled network of two DPU subgraphs with a CPU subgraph between them, recorded for the stand-in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from arch.targets import find
from compile.pipeline import compile_graph
from tests.compile.vitis.conftest import network
from tests.runtime.vitis import tool
from xmodel.graph import Array, Graph


@dataclass(frozen=True)
class Recorded:
    """A compiled graph, its file, the stand-in's recordings, images, and what the graph makes of them."""

    graph: Graph
    path: Path
    answers: Path
    images: dict[str, Array]
    wanted: dict[str, Array]

    @property
    def x(self) -> str:
        """The input's name."""
        return self.graph.inputs[0].output.name


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    folder = tmp_path_factory.mktemp("card")
    graph = tool.with_code(compile_graph(network(), find("8PE")))
    images = tool.random_images(graph, 30)
    wanted = tool.record(graph, images, folder / "answers")
    return Recorded(graph, tool.write(graph, folder / "Net.xmodel"), folder / "answers", images, wanted)
