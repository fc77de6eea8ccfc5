"""What comes out of a calibration, with plain rounding or after one of the two ways of tuning the weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from quantize import rounding
from quantize.calibrate import Calibrator
from quantize.clamp import Clamp, clamp_positions
from quantize.finetune import fast_finetune, recorrect
from quantize.learned_rounding import learn_rounding
from quantize.plan import Plan
from quantize.tuning import Network, Progress, Tuning, with_parameters
from xmodel.graph import Graph


@dataclass(frozen=True, slots=True)
class Calibrated:
    """All that export needs: the float graph (its parameters tuned), positions, bias corrections by op name."""

    graph: Graph
    positions: Mapping[str, int]
    clamps: tuple[Clamp, ...]
    corrections: Mapping[str, Tensor]
    tuning: Tuning | None = None


def plain(calibrator: Calibrator) -> Calibrated:
    """Every weight rounded to nearest."""
    positions, clamps = clamp_positions(calibrator.graph, calibrator.plan, calibrator.positions)
    return Calibrated(calibrator.graph, positions, clamps, calibrator.bias_correction())


def learned(calibrator: Calibrator, images: Sequence[Tensor], progress: Progress | None = None) -> Calibrated:
    """Every weight rounded up or down as learned on the batches `images`; biases corrected as each layer is done."""
    base, plan, real = plain(calibrator), calibrator.plan, calibrator.float_constants
    biases = {name: calibrator.graph.op(name).inputs["bias"][0] for name in base.corrections}
    start = {**real, **{bias: real[bias] - base.corrections[name] for name, bias in biases.items()}}
    network = _network(calibrator.graph, plan, base.positions, real, start)
    tuning = learn_rounding(network, images, calibrator.correct_bias, progress=progress)
    weights = {name: network.constants[name] for name in _weights(calibrator.graph, tuning)}
    corrections = {name: real[bias] - network.constants[bias] for name, bias in biases.items()}
    return Calibrated(with_parameters(calibrator.graph, weights), base.positions, base.clamps, corrections, tuning)


def _weights(graph: Graph, tuning: Tuning) -> list[str]:
    """The weights of the layers that were tuned."""
    ops = [graph.op(layer.name) for layer in tuning.layers]
    return [op.inputs["input"][1] if op.type == "matmul" else op.inputs["weights"][0] for op in ops]


def finetuned(
    graph: Graph,
    plan: Plan,
    images: Sequence[Tensor],
    batches: Iterable[Tensor],
    correct_bias: bool,
    device: str,
    progress: Progress | None = None,
) -> Calibrated:
    """The vendor's fast finetune on the batches `images`, which give the positions too.

    Afterwards the calibration `batches` correct the biases.
    """
    calibrator = Calibrator(graph, plan, correct_bias=False, device=device)
    for batch in images:
        calibrator.observe(batch)
    calibrator.finish()
    positions, real = calibrator.positions, calibrator.float_constants
    network = _network(graph, plan, positions, real, real)
    tuning = fast_finetune(network, images, progress)
    corrections = recorrect(network, batches)
    parameters = {name: network.constants[name] for name in plan.parameters}
    clamped, clamps = clamp_positions(graph, plan, positions)
    return Calibrated(with_parameters(graph, parameters), clamped, clamps, corrections if correct_bias else {}, tuning)


def _network(
    graph: Graph, plan: Plan, positions: Mapping[str, int], real: Mapping[str, Tensor], start: Mapping[str, Tensor]
) -> Network:
    """The quantized network that begins with the parameters `start`, rounded to nearest."""
    rounded = {name: rounding.to_grid(start[name], positions[name], weights=True) for name in plan.parameters}
    return Network(graph, plan, positions, real, {**start, **rounded})
