"""`vart.Runner` and `vart.RunnerExt`: jobs of one subgraph on the emulator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from arch.targets import by_fingerprint, find
from runtime.dropin import session
from runtime.dropin.buffers import bind, count, load, room, store
from runtime.dropin.custom import custom
from runtime.dropin.freeze import freeze, freeze_subgraph
from runtime.dropin.graph import Graph
from runtime.dropin.jobs import jobs
from runtime.dropin.network import Network, shape_of
from runtime.dropin.subgraph import Subgraph
from runtime.dropin.tensor import Tensor
from runtime.dropin.tensor_buffer import TensorBuffer
from xmodel.errors import UsageError
from xmodel.graph import Op as FrozenOp
from xmodel.graph import Tensor as FrozenTensor
from xmodel.part import enclosed

Job = tuple[int, int]


def network(graph: Graph, subgraph: Subgraph | None) -> Network:
    """One subgraph of `graph`, or all of it, ready to run; runners share it. Raises `ArtifactError`."""
    return graph.memo(("network", subgraph), lambda: _made(graph, subgraph))


def _made(graph: Graph, subgraph: Subgraph | None) -> Network:
    frozen, now = freeze(graph), session.current()
    if subgraph is not None:
        place = {op: number for number, op in enumerate(graph.toposort())}
        frozen = enclosed(frozen, freeze_subgraph(subgraph, place))

    def make(op: FrozenOp) -> Any:
        own = graph.get_op(op.name)
        assert own is not None, op.name  # the network was made of this graph
        return custom(own)

    return Network(now.prepare(frozen), now.kernels, make)


def batch_of(subgraph: Subgraph) -> int:
    """Images a job on the card: the target's processing engines for a DPU subgraph, 1 elsewhere."""
    name = subgraph.get_attr("dpu_name") if subgraph.has_attr("dpu_name") else None
    fingerprint = subgraph.get_attr("dpu_fingerprint") if subgraph.has_attr("dpu_fingerprint") else None
    lookups: tuple[tuple[Any, type, Callable[[Any], Any]], ...] = (
        (fingerprint, int, by_fingerprint),
        (name, str, find),
    )
    for value, kind, lookup in lookups:
        if isinstance(value, kind):
            try:
                return int(lookup(value).batch)
            except UsageError:
                continue
    return 1


class Engine:
    """A network with its tensors as runners show them: dims[0] is the batch; `limit` images fit a job."""

    def __init__(self, graph: Graph, subgraph: Subgraph | None, batch: int) -> None:
        self.network = network(graph, subgraph)
        self.inputs = [_shown(graph, tensor, batch) for tensor in self.network.inputs]
        self.outputs = [_shown(graph, tensor, batch) for tensor in self.network.outputs]

    def start(self, inputs: Any, outputs: Any, dynamic: bool) -> Job:
        """Check and copy the inputs, queue the job; (its number, 0)."""
        given, wanted = bind(self.inputs, inputs, "input", dynamic), bind(self.outputs, outputs, "output", dynamic)
        images = count(given)
        room(wanted, images)
        feeds = {tensor.name: load(tensor, array, images) for tensor, array in given}

        def work(cores: int) -> None:
            self.network.set_threads(cores)
            made = self.network.run(feeds)
            for tensor, array in wanted:
                store(tensor, made[tensor.name], array, images)

        return jobs().start(work), 0


def _shown(graph: Graph, tensor: FrozenTensor, batch: int) -> Tensor:
    shown = Tensor(tensor.name, shape_of(tensor, batch), tensor.data_type, tensor.attrs)
    own = graph.get_tensor(tensor.name)
    shown.producer = None if own is None else own.producer
    return shown


class Runner:
    """Runs one subgraph; several threads may share a runner, and runners of a subgraph share its weights."""

    def __init__(self, subgraph: Subgraph, mode: str = "") -> None:
        """`mode` is a key of the subgraph's attribute `runner`: "run", "ref" or "sim", all of which are the emulator.

        Raises `TypeError` for what is no subgraph, `UsageError` for one without a runner or another mode (the
        vendor's module aborts), `ArtifactError` for ops that cannot be run.
        """
        if not isinstance(subgraph, Subgraph):
            raise TypeError(f"create_runner takes a subgraph of an xir.Graph, not {type(subgraph).__name__}.")
        _runnable(subgraph, mode)
        self._name = subgraph.get_name()
        self._engine = Engine(subgraph.get_graph(), subgraph, batch_of(subgraph))

    @classmethod
    def create_runner(cls, subgraph: Subgraph, mode: str = "") -> Runner:
        """A runner of `subgraph`; see the constructor."""
        return cls(subgraph, mode)

    def get_input_tensors(self) -> list[Tensor]:
        """What a job reads: dims[0] is the batch, `fix_point` that of int8 values."""
        return list(self._engine.inputs)

    def get_output_tensors(self) -> list[Tensor]:
        """What a job makes."""
        return list(self._engine.outputs)

    def execute_async(self, inputs: Any, outputs: Any, enable_dynamic_array: bool = False) -> Job:
        """Start a job on lists of arrays, in the order of the tensors, or of tensor buffers; returns (id, 0).

        Arrays are int8 at the tensor's fix point, int16, or float32, which are converted; they hold 1 to dims[0]
        images. Inputs are copied here; outputs are complete when `wait` returns. Raises `UsageError`, `TypeError` or
        `ValueError` naming the tensor for what the vendor's module would read out of bounds or abort on.
        """
        return self._engine.start(inputs, outputs, bool(enable_dynamic_array))

    def wait(self, job_id: Job) -> int:
        """Return 0 when a job is done, whichever thread or runner started it; raises what the job raised."""
        return jobs().wait(job_id)

    def __repr__(self) -> str:
        return f"vart.{type(self).__name__}{{{self._name}}}"


class RunnerExt(Runner):
    """A runner with buffers of its own: fill what `get_inputs` gives, read what `get_outputs` gives."""

    def __init__(self, subgraph: Subgraph, mode: str = "") -> None:
        super().__init__(subgraph, mode)
        self._hold(self._engine)

    def _hold(self, engine: Engine) -> None:
        self._inputs = [TensorBuffer.of(tensor) for tensor in engine.inputs]
        self._outputs = [TensorBuffer.of(tensor) for tensor in engine.outputs]

    def get_inputs(self) -> list[TensorBuffer]:
        """The runner's input buffers, the same ones at every call."""
        return list(self._inputs)

    def get_outputs(self) -> list[TensorBuffer]:
        """The runner's output buffers."""
        return list(self._outputs)


class GraphRunner(RunnerExt):
    """Runs a whole graph, its CPU subgraphs included; the batch is that of its DPU subgraphs."""

    def __init__(self, graph: Graph) -> None:
        if not isinstance(graph, Graph):
            raise TypeError(f"create_graph_runner takes an xir.Graph, not {type(graph).__name__}.")
        self._name = graph.get_name()
        parts: Sequence[Subgraph] = graph.get_root_subgraph().toposort_child_subgraph()
        self._engine = Engine(graph, None, max((batch_of(part) for part in parts), default=1))
        self._hold(self._engine)

    @staticmethod
    def create_graph_runner(graph: Graph) -> RunnerExt:
        """A runner of `graph`. Raises `ArtifactError` for ops that cannot be run."""
        return GraphRunner(graph)


def _runnable(subgraph: Subgraph, mode: str) -> None:
    device = subgraph.get_attr("device") if subgraph.has_attr("device") else None
    modes = subgraph.get_attr("runner") if subgraph.has_attr("runner") else None
    if not isinstance(modes, dict) or not modes:
        raise UsageError(
            f"Subgraph {subgraph.get_name()!r} ({f'device {device}' if device else 'no device'}) has no runner.",
            hint="Take a child of the root subgraph whose attribute device is 'DPU' or 'CPU'; a graph that has none "
            "is not compiled: see `unmask compile`.",
        )
    if mode not in modes:
        raise UsageError(
            f"Subgraph {subgraph.get_name()!r} has no runner mode {mode!r}.", hint=f"It has {sorted(modes)}: use 'run'."
        )
