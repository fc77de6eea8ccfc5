"""Small networks as files: a classifier, and one with a mask and a score, quantized and compiled."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arch.targets import find
from compile.pipeline import compile_graph
from runtime.emulator.program import Program
from tests.compile.build import Builder
from xmodel import file
from xmodel.graph import Array, Graph, Subgraph
from xmodel.part import part

SIZE = 8


@cache
def classifier() -> Graph:
    """What a quantizer writes of a network from 8x8x3 to 5 logits, softmax behind them."""
    b = Builder("Classifier")
    x = b.fix(b.unary("relu1", "relu", b.conv("conv1", b.data((1, SIZE, SIZE, 3), 6), 6)), 3)
    x = b.fix(b.pool("pool1", "maxpool2d", x, 2), 3)
    x = b.fix(b.linear("linear", x, 5), 0)
    return b.graph(b.unary("prob", "softmax", x, axis=1))


@cache
def detector() -> Graph:
    """What a quantizer writes of a network with a mask (8x8x2) and, after a sigmoid, a score."""
    b = Builder("Detector")
    x = b.fix(b.unary("relu1", "relu", b.conv("conv1", b.data((1, SIZE, SIZE, 3), 6), 6)), 3)
    mask = b.fix(b.conv("mask", x, 2, kernel=1, pad=0), 2)
    x = b.fix(b.pool("pool1", "maxpool2d", x, 2), 3)
    score = b.fix(b.linear("linear", x, 1), 0)
    return b.graph(mask, b.unary("prob", "sigmoid", score))


def compiled(graph: Graph, target: str = "8PE") -> Graph:
    """`graph` compiled."""
    return compile_graph(graph, find(target))


def dpu(graph: Graph) -> Subgraph:
    """The only DPU subgraph of a compiled graph."""
    assert graph.root is not None
    (found,) = (child for child in graph.root.children if child.get("device") == "DPU")
    return found


def write(folder: Path, graph: Graph) -> Path:
    """`graph` as a file."""
    path = folder / f"{graph.name}.xmodel"
    file.write(path, graph)
    return path


def expected(graph: Graph, inputs: Array) -> list[Array]:
    """What the reference computes in the DPU subgraph of a compiled graph, int8, in the order of its outputs."""
    program = Program(part(graph, dpu(graph).name), "reference")
    made = program.run({program.inputs[0].name: inputs})
    return [made[tensor.name] for tensor in program.outputs]


def whole(graph: Graph, inputs: Array) -> list[Array]:
    """What the reference computes of all of a compiled graph, in the order of its outputs."""
    program = Program(graph, "reference")
    made = program.run({program.inputs[0].name: inputs})
    return [made[tensor.name] for tensor in program.outputs]


def images(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Real values in [-1, 1) on the grid of fix point 6."""
    integers = np.random.default_rng(seed).integers(-64, 64, (count, SIZE, SIZE, 3))
    return (integers / 64).astype(np.float32)


def at_6(real: Array) -> NDArray[np.int8]:
    """The int8 of values on that grid."""
    return np.asarray(real * 64, np.int8)
