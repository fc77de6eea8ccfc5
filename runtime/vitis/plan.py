"""A compiled graph cut into what the card runs and what the host computes around it, in order."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.emulator.program import KernelChoice, Program
from xmodel.errors import ArtifactError
from xmodel.graph import Graph, Subgraph, Tensor
from xmodel.part import part


@dataclass(frozen=True, slots=True)
class CardStep:
    """DPU subgraph `name`, number `index` among them; tensors have batch 1 as in the file."""

    index: int
    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class HostStep:
    """A CPU subgraph, run by the emulator's ops."""

    program: Program


Step = CardStep | HostStep


def plan(graph: Graph, kernels: KernelChoice) -> tuple[Step, ...]:
    """The steps of `graph`, whose root's children are in topological order.

    Raises `ArtifactError` for a graph that is not partitioned, and one whose parts do not hand each other what they
    need.
    """
    children = graph.root.children if graph.root is not None else ()
    steps: list[Step] = []
    made = {op.output.name for op in graph.inputs}
    for child in children:
        step = _step(graph, child, sum(isinstance(step, CardStep) for step in steps), kernels)
        if step is None:
            continue
        inputs, outputs = _tensors(step)
        missing = next((tensor.name for tensor in inputs if tensor.name not in made), None)
        if missing is not None:
            raise ArtifactError(f"Subgraph {child.name!r} reads {missing!r}, which no subgraph before it makes.")
        made |= {tensor.name for tensor in outputs}
        steps.append(step)
    lost = [op.output.name for op in graph.outputs if op.output.name not in made]
    if lost or not any(isinstance(step, CardStep) for step in steps):
        what = f"makes the output {lost[0]!r}" if lost else "runs on a DPU"
        raise ArtifactError(f"No subgraph of graph {graph.name!r} {what}.", hint="Give a compiled .xmodel.")
    return tuple(steps)


def _tensors(step: Step) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    if isinstance(step, CardStep):
        return step.inputs, step.outputs
    return step.program.inputs, step.program.outputs


def _step(graph: Graph, child: Subgraph, index: int, kernels: KernelChoice) -> Step | None:
    device = child.get("device")
    if device == "USER":
        return None
    alone = part(graph, child.name)
    if device == "CPU":
        inside = set(child.all_ops())
        leaving = dict.fromkeys(op.name for op in (*alone.outputs, *graph.outputs) if op.name in inside)
        return HostStep(Program(alone.with_attrs(return_ops=[*leaving]), kernels=kernels))
    if device != "DPU":
        raise ArtifactError(f"Subgraph {child.name!r} is for the device {device!r}; DPU, CPU and USER are known.")
    inputs, outputs = (tuple(op.output for op in ops) for ops in (alone.inputs, alone.outputs))
    for tensor in (*inputs, *outputs):
        if tensor.data_type not in ("XINT8", "INT8") or tensor.shape[:1] != (1,):
            raise ArtifactError(
                f"Tensor {tensor.name!r} of DPU subgraph {child.name!r} is {tensor.data_type} {list(tensor.shape)}; "
                "the card takes int8 with a batch of 1 in the file."
            )
    return CardStep(index, child.name, inputs, outputs)
