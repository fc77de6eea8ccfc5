"""Which op of one graph is which of another, where names embed numbers that tracing made up."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

from xmodel.graph import Graph, Op

_NUMBERS = re.compile(r"[0-9]+")


def match(a: Graph, b: Graph) -> dict[str, str]:
    """Names of ops of `a` to the names of the same ops of `b`, each at most once.

    First by name, numbers left out: ops of one type whose names are equal then form a group. Where the group has the
    same names in both graphs, names decide; where it has as many, their order does; else equal names are paired.
    What is left is paired by structure: ops of one type that a pair reads in the same place, then, in order, ops of the
    same type and shape whose inputs are pairs.
    """
    pairs: dict[str, str] = {}
    groups_a, groups_b = _groups(a.ops), _groups(b.ops)
    for key, names in groups_a.items():
        others = groups_b.get(key, [])
        if len(names) == len(others) and set(names) != set(others):
            pairs.update(zip(names, others, strict=True))
        else:
            pairs.update({name: name for name in set(names).intersection(others)})
    _by_reader(a, b, pairs)
    _by_structure(a, b, pairs)
    return {op.name: pairs[op.name] for op in a.ops if op.name in pairs}


def _groups(ops: Iterable[Op]) -> Mapping[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for op in ops:
        found[op.type, _NUMBERS.sub("#", op.name)].append(op.name)
    return found


def _by_reader(a: Graph, b: Graph, pairs: dict[str, str]) -> None:
    taken = set(pairs.values())
    for reader in reversed(a.ops):
        if reader.name in pairs:
            places = b.op(pairs[reader.name]).inputs
            for argument, names in reader.inputs.items():
                for name, other in zip(names, places.get(argument, ()), strict=False):
                    if name not in pairs and other not in taken and a.op(name).type == b.op(other).type:
                        pairs[name] = other
                        taken.add(other)


def _by_structure(a: Graph, b: Graph, pairs: dict[str, str]) -> None:
    taken = set(pairs.values())
    waiting: dict[object, list[str]] = defaultdict(list)
    for op in reversed(b.ops):
        if op.name not in taken:
            waiting[_form(op, {})].append(op.name)
    for op in a.ops:
        if op.name not in pairs and (found := waiting.get(_form(op, pairs))):
            pairs[op.name] = found.pop()


def _form(op: Op, names: Mapping[str, str]) -> object:
    inputs = tuple((argument, tuple(names.get(n, n) for n in ops)) for argument, ops in sorted(op.inputs.items()))
    return op.type, op.output.shape, op.output.data_type, inputs
