from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from arch.targets import find
from compile.lower import lower
from compile.pipeline import compile_graph
from tests.compile.build import Builder
from xmodel.errors import ArtifactError, UnmaskError
from xmodel.graph import Attr, Graph


def network() -> Graph:
    b = Builder()
    x = b.data((1, 8, 8, 3))
    skip = b.fix(b.unary("r", "relu", b.conv("c", x, 4)), 3)
    pooled = b.fix(b.pool("p", "maxpool2d", skip, 2), 3)
    up = b.fix(b.op("u", "resize", {"input": [pooled]}, (1, 8, 8, 4), mode="NEAREST", scale=[2.0, 2.0]), 3)
    joined = b.fix(b.op("cat", "concat", {"input": [skip, up]}, (1, 8, 8, 8), axis=3), 3)
    total = b.fix(b.op("add", "add", {"input": [joined, joined]}, (1, 8, 8, 8)), 2)
    return b.graph(b.unary("s", "sigmoid", b.fix(b.linear("l", total, 2), 1)))


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("c", {"kernel": [3]}, r"Op 'c' needs 2 values >= 1 as 'kernel', not \(3,\)\."),
        ("p", {"stride": [0, 2]}, r"Op 'p' needs 2 values >= 1 as 'stride', not \(0, 2\)\."),
        ("r_fix", {"fix_point": 10**6}, r"Op 'r_fix' has fix point 1000000, 8 bits, signed"),
    ],
)
def test_impossible_attributes_are_named(name: str, changes: dict[str, Any], message: str) -> None:
    graph = network()
    broken = graph.with_ops(op.with_attrs(**changes) if op.name == name else op for op in graph.ops)
    with pytest.raises(ArtifactError, match=message):
        lower(broken)


@pytest.mark.parametrize("seed", range(150))
def test_damaged_graphs_give_an_error_and_never_a_crash(seed: int) -> None:
    random = np.random.default_rng(seed)
    graph = network()
    ops = list(graph.ops)
    for _ in range(2):
        index = int(random.integers(len(ops)))
        op = ops[index]
        if op.attrs and random.random() < 0.6:
            key = list(op.attrs)[int(random.integers(len(op.attrs)))]
            kind = op.attrs[key].kind
            odd: dict[str, list[Any]] = {
                "int32": [0, -1, 2**31 - 1],
                "int32_vec": [(), (0,), (-1, 3), (2**31 - 1,) * 4, (1, 2, 3, 4, 5)],
                "float_vec": [(), (0.0, 0.0), (float("nan"),) * 2],
                "string": ["", "SAME", "CEIL"],
            }
            choices = odd.get(kind)
            if choices:
                value = Attr(kind, choices[int(random.integers(len(choices)))])
                ops[index] = replace(op, attrs={**op.attrs, key: value})
        else:
            shapes: list[tuple[int, ...]] = [(), (0,), (1, 0, 0, 3), (1, 8, 8, 3), (7,), (1, 1 << 20, 1, 1)]
            shape = shapes[int(random.integers(len(shapes)))]
            ops[index] = replace(op, output=replace(op.output, shape=shape))
    try:
        compile_graph(graph.with_ops(ops), find("8PE"))
    except UnmaskError as error:
        assert error.what.endswith(".")
