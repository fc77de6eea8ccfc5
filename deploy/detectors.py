"""One detector, three forms: the float network, its quantized graph, the compiled graph on the emulator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy.batches import to_nchw
from deploy.deployed import Deployed
from deploy.roles import real, roles
from runtime.preprocess import to_int8
from xmodel.graph import Graph
from xmodel.preprocess import Preprocessing

Images = NDArray[np.uint8]
Outputs = tuple[NDArray[Any], NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Detector:
    """`run`: decoded crops (n, H, W, 3) → mask logits (n, H, W, 2) float32 and P(real) (n,) float32."""

    name: str
    title: str
    spec: Preprocessing
    run: Callable[[Images], Outputs]


@dataclass(frozen=True, slots=True)
class FloatNetwork:
    """Which float network: a registered name, its weights (None: those shipped), a seed for random ones."""

    model: str
    weights: Path | None = None
    seed: int | None = None

    def inputs(self) -> dict[str, str]:
        """What identifies the weights in `run.json`: name → sha256."""
        from model import registry
        from xmodel.artifact import sha256

        file = self.weights or (None if self.seed is not None else registry.find(self.model).weights)
        return {"weights": sha256(file)} if file else {}

    def load(self) -> tuple[Any, Preprocessing]:
        """The torch module in evaluation mode and its preprocessing."""
        from model import registry

        module = registry.load(self.model, self.weights, seed=self.seed)
        return module, registry.find(self.model).preprocessing


def float_detector(network: FloatNetwork) -> Detector:
    """The float network on torch, single precision."""
    from model.forward import forward

    module, spec = network.load()
    return Detector("float", f"float32 ({network.model})", spec, lambda images: forward(module, to_nchw(images, spec)))


def graph_detector(graph: Graph) -> Detector:
    """A quantized (or float) graph executed in floating point on torch: what the quantizer believes."""
    from quantize.execute import Executor

    spec, found, executor = Preprocessing.load(graph), roles(graph), Executor(graph)

    def run(images: Images) -> Outputs:
        results = executor.run(to_nchw(images, spec).transpose(0, 2, 3, 1))
        return results[found.mask.name], found.p_real(results[found.score.name])

    return Detector("quantized", f"fake-quantized ({graph.name})", spec, run)


def compiled_detector(deployed: Deployed) -> Detector:
    """A compiled graph on the emulator: what the card computes, the host's part included."""
    from runtime.emulator.program import Program

    program, spec, found = Program(deployed.graph, deployed.kernels), deployed.spec, deployed.roles
    feed = program.inputs[0].name

    def run(images: Images) -> Outputs:
        results = program.run({feed: np.stack([to_int8(image, spec, deployed.fix_point) for image in images])})
        logits, score = (real(results[op.output.name], op.output) for op in (found.mask, found.score))
        return logits, found.p_real(score)

    return Detector("compiled", f"int8 on the emulator ({deployed.graph.name} for {deployed.target})", spec, run)
