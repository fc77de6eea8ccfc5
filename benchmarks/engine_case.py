"""What every engine is given: one network quantized and compiled, its ONNX form, images and the reference's answer.

`python -m benchmarks.engine_case MODEL FOLDER` writes the case.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path

import numpy as np

from arch.targets import DEFAULT, find
from compile.pipeline import compile_graph
from model import registry
from quantize.pipeline import float_graph, quantize_graph
from runtime.emulator import operations
from runtime.emulator.program import Program
from runtime.emulator.rounding import quantize
from runtime.emulator.spec import Convolution, Rules
from xmodel import file
from xmodel.artifact import write_json
from xmodel.graph import Graph

IMAGES, CALIBRATION = 8, 2  # random ones: the speed is measured, not the accuracy


def products(graph: Graph) -> dict[str, int]:
    """Products of an input value and a weight that an image takes, by convolution."""
    found = {}
    for op in graph.ops:
        node, _ = operations.node(graph, op)
        spec = operations.parse(node, Rules.CARD)
        if isinstance(spec, Convolution):
            height, width = node.image[1:3] if spec.transposed else spec.out
            found[op.name] = height * width * math.prod(node.inputs[1].shape)
    return found


def ends(graph: Graph) -> tuple[str, ...]:
    """The tensors, by op, that leave the integer part: those before fix2float, or the last `fix` of a float graph."""
    found = []
    for op in graph.outputs:
        while op.type != "fix" and op.output.data_type == "FLOAT32":
            op = graph.op(op.input_names[0])
        found.append(op.name)
    return tuple(found)


def write(name: str, folder: Path) -> None:
    """The case of network `name`, its shipped weights or random ones, in `folder`."""
    random, spec = np.random.default_rng(0), registry.find(name)
    size = (spec.preprocessing.height, spec.preprocessing.width)
    module = registry.load(name, None, seed=None if spec.weights else 0)
    calibration = [random.random((1, 3, *size), np.float32) for _ in range(CALIBRATION)]
    graph = float_graph(module, spec.class_name, calibration[0], spec.preprocessing)
    quantized = quantize_graph(graph, calibration).graph
    compiled = compile_graph(quantized, find(DEFAULT))
    file.write(folder / "quantized.xmodel", quantized)
    file.write(folder / "compiled.xmodel", compiled)
    source = compiled.inputs[0].output
    fix_point = int(source.get("fix_point"))
    images = quantize(random.random((IMAGES, *size, 3), np.float32), fix_point, 8).astype(np.int8)
    np.save(folder / "input.npy", images)
    dump = Program(compiled, "reference").run({source.name: images[:1]}, dump=True)
    last = [compiled.op(op).output.name for op in ends(compiled)]
    np.savez(folder / "expected.npz", *(dump[tensor] for tensor in last))
    zeros = []
    if importlib.util.find_spec("onnx") is not None:
        from benchmarks import onnx_model

        onnx_model.write(compiled, folder / "model.onnx")
        zeros = list(onnx_model.zero_points(folder / "model.onnx").values())
    fixes = {op: int(quantized.op(op).get("fix_point")) for op in ends(quantized)}
    case = {"model": name, "fix_point": fix_point, "ends": last, "fixes": fixes, "zero_points": zeros}
    write_json(folder / "case.json", {**case, "products": sum(products(compiled).values())})


if __name__ == "__main__":
    write(sys.argv[1], Path(sys.argv[2]))
