"""A graph ready to run: the emulator's program, cut where ops of an application's own stand in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from runtime.dropin.custom import CustomOp
from runtime.emulator import operations
from runtime.emulator.program import KernelChoice, Program
from xmodel.errors import ArtifactError
from xmodel.graph import Array, Graph, Op, Subgraph, Tensor, attrs, numpy_dtype
from xmodel.part import enclosed

Values = dict[str, Array]


class Network:
    """`graph` on the emulator; `make` gives the application's implementation of an op whose type is unknown here.

    `inputs` and `outputs` are its tensors, in topological order and as the graph states them. Runs of several threads
    at a time share the packed weights. Raises `ArtifactError` naming the op for anything that cannot be run.
    """

    def __init__(self, graph: Graph, kernels: KernelChoice, make: Callable[[Op], CustomOp]) -> None:
        self.inputs = tuple(op.output for op in graph.inputs)
        self.outputs = tuple(op.output for op in graph.outputs)
        strange = {op.name for op in graph.ops if not operations.known(op.type)}
        self._programs: list[Program] = []
        if not strange:
            self._programs.append(Program(graph, kernels))
            self._stages: list[Callable[[Values], Values]] = [self._programs[0].run]
            return
        self._stages = []
        levels = _levels(graph, strange)
        for level in range(max(levels.values()) + 1):
            ops = [op for op in graph.ops if levels.get(op.name) == level]
            if level % 2:
                self._stages += [self._custom(graph, op, make(op)) for op in ops]
            elif any(op.type not in ("data", "data-fix") for op in ops):
                self._stages.append(self._segment(graph, ops, kernels))

    def _segment(self, graph: Graph, ops: Sequence[Op], kernels: KernelChoice) -> Callable[[Values], Values]:
        """A stage of ops that the emulator knows."""
        inside = {op.name for op in ops}
        part = enclosed(graph, Subgraph(graph.name, tuple(inside)))
        wanted = {op.name for op in (*part.outputs, *graph.outputs)}
        part = replace(part, attrs={**part.attrs, **attrs(return_ops=[op.name for op in ops if op.name in wanted])})
        program = Program(part, kernels)
        self._programs.append(program)
        return lambda values: program.run({tensor.name: values[tensor.name] for tensor in program.inputs})

    @staticmethod
    def _custom(graph: Graph, op: Op, custom: CustomOp) -> Callable[[Values], Values]:
        """A stage of one op of the application, image by image as its file states the dimensions."""
        sources = {name: [graph.op(source) for source in names] for name, names in op.inputs.items()}
        constants = {
            source.output.name: source.array() for ops in sources.values() for source in ops if source.is_const
        }

        def run(values: Values) -> Values:
            moving = [values[s.output.name] for ops in sources.values() for s in ops if not s.is_const]
            images = []
            for image in range(len(moving[0]) if moving else 1):
                given = {
                    name: [
                        constants[s.output.name] if s.is_const else values[s.output.name][image : image + 1]
                        for s in ops
                    ]
                    for name, ops in sources.items()
                }
                made = np.zeros(op.output.shape, numpy_dtype(op.output.data_type))
                custom(given, made)
                images.append(made)
            return {op.output.name: np.concatenate(images)}

        return run

    def set_threads(self, count: int) -> None:
        """How many cores the calling thread's runs may use."""
        for program in self._programs[:1]:
            program.set_threads(count)

    def run(self, feeds: Mapping[str, Array]) -> Values:
        """The outputs by tensor name, [n, ...], of inputs by tensor name, [n, ...] in their tensors' types."""
        values = dict(feeds)
        for stage in self._stages:
            values.update(stage(values))
        return {tensor.name: values[tensor.name] for tensor in self.outputs}


def _levels(graph: Graph, strange: set[str]) -> dict[str, int]:
    """Even levels for ops that the emulator knows, odd ones for the others; an op's inputs lie at most at its level."""
    levels: dict[str, int] = {}
    for op in graph.ops:
        if op.is_const:
            continue
        if op.name in strange and op.output.shape[:1] != (1,):
            raise ArtifactError(f"Op {op.name!r} of type {op.type!r} has a batch of {op.output.shape[:1]}, not 1.")
        level = max((levels[name] for name in op.input_names if name in levels), default=0)
        levels[op.name] = level + (level % 2 != (op.name in strange))
    return levels


def shape_of(tensor: Tensor, batch: int) -> tuple[int, ...]:
    """The dimensions of `batch` jobs' worth of a tensor."""
    return (tensor.shape[0] * batch, *tensor.shape[1:]) if tensor.shape else ()
