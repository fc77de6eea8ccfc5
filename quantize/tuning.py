"""What tuning weights is made of: the network with frozen fix positions, its layers, and the record of changes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from quantize import rounding
from quantize.calibrate import WEIGHTED
from quantize.execute import forward, stored_layout
from quantize.kernels import KERNELS, Args, convolve
from quantize.plan import Plan
from xmodel.graph import Graph, Op, const

Losses = tuple[float, ...]  # per output: root mean square error against the float network, mean over the batches
Progress = Callable[[int, int], None]  # layers done, layers in all
# spec: the activations that the vendor's finetune takes together with the layer before them; leaky ReLU is not one
_WITH_LAYER = frozenset({"relu", "relu6", "hard-sigmoid", "hard-swish"})


@dataclass(frozen=True, slots=True)
class TunedLayer:
    """What tuning did to one layer. The losses are mean squared errors of its output against the float network's."""

    name: str
    weights: int
    changed: int  # int8 weights that differ from those before
    bias_changed: int
    loss_before: float
    loss_after: float


@dataclass(frozen=True, slots=True)
class Tuning:
    """What tuning did: to each layer, and to the root mean square error of each output against the float network's."""

    layers: tuple[TunedLayer, ...]
    losses_before: tuple[float, ...]
    losses_after: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer whose parameters nobody shares: its op, its constants, and the activation that alone reads it."""

    op: Op
    weights: str
    bias: str | None
    activation: Op | None
    fixed: bool  # the op's own result has a fix

    @property
    def source(self) -> str:
        """The op whose result the layer reads."""
        return self.op.inputs["input"][0]

    @property
    def end(self) -> str:
        """The op that ends the layer: its activation, or the op itself."""
        return self.op.name if self.activation is None else self.activation.name

    def activate(self, y: Tensor) -> Tensor:
        """The layer's activation, elementwise, on a tensor of any shape."""
        return y if self.activation is None else KERNELS[self.activation.type](self.activation, {"input": [y]})


def layers(graph: Graph, plan: Plan) -> list[Layer]:
    """The convolution-like and matmul layers of `graph`, in order."""
    found: list[Layer] = []
    for op in graph.ops:
        if op.type not in WEIGHTED:
            continue
        weights = op.inputs["input"][1] if op.type == "matmul" else op.inputs["weights"][0]
        bias = op.arg("bias")
        if all(name in plan.parameters and len(graph.fanout[name]) == 1 for name in (weights, bias) if name):
            readers = graph.fanout[op.name]
            alone = readers[0] if len(readers) == 1 and readers[0].type in _WITH_LAYER else None
            found.append(Layer(op, weights, bias, alone, op.name in plan.activations))
    return found


@dataclass(frozen=True)
class Network:
    """A float graph with fix positions frozen: run in float or quantized.

    `constants` holds the quantized network's parameters as float32 on their grids, in torch's layout;
    tuning replaces them there. `real` holds the float ones.
    """

    graph: Graph
    plan: Plan
    positions: Mapping[str, int]
    real: Mapping[str, Tensor]
    constants: dict[str, Tensor]

    def until(self, *names: str) -> Network:
        """The part that computes `names` and returns them."""
        needed = set(names)
        for op in reversed(self.graph.ops):
            if op.name in needed:
                needed.update(op.input_names)
        part = self.graph.with_ops(op for op in self.graph.ops if op.name in needed)
        return replace(self, graph=part.with_attrs(return_ops=list(names)))

    def quantized(self, batch: Tensor, seen: Callable[[Op, Tensor, Args], None] | None = None) -> dict[str, Tensor]:
        """The outputs on an NCHW float32 batch; `seen(op, result, args)` looks at each op's result, as quantized."""

        def after(op: Op, result: Tensor, args: Args) -> Tensor:
            if op.name in self.plan.activations:
                result = rounding.to_grid(result, self.positions[op.name])
            if seen is not None:
                seen(op, result, args)
            return result

        with torch.no_grad():
            return forward(self.graph, self.constants, {self.graph.inputs[0].name: batch}, after)

    def floats(self, batch: Tensor) -> dict[str, Tensor]:
        """The float network's outputs on the batch."""
        with torch.no_grad():
            return forward(self.graph, self.real, {self.graph.inputs[0].name: batch})

    def on_grid(self, name: str, tensor: Tensor) -> Tensor:
        """`tensor` on the int8 grid of parameter `name`."""
        return rounding.to_grid(tensor.detach().contiguous(), self.positions[name], weights=True)

    def output(self, layer: Layer, x: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
        """The layer's result with the given parameters, differentiable: its own fix passes the gradient through.

        The fix behind an activation is no part of it (spec: what the vendor's finetune compares).
        """
        y = convolve(layer.op, x, weights, bias)
        return layer.activate(_through_fix(y, self.positions[layer.op.name]) if layer.fixed else y)


def _through_fix(y: Tensor, position: int) -> Tensor:
    return _Fix.apply(y, position)  # type: ignore[no-any-return, no-untyped-call]


class _Fix(torch.autograd.Function):
    """Fake quantization whose gradient is one everywhere, saturated values included."""

    @staticmethod
    def forward(ctx: object, y: Tensor, position: int) -> Tensor:
        return rounding.to_grid(y.contiguous(), position)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


class Judge:
    """The network's loss: whether a change made it better."""

    def __init__(self, network: Network, batches: Sequence[Tensor]) -> None:
        self.part, self.batches = network.until(*_measured(network)), batches
        with plain_sums():
            self.goals = [self.part.floats(batch) for batch in batches]
        self.best = self.measure()

    def measure(self) -> Losses:
        """The losses with the parameters that the network has now."""
        errors: dict[str, list[float]] = {op.name: [] for op in self.part.graph.outputs}
        for batch, goal in zip(self.batches, self.goals, strict=True):
            found = self.part.quantized(batch)
            for name, seen in errors.items():
                seen.append(float(torch.sqrt(F.mse_loss(found[name], goal[name]))))
        return tuple(mean(seen) for seen in errors.values())

    def accept(self, losses: Losses) -> bool:
        """Take `losses` as the best when no output is worse and one is better."""
        pairs = list(zip(losses, self.best, strict=True))
        better = all(new <= old for new, old in pairs) and any(new < old for new, old in pairs)
        if better:
            self.best = losses
        return better


def _measured(network: Network) -> list[str]:
    """Per output, the last tensor on the way to it that has a fix; a final sigmoid, say, stays float."""
    names: list[str] = []
    for op in network.graph.outputs:
        while op.name not in network.plan.activations and len(op.inputs.get("input", ())) == 1:
            op = network.graph.op(op.inputs["input"][0])
        names.append(op.name)
    return list(dict.fromkeys(names))


@contextmanager
def plain_sums() -> Iterator[None]:
    """Without oneDNN: its blocked convolutions sum in another order than the recorded float references, and a last
    bit there is enough to round a few weights the other way."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch remarks on TF32 of other devices
        with torch.backends.mkldnn.flags(enabled=False):
            yield


def ignore(_done: int, _total: int) -> None:
    """Take progress that nobody watches."""


def with_parameters(graph: Graph, found: Mapping[str, Tensor]) -> Graph:
    """`graph` with the named constants replaced by tensors in torch's layout."""

    def renewed(op: Op) -> Op:
        if op.name not in found:
            return op
        array = stored_layout(graph, op, found[op.name].cpu().numpy())
        return replace(op, attrs={**op.attrs, "data": const(op.name, array).attrs["data"]})

    return graph.with_ops(renewed(op) for op in graph.ops)


def changes(before: Tensor | None, after: Tensor | None) -> int:
    """How many elements differ; none where there is no tensor."""
    return 0 if before is None or after is None else int((before != after).sum())


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return sum(values) / len(values)
