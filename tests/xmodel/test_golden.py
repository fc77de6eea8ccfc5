from __future__ import annotations

import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.xmodel.graphs import compiled
from xmodel import file, golden
from xmodel.errors import ArtifactError
from xmodel.golden import DATA, INDEX, Golden, Record
from xmodel.graph import Attr, Graph

INT8 = np.arange(-32, 32, dtype=np.int8).reshape(2, 4, 4, 2)
RUN = Golden(
    2,
    "noise",
    ("input_t",),
    {
        "input_t": Record.of(INT8, 5),
        "out_t": Record.of(np.linspace(0, 1, 8, dtype=np.float32).reshape(2, 4), None),
        "w": Record("00", 5, (4, 3, 3, 2), "int8"),
    },
)
GRAPH = golden.embed(compiled(), RUN)


def test_a_run_survives_the_file(tmp_path: Path) -> None:
    file.write(tmp_path / "net.xmodel", GRAPH)
    found = golden.load(file.read(tmp_path / "net.xmodel"))
    assert found is not None
    assert (found.images, found.source, found.inputs, list(found.tensors)) == (
        2,
        "noise",
        ("input_t",),
        list(RUN.tensors),
    )
    np.testing.assert_array_equal(found.tensors["input_t"].array(), INT8)
    assert found.tensors["out_t"].array().dtype == np.float32
    assert found.tensors["w"] == RUN.tensors["w"]
    told = golden.summary(GRAPH)
    assert told is not None and told.pop("bytes") < 200
    assert told == {"images": 2, "source": "noise", "tensors": 3}


def test_a_graph_without_a_run() -> None:
    assert golden.load(compiled()) is None and golden.summary(compiled()) is None
    assert golden.strip(GRAPH) == compiled()
    assert golden.strip(compiled()) == compiled()


def test_bytes_are_the_same_every_time() -> None:
    assert file.dumps(golden.embed(GRAPH, RUN)) == file.dumps(GRAPH)


def _with(change: dict[str, Any], name: str | None = None, data: Any = None) -> Graph:
    index = json.loads(GRAPH.get(INDEX))
    (index if name is None else index["tensors"][name]).update(change)
    values = {INDEX: Attr("string", json.dumps(index)), DATA: GRAPH.attrs[DATA] if data is None else data}
    return replace(GRAPH, attrs={**GRAPH.attrs, **values})


DAMAGED = {
    "no JSON": replace(GRAPH, attrs={**GRAPH.attrs, INDEX: Attr("string", "{")}),
    "no text": replace(GRAPH, attrs={**GRAPH.attrs, INDEX: Attr("int32", 5)}),
    "too deep": replace(GRAPH, attrs={**GRAPH.attrs, INDEX: Attr("string", "[" * 100_000)}),
    "another version": _with({"version": 2}),
    "no images": _with({"images": 0}),
    "many images": _with({"images": 1 << 40}),
    "an unknown input": _with({"inputs": ["x"]}),
    "an input without values": _with({"inputs": ["w"]}),
    "no tensors": _with({"tensors": 5}),
    "a shape of other images": _with({"shape": [3, 4, 4, 2]}, "input_t"),
    "a negative shape": _with({"shape": [2, -4]}, "input_t"),
    "a huge shape": _with({"shape": [2, 1 << 31]}, "out_t"),
    "a type": _with({"dtype": "object"}, "input_t"),
    "a position": _with({"fix_point": 1.5}, "input_t"),
    "a position beyond any": _with({"fix_point": 1 << 40}, "input_t"),
    "a digest": _with({"sha256": None}, "input_t"),
    "data of another kind": _with({}, data=Attr("map_string_2_string", {"input_t": "x"})),
    "data that is no map": _with({}, data=Attr("string", "x")),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_run_is_refused(case: str) -> None:
    with pytest.raises(ArtifactError, match="golden run in graph 'net' is damaged"):
        golden.load(DAMAGED[case])
    assert "damaged" in (golden.summary(DAMAGED[case]) or {})


@pytest.mark.parametrize(
    "data", [b"", b"text", zlib.compress(bytes(63)), zlib.compress(bytes(1 << 24)), zlib.compress(bytes(64))]
)
def test_values_that_are_not_the_recorded_ones_are_refused(data: bytes) -> None:
    with pytest.raises(ArtifactError, match="golden tensor"):
        replace(RUN.tensors["input_t"], data=data).array()
