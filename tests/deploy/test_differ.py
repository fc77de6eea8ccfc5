"""`unmask xmodel diff`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from deploy import differ
from tests.deploy.tiny import exit_code
from tests.xmodel.graphs import FIX, compiled, with_op, with_output
from xmodel import file
from xmodel.graph import Graph, attrs, const

GRAPH = compiled()


def _paths(folder: Path, a: Graph, b: Graph) -> tuple[Path, Path]:
    file.write(folder / "a.xmodel", a)
    file.write(folder / "b.xmodel", b)
    return folder / "a.xmodel", folder / "b.xmodel"


def test_equal_files_exit_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = _paths(tmp_path, GRAPH, GRAPH)
    assert exit_code("xmodel", "diff", *paths) == 0
    assert capsys.readouterr() == ("Equal in content, and byte for byte.\n", "")
    paths[1].write_bytes(b"".join((paths[1].read_bytes(), b"\x0a\x03net")))  # the name once more
    assert exit_code("xmodel", "diff", *paths) == 0
    assert capsys.readouterr().out == "Equal in content.\n"


def test_different_files_exit_with_1_and_say_what_matters_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = GRAPH.op("w").array().copy()
    values[0, 0, 0, 0] += 2
    other = with_op(GRAPH, "w", attrs=const("w", values, "const-fix").attrs)
    other = with_output(other, "conv", attrs=attrs(**FIX | {"fix_point": 4})).with_attrs(origin="tensorflow")
    other = replace(other, root=GRAPH.root)
    paths = _paths(tmp_path, GRAPH, other)
    assert exit_code("xmodel", "diff", *paths) == 1
    told = capsys.readouterr()
    assert told.err == ""
    assert told.out == (
        "Different: 1 positions, 1 weights, 1 attributes.\n"
        "\nfix positions\n"
        "op    what              A  B\n"
        "conv  tensor fix_point  5  4\n"
        "\nweights\n"
        "op  differ  of  largest\n"
        "w        1  72  2 LSB\n"
        "\nattributes\n"
        "op     what    A        B\n"
        "graph  origin  pytorch  tensorflow\n"
    )
    assert exit_code("xmodel", "diff", *paths, "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["equal"] is False and found["same_bytes"] is False
    assert found["weights"] == [{"name": "w", "count": 1, "of": 72, "largest": 2.0, "grid": True}]
    assert exit_code("xmodel", "diff", *paths, "-q") == 1
    assert capsys.readouterr() == ("", "")


def test_ops_of_one_file_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = _paths(tmp_path, replace(GRAPH, root=None), replace(GRAPH, root=None, ops=GRAPH.ops[:-1]))
    assert exit_code("xmodel", "diff", *paths) == 1
    assert capsys.readouterr().out.endswith("\nonly in A\nop\nout\n")
    assert exit_code("xmodel", "diff", *reversed(paths)) == 1
    assert capsys.readouterr().out.endswith("\nonly in B\nop\nout\n")


def test_long_lists_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(differ, "MOST_ROWS", 2)
    paths = _paths(tmp_path, GRAPH, GRAPH.with_attrs(a=1, b=2, c=3))
    assert exit_code("xmodel", "diff", *paths) == 1
    assert capsys.readouterr().out.endswith("… and 1 more; --json lists all.\n")


def test_a_missing_and_a_damaged_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = _paths(tmp_path, GRAPH, GRAPH)
    assert exit_code("xmodel", "diff", paths[0], tmp_path / "none") == 2
    paths[1].write_bytes(b"text")
    assert exit_code("xmodel", "diff", *paths) == 4
    assert "b.xmodel" in capsys.readouterr().err
