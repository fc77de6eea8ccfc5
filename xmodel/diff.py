"""Two graphs side by side: positions, weights, attributes, structure, and what only one of them has."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from xmodel.contents import fix_point, plain
from xmodel.errors import ArtifactError
from xmodel.file import OP_DEFS
from xmodel.graph import Array, Attr, Attrs, Graph, Op, Subgraph
from xmodel.match import match

_POSITIONS = ("fix_point", "tensor fix_point")
_MAX_POSITION = 64  # beyond, a fix position is a damaged file's
_STEP = 1 << 20  # values compared together: memory stays small beside the files


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that differs: of the op or place `name`, what, and both values (None: not there)."""

    name: str
    what: str
    a: Any
    b: Any


@dataclass(frozen=True, slots=True)
class Weights:
    """A constant whose values differ in `count` of `of` places; 0 of 0 when they cannot be compared.

    `largest` is the largest difference: in steps of the fix grid of `a` (LSB) when `grid` is true, else real. It is
    None when the values cannot be compared or one is not finite.
    """

    name: str
    count: int
    of: int
    largest: float | None
    grid: bool


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs between graphs `a` and `b`; ops are named as in `a`. `renamed` alone makes no difference."""

    positions: tuple[Change, ...]
    weights: tuple[Weights, ...]
    structure: tuple[Change, ...]
    attributes: tuple[Change, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    renamed: Mapping[str, str]

    @property
    def equal(self) -> bool:
        """True when nothing differs but names."""
        return not (self.positions or self.weights or self.structure or self.attributes or self.only_a or self.only_b)

    def data(self) -> dict[str, Any]:
        """For JSON."""
        return {"equal": self.equal, **asdict(self)}


def diff(a: Graph, b: Graph) -> Difference:
    """Compare two graphs op by op, paired as `match` says; the order of ops and the vendor's op documentation
    (`op_defs`) do not count."""
    pairs = match(a, b)
    both = [(op, b.op(pairs[op.name])) for op in a.ops if op.name in pairs]
    changes: list[Change] = []
    for x, y in both:
        changes += _attrs(x.name, x.attrs, y.attrs, skip=("data",) if x.is_const and y.is_const else ())
        changes += _attrs(x.name, x.output.attrs, y.output.attrs, "tensor ")
    subgraphs, tree = _subgraphs(a, b, pairs)
    changes += [*subgraphs, *_attrs("graph", _named(a.attrs, pairs), b.attrs, skip=(OP_DEFS,))]
    back = set(pairs.values())
    return Difference(
        positions=tuple(change for change in changes if change.what in _POSITIONS),
        weights=tuple(found for x, y in both if (found := _weights(a, x, y)) is not None),
        structure=(*(change for x, y in both for change in _form(x, y, pairs)), *tree),
        attributes=tuple(change for change in changes if change.what not in _POSITIONS),
        only_a=tuple(op.name for op in a.ops if op.name not in pairs),
        only_b=tuple(op.name for op in b.ops if op.name not in back),
        renamed={x: y for x, y in pairs.items() if x != y},
    )


def _form(x: Op, y: Op, pairs: Mapping[str, str]) -> Iterator[Change]:
    here: Any
    there: Any
    for what, here, there in (
        ("type", x.type, y.type),
        ("shape", list(x.output.shape), list(y.output.shape)),
        ("data type", x.output.data_type, y.output.data_type),
    ):
        if here != there:
            yield Change(x.name, what, here, there)
    for argument in sorted({*x.inputs, *y.inputs}):
        read, reads = x.inputs.get(argument, ()), y.inputs.get(argument, ())
        if tuple(pairs.get(name) for name in read) != reads:
            yield Change(x.name, f"argument {argument}", list(read), list(reads))


def _attrs(where: str, a: Attrs, b: Attrs, prefix: str = "", skip: Sequence[str] = ()) -> Iterator[Change]:
    for name in sorted({*a, *b}.difference(skip)):
        if not _same(a.get(name), b.get(name)):
            here, there = (None if attr is None else plain(attr.value) for attr in (a.get(name), b.get(name)))
            what = f"{prefix}{name}"
            if here == there and name in a and name in b:
                what, here, there = f"{what} (kind)", a[name].kind, b[name].kind
            yield Change(where, what, here, there)


def _same(a: Attr | None, b: Attr | None) -> bool:
    if a is None or b is None:
        return a is b
    return a.kind == b.kind and _equal(a.value, b.value)


def _equal(a: Any, b: Any) -> bool:
    """Equality, where a NaN is equal to a NaN."""
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    return bool(a == b)


def _named(attrs: Attrs, pairs: Mapping[str, str]) -> Attrs:
    """Graph attributes of `a` with the names that `b` uses."""
    attr = attrs.get("return_ops")
    if attr is None or attr.kind != "string_vec":
        return attrs
    return {**attrs, "return_ops": Attr(attr.kind, tuple(pairs.get(name, name) for name in attr.value))}


def _weights(graph: Graph, x: Op, y: Op) -> Weights | None:
    if not (x.is_const and y.is_const) or x.get("data") == y.get("data"):
        return None
    try:
        one, other = x.array().reshape(-1), y.array().reshape(-1)
    except ArtifactError:
        one = other = np.zeros(0)
    if len(one) != len(other) or one.dtype != other.dtype or not len(one):
        return Weights(x.name, 0, 0, None, False)
    position = 0 if one.dtype.kind == "i" else fix_point(graph, x)
    count, largest = _distance(one, other)
    if position is None or abs(position) > _MAX_POSITION:
        found = Weights(x.name, count, len(one), largest, False)
    else:
        found = Weights(x.name, count, len(one), math.ldexp(largest, position), True)
    if not math.isfinite(largest):
        found = replace(found, largest=None)
    return found if count else None  # 0.0 and -0.0


def _distance(one: Array, other: Array) -> tuple[int, float]:
    count, largest = 0, 0.0
    for start in range(0, len(one), _STEP):
        x, y = (side[start : start + _STEP].astype(np.float64) for side in (one, other))
        with np.errstate(invalid="ignore"):
            gap = np.abs(x - y)
        both_nan = np.isnan(x) & np.isnan(y)
        differs = (x != y) & ~both_nan
        count += int(differs.sum())
        if differs.any():
            largest = max(largest, float(np.nan_to_num(gap[differs], nan=np.inf).max()))
    return count, largest


def _subgraphs(a: Graph, b: Graph, pairs: Mapping[str, str]) -> tuple[list[Change], list[Change]]:
    """Attributes and shape of the trees; nodes are paired by the place of their first op and their depth."""
    here, there = _nodes(a, pairs), _nodes(b, {})
    attributes: list[Change] = []
    tree: list[Change] = []
    for key in dict.fromkeys([*here, *there]):
        x, y = here.get(key), there.get(key)
        if x is None or y is None:
            name = (x or y or Subgraph("")).name
            tree.append(Change(name, "subgraph", x and x.name, y and y.name))
            continue
        attributes += _attrs(f"subgraph {x.name}", x.attrs, y.attrs)
        inside = [pairs.get(name, name) for name in x.all_ops()]
        if set(inside) != set(y.all_ops()):
            tree.append(Change(x.name, "ops of the subgraph", len(inside), sum(1 for _ in y.all_ops())))
    return attributes, tree


def _nodes(graph: Graph, pairs: Mapping[str, str]) -> dict[tuple[int, str], Subgraph]:
    found: dict[tuple[int, str], Subgraph] = {}
    stack = [(graph.root, 0)] if graph.root is not None else []
    while stack:
        node, depth = stack.pop()
        first = next(node.all_ops(), "")
        found.setdefault((depth, pairs.get(first, first)), node)
        stack.extend((child, depth + 1) for child in reversed(node.children))
    return found
