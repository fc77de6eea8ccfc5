"""`xir.Subgraph`: a node of the tree that divides a graph's ops among devices."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping
from os import PathLike
from typing import TYPE_CHECKING

from runtime.dropin import dot
from runtime.dropin.attributes import Attributed
from runtime.dropin.op import Op
from runtime.dropin.tensor import Tensor
from xmodel.errors import ArtifactError, UsageError
from xmodel.graph import Attr

if TYPE_CHECKING:
    from runtime.dropin.graph import Graph


class Subgraph(Attributed):
    """A leaf holds ops, every other node has children. Made by graphs alone; equal when it is the same object."""

    def __init__(self, graph: Graph, name: str, parent: Subgraph | None, attrs: Mapping[str, Attr]) -> None:
        super().__init__(attrs)
        self._graph, self._name, self._parent = graph, name, parent
        self.children: list[Subgraph] = []
        self.own: dict[Op, None] = {}  # in the order in which they came; of a leaf alone

    def _title(self) -> str:
        return f"Subgraph {self._name!r}"

    def _changed(self) -> None:
        self._graph.touch()

    def get_name(self) -> str:
        """The subgraph's name."""
        return self._name

    def set_name(self, name: str) -> None:
        """Rename it."""
        self._name = str(name)
        self._changed()

    def restore(self, name: str, attrs: Mapping[str, Attr]) -> None:
        """Take name and attributes from a file."""
        self._name = name
        self.restore_attrs(attrs)

    def get_graph(self) -> Graph:
        """The graph that it divides."""
        return self._graph

    @property
    def is_root(self) -> bool:
        """Whether it is the whole graph."""
        return self._parent is None

    @property
    def is_leaf(self) -> bool:
        """Whether it has no children."""
        return not self.children

    @property
    def root(self) -> Subgraph:
        """The tree's root."""
        node = self
        while node._parent is not None:
            node = node._parent
        return node

    @property
    def depth(self) -> int:
        """Steps to the root: 0 for the root itself."""
        return 0 if self._parent is None else self._parent.depth + 1

    def get_parent(self) -> Subgraph | None:
        """The node above, None above the root."""
        return self._parent

    def get_children_num(self) -> int:
        """How many children it has."""
        return len(self.children)

    def get_children(self) -> set[Subgraph]:
        """Its children."""
        return set(self.children)

    def is_child(self, subgraph: Subgraph) -> bool:
        """Whether `subgraph` is one of its children."""
        return subgraph in self.children

    def leaves(self) -> Iterator[Subgraph]:
        """Every leaf below, or itself, in order."""
        stack = [self]
        while stack:
            node = stack.pop()
            if node.is_leaf:
                yield node
            stack.extend(reversed(node.children))

    def get_ops(self) -> set[Op]:
        """Every op below."""
        return {op for leaf in self.leaves() for op in leaf.own}

    def get_op_num(self) -> int:
        """How many ops are below."""
        return sum(len(leaf.own) for leaf in self.leaves())

    def has_op(self, op: Op | str) -> bool:
        """Whether an op, given itself or by name, is below."""
        found = self._graph.get_op(op) if isinstance(op, str) else op
        return found in self.get_ops()

    def get_tensor_producer(self, tensor: Tensor) -> Op | None:
        """The op below that makes `tensor`, None when it comes from elsewhere."""
        producer = self._graph.get_tensor_producer(tensor)
        return producer if producer is not None and self.has_op(producer) else None

    def get_input_tensors(self) -> set[Tensor]:
        """The tensors that it reads and does not make."""
        return set(self.sorted_inputs())

    def get_output_tensors(self) -> set[Tensor]:
        """The tensors that it makes and others, or nobody, read."""
        return set(self.sorted_outputs())

    def sorted_inputs(self) -> list[Tensor]:
        """`get_input_tensors`, in topological order of their producers."""
        inside = self.get_ops()
        read = {source for op in inside for ops in op.inputs.values() for source in ops} - inside
        return [op.get_output_tensor() for op in self._graph.toposort() if op in read]

    def sorted_outputs(self) -> list[Tensor]:
        """`get_output_tensors`, in topological order of their producers."""
        inside = self.get_ops()
        leaving = (op for op in self._graph.toposort() if op in inside)
        return [op.get_output_tensor() for op in leaving if not set(self._graph.readers(op)) or
                not inside.issuperset(self._graph.readers(op))]  # fmt: skip

    def find_child_subgraph_by_op(self, op: Op) -> Subgraph | None:
        """The child that holds `op`, None when it is not below."""
        node = op.home
        while node is not None and node.get_parent() is not self:
            node = node.get_parent()
        return node

    def find_child_subgraph_by_op_name(self, name: str) -> Subgraph | None:
        """The child that holds the op called `name`."""
        op = self._graph.get_op(name)
        return None if op is None else self.find_child_subgraph_by_op(op)

    def create_child_subgraph(self) -> None:
        """Give a leaf a child `subgraph_<op>` for each of its ops. Raises `UsageError` for a node with children."""
        if not self.is_leaf or not self.own:
            state = "has children already" if self.children else "holds no ops"
            raise UsageError(f"{self._title()} {state}: only a leaf with ops can be divided.")
        for op in self.toposort():
            self.add_child(f"subgraph_{op.get_name()}", {}).hold([op])
        self.own.clear()
        self._changed()

    def merge_children(self, subgraph_list: Collection[Subgraph]) -> Subgraph:
        """Make one child of several, at the place and with the name of the first; returns it.

        Leaves become one leaf. Where one of them has children, its children and the leaves become the new child's.
        Raises `UsageError` for what is no child.
        """
        chosen = [child for child in self.toposort_child_subgraph() if child in set(subgraph_list)]
        if not chosen or len(chosen) != len(set(subgraph_list)):
            raise UsageError(
                f"{self._title()} can merge its own children only; {len(set(subgraph_list))} were given, of which "
                f"{len(chosen)} are its children."
            )
        merged = Subgraph(self._graph, chosen[0].get_name(), self, {})
        place = self.children.index(chosen[0])
        if all(child.is_leaf for child in chosen):
            merged.hold([op for child in chosen for op in child.own])
        else:
            for node in (node for child in chosen for node in ([child] if child.is_leaf else child.children)):
                node._parent = merged
                merged.children.append(node)
        self.children[place] = merged
        self.children = [child for child in self.children if child not in chosen]
        self._changed()
        return merged

    def add_child(self, name: str, attrs: Mapping[str, Attr]) -> Subgraph:
        """A new, empty last child."""
        child = Subgraph(self._graph, name, self, attrs)
        self.children.append(child)
        return child

    def hold(self, ops: Iterable[Op]) -> None:
        """Take `ops` into this leaf."""
        for op in ops:
            self.own[op] = None
            op.home = self

    def drop(self, op: Op) -> None:
        """Let go of an op; a node that is left with nothing goes as well, as files hold none."""
        del self.own[op]
        op.home = None
        node = self
        while node._parent is not None and not node.own and not node.children:
            node._parent.children.remove(node)
            node = node._parent

    def toposort(self) -> list[Op]:
        """The ops below in topological order."""
        inside = self.get_ops()
        return [op for op in self._graph.toposort() if op in inside]

    def toposort_child_subgraph(self) -> list[Subgraph]:
        """The children in topological order: stored order where dependencies leave a choice.

        Raises `ArtifactError` when children wait for each other.
        """
        home = {op: place for place, child in enumerate(self.children) for op in child.get_ops()}
        waiting: list[set[int]] = [set() for _ in self.children]
        for op, place in home.items():
            waiting[place] |= {home[s] for ops in op.inputs.values() for s in ops if s in home} - {place}
        readers: list[list[int]] = [[] for _ in self.children]
        for place, sources in enumerate(waiting):
            for source in sources:
                readers[source].append(place)
        ready = [place for place, sources in enumerate(waiting) if not sources]
        order: list[Subgraph] = []
        while ready:
            place = heapq.heappop(ready)
            order.append(self.children[place])
            for reader in readers[place]:
                waiting[reader].discard(place)
                if not waiting[reader]:
                    heapq.heappush(ready, reader)
        if len(order) != len(self.children):
            raise ArtifactError(f"The children of {self.inline()} wait for each other.")
        return order

    def save_as_dot(self, path: str | PathLike[str]) -> None:
        """Write the ops below as a Graphviz file."""
        dot.save(path, dot.text(self._name, self.toposort()))

    def __repr__(self) -> str:
        return f"xir.Subgraph{{name: {self._name}, ops: {self.get_op_num()}, children: {len(self.children)}}}"
