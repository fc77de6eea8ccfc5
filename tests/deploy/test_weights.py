from __future__ import annotations

import numpy as np
import pytest

from deploy import weights
from deploy.weights import plots, spread
from tests.xmodel.graphs import FIX, compiled
from xmodel.graph import Array, Graph, Op, Tensor, attrs, const


def _quantized(array: Array, fix_point: int) -> Graph:
    fix = Op("w_fix", "fix", {"input": ("w",)}, attrs(**FIX | {"fix_point": fix_point}), Tensor("w_fix", array.shape))
    return Graph("g", (const("w", array), fix))


def test_an_int8_constant() -> None:
    graph = Graph("g", (const("w", np.array([[-128, 0, 0, 5], [127, 127, 3, 4]], np.int8), "const-fix", **FIX),))
    found = spread(graph, graph.ops[0])
    assert (found.fix_point, found.least, found.most, found.used) == (5, -128, 127, 1.0)
    assert (found.count, found.zeros, found.saturated) == (8, 2, 3)
    assert sum(found.bins) == 8 and (found.bins[0], found.bins[32], found.bins[33], found.bins[63]) == (1, 3, 2, 2)


def test_a_float_constant_on_a_grid() -> None:
    graph = _quantized(np.array([-0.5, 0.25, 0.125, np.nan, 99], np.float32), 3)
    found = spread(graph, graph.ops[0])
    assert (found.fix_point, found.least, found.most, found.zeros, found.saturated) == (3, -4, 127, 1, 1)


@pytest.mark.parametrize("fix_point", [None, 1 << 20])
def test_a_constant_without_a_grid(fix_point: int | None) -> None:
    values = np.array([0.5, -1.5, 0, np.inf], np.float32)
    graph = Graph("g", (const("w", values),)) if fix_point is None else _quantized(values, fix_point)
    found = spread(graph, graph.ops[0])
    assert (found.fix_point, found.used, found.low, found.high) == (None, None, -1.5, 0.5)
    assert sum(found.bins) == 3 and found.zeros == 1


def test_a_constant_of_one_value_and_one_of_none() -> None:
    for value in (7.0, np.nan):
        graph = Graph("g", (const("w", np.full(3, value, np.float32)),))
        found = spread(graph, graph.ops[0])
        assert found.low < found.high and "NaN" not in found.svg.upper()


def test_the_histogram_is_a_picture_of_fixed_size() -> None:
    found = spread(compiled(), compiled().op("w"))
    assert found.svg.startswith('<svg class="bins" viewBox="0 0 256 72"')
    assert 'x="128.5" width="71.3"' in found.svg


def test_what_holds_no_values_is_told() -> None:
    broken = const("broken", np.zeros(2, np.float32)).with_attrs(data=b"abc")
    charts, notes = plots(Graph("g", (broken, const("w", np.zeros(2, np.float32)))))
    assert [chart.name for chart in charts] == ["w"]
    assert notes == ["Constant 'broken' holds 3 bytes; its shape [2] of FLOAT32 needs 8."]


def test_only_the_largest_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "MOST", 2)
    graph = Graph("g", tuple(const(f"w{n}", np.zeros(n, np.float32)) for n in (1, 5, 4)))
    charts, notes = plots(graph)
    assert [chart.name for chart in charts] == ["w5", "w4"]
    assert notes == ["1 smaller constants are not drawn."]
