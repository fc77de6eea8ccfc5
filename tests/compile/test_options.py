from __future__ import annotations

import pytest

from arch.targets import find
from compile.options import apply_options, parse_options
from compile.pipeline import compile_graph
from tests.compile.build import Builder, uynet
from xmodel.errors import UsageError


def test_json_and_the_vendors_spelling() -> None:
    assert parse_options(None) == parse_options("") == {}
    assert parse_options('{"input_shape": "1,8,8,3", "prefetch": true}') == {
        "input_shape": "1,8,8,3", "prefetch": "true",
    }  # fmt: skip
    assert parse_options("{'mode': 'normal', 'hd_opt': 'true'}") == {"mode": "normal", "hd_opt": "true"}


@pytest.mark.parametrize("text", ["[1]", "{", "mode=debug", "__import__('os')", "{1: 2}", '{"a": {}}', "(" * 60000])
def test_what_is_no_table(text: str) -> None:
    with pytest.raises(UsageError, match="--options"):
        parse_options(text)


def test_a_shape_must_be_the_graphs() -> None:
    graph = uynet(4, 64)
    assert apply_options(graph, {"input_shape": "1,64,64,3"}) == (graph, [])
    with pytest.raises(UsageError, match=r"'1,224,224,3' is not the graph's, whose input is \[1, 64, 64, 3\]"):
        apply_options(graph, {"input_shape": "1,224,224,3"})
    with pytest.raises(UsageError, match="no list of numbers"):
        apply_options(graph, {"input_shape": "big"})


def test_outputs_are_cut() -> None:
    graph, _ = apply_options(uynet(4, 64), {"output_ops": "outc_fix"})
    assert [op.name for op in graph.outputs] == ["outc_fix"]
    made = compile_graph(graph, find("8PE"))
    assert [op.name for op in made.outputs] == ["outc_fix_"]
    assert not any("linear" in op.name or op.type == "sigmoid" for op in made.ops)
    with pytest.raises(UsageError, match="output_ops names 'nothing'"):
        apply_options(uynet(4, 64), {"output_ops": "outc_fix,nothing"})
    with pytest.raises(UsageError, match="names no op"):
        apply_options(uynet(4, 64), {"output_ops": " ,"})


def test_what_has_no_effect_or_no_place_here() -> None:
    b = Builder()
    graph = b.graph(b.data((1, 4, 4, 2)))
    assert apply_options(graph, {"mode": "debug", "prefetch": "true"})[1] == [
        "Option prefetch changes machine code alone, which is not made here.",
        "Option mode changes machine code alone, which is not made here.",
    ]
    with pytest.raises(UsageError, match="Plug-ins"):
        apply_options(graph, {"plugins": "p0"})
    with pytest.raises(UsageError, match="'inputshape' is not known"):
        apply_options(graph, {"inputshape": "1"})
