"""A graph made ready to run: ops checked and planned once, tensors freed as soon as their last reader is done."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal, Protocol

import numpy as np

from runtime.emulator import operations, signs
from runtime.emulator.native.library import NotBuiltError
from runtime.emulator.node import MAX_ELEMENTS, Node
from runtime.emulator.operations import Function, Spec
from runtime.emulator.rounding import quantize
from runtime.emulator.spec import Concat, Rules
from runtime.emulator.steps import Step, freed, joined
from xmodel.errors import ArtifactError, UnavailableError, UsageError
from xmodel.graph import Array, Graph, Op, Tensor, numpy_dtype

Watch = Callable[[str, Array], None]
After = Callable[[str], None]
KernelChoice = Literal["reference", "torch", "native", "auto"]
CHUNK_ELEMENTS = 4 << 20  # images run together while their largest tensor stays in a CPU's cache

log = logging.getLogger("unmask.emulator")


class Kernels(Protocol):
    """A set of fast kernels: same bytes as the reference."""

    name: str
    notes: tuple[str, ...]

    def prepare(
        self, node: Node, spec: Spec | None, constants: Sequence[Array | None], nonnegative: Sequence[Array]
    ) -> Function | None:
        """A function of the operands' arrays, or None to leave the op to the reference."""
        ...

    def join(self, concat: Concat, reader: Function) -> Function | None:
        """What `reader`, made by `prepare`, gives of a concatenation: a function of the latter's inputs, or None."""
        ...

    def set_threads(self, count: int) -> None:
        """How many cores the calling thread's work may use."""
        ...


def load_kernels(choice: KernelChoice) -> Kernels | None:
    """The kernel set for `choice`; None is the reference.

    "auto" takes native, torch or the reference, the first that is here and exact on this machine; it logs why it
    passed one over, except where the native one was never built. Raises `UnavailableError` for a set that was named.
    """
    if choice == "reference":
        return None
    if choice not in ("native", "torch", "auto"):
        raise UsageError(
            f"There is no kernel set called {choice!r}.", hint="Known are reference, torch, native and auto."
        )
    notes: tuple[str, ...] = ()
    if choice != "torch":
        try:
            return _native()
        except UnavailableError as error:
            if choice == "native":
                raise UnavailableError(
                    f"The native kernels cannot be used: {error}.", hint=error.hint or "Use --kernels torch."
                ) from error
            if not isinstance(error, NotBuiltError):
                notes = (f"The native kernels are passed over: {error}.",)
                log.warning("%s", notes[0])
    try:
        return _torch(notes)
    except (ImportError, UnavailableError) as error:
        if choice == "torch":
            raise UnavailableError(
                f"The torch kernels cannot be used: {error}.", hint="Use --kernels reference, or install torch."
            ) from error
        log.warning("The emulator runs its slow reference: %s", error)
        return None


def _native() -> Kernels:
    from runtime.emulator.native import native_kernels, native_selftest

    return native_kernels.NativeKernels(native_selftest.verified())


def _torch(notes: tuple[str, ...]) -> Kernels:
    from runtime.emulator import torch_kernels, torch_selftest

    paths, found = torch_selftest.verified()
    return torch_kernels.TorchKernels(paths, (*notes, *found))


class Program:
    """An executable graph.

    `graph` may be compiled (USER, DPU and CPU subgraphs), plain integer or quantized float; every op runs here.
    `inputs` and `outputs` are its tensors as the graph states them; `run` takes any batch and is thread-safe.
    Raises `ArtifactError` naming the op for anything that cannot be run.
    """

    def __init__(self, graph: Graph, kernels: KernelChoice = "auto", rules: Rules = Rules.CARD) -> None:
        _check_order(graph)
        chosen = load_kernels(kernels)
        self.name = graph.name
        self._kernels = chosen
        self.kernels = "reference" if chosen is None else chosen.name
        self.notes = () if chosen is None else chosen.notes
        self.inputs = tuple(op.output for op in graph.inputs)
        self.outputs = tuple(op.output for op in graph.outputs)
        self._slots = {op.name: index for index, op in enumerate(graph.ops)}
        self._feeds = {name: op for op in graph.inputs for name in (op.name, op.output.name)}
        self._constants: dict[int, Array] = {}
        self._tensors = tuple(op.output for op in graph.ops)
        self._returned = tuple(self._slots[op.name] for op in graph.outputs)
        self._concats: dict[int, Concat] = {}
        steps = self._plan(graph, chosen, rules)
        kept = (*self._returned, *self._constants)
        self._steps = freed(steps, kept)
        self._unwatched = (
            self._steps if chosen is None else freed(joined(steps, self._concats, chosen.join, kept), kept)
        )
        self._chunk = _chunk(graph, {self._tensors[step.writes].name for step in self._unwatched})

    def _plan(self, graph: Graph, chosen: Kernels | None, rules: Rules) -> list[Step]:
        steps: list[Step] = []
        masks: dict[str, Array] = {}
        for index, op in enumerate(graph.ops):
            _check_tensor(op)
            node, names = operations.node(graph, op)
            reads = tuple(self._slots[name] for name in names)
            spec = operations.parse(node, rules)
            masks[op.name] = signs.nonnegative(node, spec, tuple(masks[name] for name in names))
            if op.is_const:
                self._constants[index] = _constant(op, graph)
            elif op.type not in ("data", "data-fix"):
                function = operations.function(node, spec)
                if chosen is not None:
                    constants = [self._constants.get(slot) for slot in reads]
                    fast = chosen.prepare(node, spec, constants, [masks[name] for name in names])
                    function = fast or function
                if isinstance(spec, Concat):
                    self._concats[index] = spec
                steps.append(Step(op.name, function, reads, index))
        return steps

    def set_threads(self, count: int) -> None:
        """How many cores the calling thread's runs may use."""
        if self._kernels is not None:
            self._kernels.set_threads(count)

    def run(
        self, feeds: Mapping[str, Array], dump: bool = False, watch: Watch | None = None, after: After | None = None
    ) -> dict[str, Array]:
        """The output tensors by name, every tensor when `dump` is set.

        `watch(op name, array)` sees every computed tensor when it is made; a large batch comes in several chunks.
        `after(op name)` is told what was computed last and changes nothing: without `dump` and `watch` some
        concatenations are never made.

        `feeds` maps an input's op or tensor name to int8 NHWC values, or to float32 ones that are quantized with the
        input's fix point (half up, saturating). All inputs must have the same batch. Raises `UsageError`.
        """
        accepted = self._accept(feeds)
        batch = max((len(array) for array in accepted.values()), default=1)
        parts = [
            self._run({slot: array[at : at + self._chunk] for slot, array in accepted.items()}, dump, watch, after)
            for at in range(0, batch, self._chunk)
        ]
        if len(parts) == 1:
            return parts[0]
        constants = {self._tensors[slot].name for slot in self._constants}
        return {
            name: value if name in constants else np.concatenate([part[name] for part in parts])
            for name, value in parts[0].items()
        }

    def _run(
        self, feeds: Mapping[int, Array], dump: bool, watch: Watch | None, after: After | None
    ) -> dict[str, Array]:
        values: list[Array | None] = [None] * len(self._tensors)
        for slot, array in (*self._constants.items(), *feeds.items()):
            values[slot] = array
        for step in self._unwatched if watch is None and not dump else self._steps:
            made = values[step.writes] = self._compute(step, [values[slot] for slot in step.reads])
            if watch is not None:
                watch(step.name, made)
            if after is not None:
                after(step.name)
            if not dump:
                for slot in step.frees:
                    values[slot] = None
        chosen = range(len(values)) if dump else self._returned
        return {self._tensors[slot].name: value for slot in chosen if (value := values[slot]) is not None}

    def _compute(self, step: Step, inputs: Sequence[Array | None]) -> Array:
        """A step's array, checked against what its tensor says: a file may say anything."""
        tensor = self._tensors[step.writes]
        try:
            value = step.function(*inputs)
        except (ValueError, IndexError, TypeError, RuntimeError, OverflowError) as error:
            raise ArtifactError(
                f"Op {step.name!r} cannot be computed on its inputs: {error}.", where=self.name
            ) from error
        if value.shape[1:] != tensor.shape[1:] or value.dtype != numpy_dtype(tensor.data_type):
            raise ArtifactError(
                f"Op {step.name!r} computes {value.dtype} {list(value.shape)}, but its tensor says "
                f"{tensor.data_type} {list(tensor.shape)}.",
                where=self.name,
            )
        return value

    def _accept(self, feeds: Mapping[str, Array]) -> dict[int, Array]:
        accepted: dict[int, Array] = {}
        for name, array in feeds.items():
            if name not in self._feeds:
                raise UsageError(
                    f"Graph {self.name!r} has no input {name!r}.", hint=f"Its inputs are {sorted(self._feeds)}."
                )
            op = self._feeds[name]
            accepted[self._slots[op.name]] = accept(op.output, array)
        missing = [t.name for t in self.inputs if not any(self._tensors[slot].name == t.name for slot in accepted)]
        if missing:
            raise UsageError(f"Graph {self.name!r} also needs the inputs {missing}.")
        batches = {array.shape[0] for array in accepted.values() if array.ndim}
        if len(batches) > 1:
            raise UsageError(f"The inputs of graph {self.name!r} have different batches: {sorted(batches)}.")
        return accepted


def accept(tensor: Tensor, array: Array) -> Array:
    """`array` as the data of input `tensor`: any batch, C order, of the tensor's data type.

    Float values for an integer tensor are quantized with its fix point, half up and saturating. Raises `UsageError`.
    """
    array, wanted = np.asarray(array), numpy_dtype(tensor.data_type)
    if array.ndim != len(tensor.shape) or array.shape[1:] != tensor.shape[1:] or array.shape[:1] == (0,):
        raise UsageError(
            f"Input {tensor.name!r} takes [N, {', '.join(map(str, tensor.shape[1:]))}], not {list(array.shape)}.",
            hint="Images are NHWC.",
        )
    if array.dtype.kind == "f" and wanted.kind in "iu":
        fix_point = tensor.get("fix_point")
        if not isinstance(fix_point, int):
            raise UsageError(f"Input {tensor.name!r} has no fix point: give it as {wanted}.")
        array = quantize(array, fix_point, 8 * wanted.itemsize)
    elif array.dtype != wanted and not (array.dtype.kind == "f" and wanted.kind == "f"):
        raise UsageError(f"Input {tensor.name!r} takes {wanted} or float32 values, not {array.dtype}.")
    return np.ascontiguousarray(array, wanted)


def _chunk(graph: Graph, made: Collection[str]) -> int:
    """How many images run together: what the file says where an op mixes the batch with something else.

    `made` are the tensors that a run computes, by name.
    """
    written = graph.inputs[0].output.shape[0] if graph.inputs and graph.inputs[0].output.shape else 1
    moving = [op for op in graph.ops if not op.is_const]
    if written != 1 or not all(_keeps_batch(op) for op in moving):
        return written
    sizes = [math.prod(op.output.shape) for op in moving if op.output.name in made]
    return max(1, CHUNK_ELEMENTS // max(sizes, default=1))


def _keeps_batch(op: Op) -> bool:
    """Whether the first axis stays the batch; attributes of a damaged file may be of any kind."""
    axes, order = op.get("axis", -1), op.get("order", (0,))
    axes = axes if isinstance(axes, tuple | list) else (axes,)
    first = order[:1] if isinstance(order, tuple | list) else (0,)
    mixed = any(axis in (0, -len(op.output.shape)) for axis in axes)
    return op.output.shape[:1] == (1,) and not mixed and tuple(first) == (0,)


def _check_tensor(op: Op) -> None:
    tensor = op.output
    count = math.prod(tensor.shape[1:]) * max(1, tensor.shape[0] if op.is_const and tensor.shape else 1)
    if count > MAX_ELEMENTS or any(size < 1 for size in tensor.shape):
        raise ArtifactError(f"Op {op.name!r} of type {op.type!r} has an impossible shape {list(tensor.shape)}.")


def _constant(op: Op, graph: Graph) -> Array:
    data = op.get("data", b"")
    if not isinstance(data, bytes | memoryview) or not len(data):
        raise ArtifactError(
            f"Constant {op.name!r} holds no values.",
            where=graph.name,
            hint="The vendor's compiler keeps them in a parameter blob; compile.decode.parameters reads them back.",
        )
    return op.array()


def _check_order(graph: Graph) -> None:
    seen: set[str] = set()
    for op in graph.ops:
        missing = next((name for name in op.input_names if name not in seen), None)
        if missing is not None:
            raise ArtifactError(f"Op {op.name!r} reads {missing!r}, which does not come before it.", where=graph.name)
        if op.name in seen:
            raise ArtifactError(f"There are two ops named {op.name!r}.", where=graph.name)
        seen.add(op.name)
