"""Between the graphs that applications change and the immutable ones that the other stages work on."""

from __future__ import annotations

from collections.abc import Mapping

from runtime.dropin.graph import Graph
from runtime.dropin.op import Op
from runtime.dropin.subgraph import Subgraph
from runtime.dropin.tensor import Tensor
from xmodel.graph import Graph as Frozen
from xmodel.graph import Op as FrozenOp
from xmodel.graph import Subgraph as FrozenSubgraph
from xmodel.graph import Tensor as FrozenTensor


def thaw(frozen: Frozen) -> Graph:
    """A graph for applications with the content of `frozen`; constants share its memory."""
    graph = Graph(frozen.name)
    graph.restore_attrs(frozen.attrs)
    ops: dict[str, Op] = {}
    for item in frozen.ops:
        tensor = Tensor(item.output.name, item.output.shape, item.output.data_type, item.output.attrs)
        op = ops[item.name] = Op(graph, item.name, item.type, item.attrs, tensor)
        op.inputs = {argument: [ops[name] for name in names] for argument, names in item.inputs.items()}
    root = graph.get_root_subgraph()
    placed: set[str] = set()
    if frozen.root is not None:
        root.restore(frozen.root.name, frozen.root.attrs)
        _grow(root, frozen.root, ops)
        placed = {op.get_name() for leaf in root.leaves() for op in leaf.own}
    for name, op in ops.items():
        graph.place(op, op.home if name in placed else None)
    return graph


def _grow(node: Subgraph, frozen: FrozenSubgraph, ops: Mapping[str, Op]) -> None:
    node.hold(ops[name] for name in frozen.ops)
    for child in frozen.children:
        _grow(node.add_child(child.name, child.attrs), child, ops)


def freeze(graph: Graph) -> Frozen:
    """The graph as it is now. Raises `ArtifactError` when it has a cycle."""
    order = graph.toposort()
    place = {op: number for number, op in enumerate(order)}
    ops = tuple(_op(op) for op in order)
    return Frozen(graph.get_name(), ops, graph.stored_attrs(), freeze_subgraph(graph.get_root_subgraph(), place))


def freeze_subgraph(node: Subgraph, place: Mapping[Op, int]) -> FrozenSubgraph:
    """A node with everything below; `place` is each op's place in topological order."""
    children = tuple(freeze_subgraph(child, place) for child in node.children)
    ops = tuple(op.get_name() for op in sorted(node.own, key=lambda op: place[op]))
    return FrozenSubgraph(node.get_name(), ops, children, node.stored_attrs())


def _op(op: Op) -> FrozenOp:
    inputs = {argument: tuple(source.get_name() for source in sources) for argument, sources in op.inputs.items()}
    return FrozenOp(op.get_name(), op.get_type(), inputs, op.stored_attrs(), freeze_tensor(op.get_output_tensor()))


def freeze_tensor(tensor: Tensor) -> FrozenTensor:
    """A tensor."""
    return FrozenTensor(tensor.name, tuple(tensor.dims), tensor.data_type.name, tensor.stored_attrs())
