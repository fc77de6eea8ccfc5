from __future__ import annotations

from xmodel.graph import Graph, Op, Tensor
from xmodel.match import match


def _chain(*ops: tuple[str, str, tuple[str, ...]]) -> Graph:
    return Graph("g", tuple(Op(n, t, {"input": i} if i else {}, {}, Tensor(n, (1, 2))) for n, t, i in ops))


def test_equal_names_are_pairs() -> None:
    graph = _chain(("x", "data", ()), ("a1", "relu", ("x",)), ("a2", "relu", ("a1",)))
    assert match(graph, graph) == {"x": "x", "a1": "a1", "a2": "a2"}


def test_numbers_of_a_trace_do_not_count() -> None:
    a = _chain(("x", "data", ()), ("conv_3", "relu", ("x",)), ("conv_5", "relu", ("conv_3",)))
    b = _chain(("x", "data", ()), ("conv_5", "relu", ("x",)), ("conv_7", "relu", ("conv_5",)))
    assert match(a, b) == {"x": "x", "conv_3": "conv_5", "conv_5": "conv_7"}


def test_an_op_less_leaves_the_names() -> None:
    a = _chain(("x", "data", ()), ("r_1", "relu", ("x",)), ("r_2", "relu", ("r_1",)))
    b = _chain(("x", "data", ()), ("r_2", "relu", ("x",)))
    assert match(a, b) == {"x": "x", "r_2": "r_2"}


def test_other_names_are_found_by_what_reads_them_and_what_they_read() -> None:
    a = _chain(
        ("x", "data", ()), ("w", "const", ()), ("v", "const", ()), ("c", "conv2d", ("x", "v")),
        ("d", "conv2d", ("c", "w")), ("end", "tanh", ("d",)),
    )  # fmt: skip
    b = _chain(
        ("in", "data", ()), ("k", "const", ()), ("l", "const", ()), ("first", "conv2d", ("in", "k")),
        ("second", "conv2d", ("first", "l")), ("end", "tanh", ("second",)),
    )  # fmt: skip
    assert match(a, b) == {"x": "in", "w": "l", "v": "k", "c": "first", "d": "second", "end": "end"}


def test_an_op_of_another_type_is_no_pair() -> None:
    a = _chain(("x", "data", ()), ("y", "relu", ("x",)))
    b = _chain(("x", "data", ()), ("y", "tanh", ("x",)))
    assert match(a, b) == {"x": "x"}


def test_nothing_is_paired_twice() -> None:
    a = _chain(("x", "data", ()), ("p", "relu", ("x",)), ("q", "relu", ("x",)))
    b = _chain(("x", "data", ()), ("r", "relu", ("x",)))
    assert match(a, b) == {"x": "x", "p": "r"}
