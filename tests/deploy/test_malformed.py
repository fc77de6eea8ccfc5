"""`unmask xmodel` on files that are malformed in every way: an `UnmaskError`, in bounded time and memory."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy import differ, show, verify
from deploy.golden import emulator
from deploy.weights import plots
from tests.deploy.test_verify import compiled
from tests.deploy.tiny import exit_code
from tests.xmodel.test_file import _ATTRS, _nested
from xmodel import file, golden, wire
from xmodel.contents import contents
from xmodel.diff import diff
from xmodel.errors import UnmaskError
from xmodel.graph import Attr, Graph, Op, Subgraph, Tensor, attrs

ROOT = Path(__file__).resolve().parents[2]


@cache
def _seed() -> bytes:
    return file.dumps(compiled())


def _everything(graph: Graph) -> None:
    """All that the verbs do with a graph; nothing but an `UnmaskError` may come of it."""
    found = contents(graph)
    show.texts({"file": "x", "bytes": 1, "md5": "", "sha256": "", "targets": show._targets(graph), **found})
    json.dumps(found)
    plots(graph)
    for a, b in ((graph, compiled()), (compiled(), graph)):
        difference = diff(a, b)
        differ.texts(difference, False)
        json.dumps(difference.data())
    assert diff(graph, graph).equal
    run = golden.load(graph)
    if run is not None:
        verify._demand_fit(graph, run)
        verdict = verify.replay(graph, run, emulator(graph, "reference"), is_reference=True)
        report = {"file": "x", **verdict.data()}
        if not verdict.equal:
            with pytest.raises(UnmaskError):
                verify.demand(report)


def _survives(graph: Callable[[], Graph]) -> None:
    try:
        _everything(graph())
    except UnmaskError as error:
        assert error.what and len(str(error)) < 4000


@settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_edits_of_a_file(data: st.DataObject) -> None:
    content = _seed()
    for _ in range(data.draw(st.integers(1, 4))):
        place, removed = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 8))
        content = content[:place] + data.draw(st.binary(max_size=8)) + content[place + removed :]
    _survives(lambda: file.loads(content))


def test_truncated_files() -> None:
    for end in range(0, len(_seed()), 997):
        _survives(lambda end=end: file.loads(_seed()[:end]))  # type: ignore[misc]


@cache
def _places() -> list[tuple[str, int, str]]:
    """Every attribute of the graph: of what, which op, which name."""
    graph = compiled()
    found = [("graph", 0, name) for name in (*graph.attrs, "return_ops", "workload")]
    for place, op in enumerate(graph.ops):
        found += [("op", place, name) for name in (*op.attrs, "data", "shape", "fix_point", "axis")]
        found += [("tensor", place, name) for name in (*op.output.attrs, "ddr_addr", "fix_point")]
    names = ("device", "dpu_name", "dpu_fingerprint", "workload", "mc_code", "reg_id_to_parameter_value", "runner")
    found += [("subgraph", place, name) for place in range(4) for name in names]
    return found


def _with(graph: Graph, place: tuple[str, int, str], attr: Attr | None) -> Graph:
    kind, number, name = place

    def changed(values: Any) -> dict[str, Attr]:
        left = {key: value for key, value in values.items() if key != name}
        return left if attr is None else {**left, name: attr}

    if kind == "graph":
        return replace(graph, attrs=changed(graph.attrs))
    if kind == "subgraph":
        assert graph.root is not None
        children = list(graph.root.children)
        at = number % len(children)
        children[at] = replace(children[at], attrs=changed(children[at].attrs))
        return replace(graph, root=replace(graph.root, children=tuple(children)))
    op = graph.ops[number]
    other = (
        replace(op, attrs=changed(op.attrs))
        if kind == "op"
        else replace(op, output=replace(op.output, attrs=changed(op.output.attrs)))
    )
    return replace(graph, ops=tuple(other if item is op else item for item in graph.ops))


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_attributes_of_any_kind_and_value(data: st.DataObject) -> None:
    graph = compiled()
    for _ in range(data.draw(st.integers(1, 3))):
        graph = _with(graph, data.draw(st.sampled_from(_places())), data.draw(st.none() | _ATTRS))
    _survives(lambda: file.loads(file.dumps(graph)))


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_ops_and_tensors_of_any_form(data: st.DataObject) -> None:
    ops = list(compiled().ops)
    at = data.draw(st.integers(0, len(ops) - 1))
    op = ops[at]
    names = st.sampled_from([other.name for other in ops[:at]] or [op.name])
    shapes = st.lists(st.sampled_from([0, 1, 2, 3, 4, 8, 1 << 16, (1 << 32) - 1]), max_size=5).map(tuple)
    types = st.sampled_from(["XINT8", "FLOAT32", "INT1", "XUINT4", "UINT64", "BFLOAT16", "UNKNOWN0", "INT32"])
    tensor = replace(op.output, shape=data.draw(shapes | st.just(op.output.shape)), data_type=data.draw(types))
    kinds = sorted({other.type for other in ops} | {"Mine", "softmax", "reshape", "concat-fix", "fix"})
    arguments = st.dictionaries(
        st.sampled_from(["input", "weights", "bias", "x"]), st.lists(names, max_size=3).map(tuple)
    )
    ops[at] = replace(
        op, type=data.draw(st.sampled_from(kinds) | st.just(op.type)), output=tensor,
        inputs=data.draw(arguments | st.just(dict(op.inputs))) if at else {},
    )  # fmt: skip
    _survives(lambda: file.loads(file.dumps(replace(compiled(), ops=tuple(ops)))))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_golden_runs_of_any_content(data: st.DataObject) -> None:
    index = json.loads(compiled().get(golden.INDEX))
    tensor = data.draw(st.sampled_from(sorted(index["tensors"])))
    target = data.draw(st.sampled_from([index, index["tensors"], index["tensors"][tensor]]))
    target[data.draw(st.sampled_from(sorted(target)))] = data.draw(_JSON)
    values = dict(compiled().get(golden.DATA))
    values[data.draw(st.sampled_from(sorted(values)))] = data.draw(st.binary(max_size=20) | st.just(zlib.compress(b"")))
    graph = compiled()
    changed = {golden.INDEX: Attr("string", json.dumps(index))}
    if data.draw(st.booleans()):
        changed[golden.DATA] = Attr("map_string_2_bytes", values)
    _survives(lambda: replace(graph, attrs={**graph.attrs, **changed}))


def test_a_bomb_in_a_golden_run_is_not_unpacked() -> None:
    index = json.loads(compiled().get(golden.INDEX))
    index["tensors"]["x_fix"]["shape"] = [1, 1 << 28, 8]
    graph = replace(compiled(), attrs={**compiled().attrs, golden.INDEX: Attr("string", json.dumps(index))})
    with pytest.raises(UnmaskError, match="damaged"):
        verify._demand_fit(graph, golden.load(graph))  # type: ignore[arg-type]


def _bytes(*fields: tuple[int, bytes]) -> bytes:
    return b"".join(wire.varint(number << 3 | 2) + wire.varint(len(value)) + value for number, value in fields)


def _chain(count: int) -> bytes:
    """`count` ops, each reading the one before."""
    ops = []
    for n in range(count):
        name = b"%d" % n
        argument = _bytes((1, b"input"), *([(2, b"%d" % (n - 1))] if n else []))
        ops.append((5, _bytes((1, name), (2, b"relu"), (4, argument), (5, _bytes((1, name), (2, b"\x01"))))))
    return _bytes((1, b"g"), *ops)


def _deep(depth: int, count: int) -> bytes:
    """A graph of `count` ops whose subgraphs are nested `depth` deep, all ops in the innermost one."""
    ops = tuple(Op(str(n), "relu", {}, {}, Tensor(str(n), (1,))) for n in range(count))
    node = Subgraph("0", tuple(op.name for op in ops))
    for n in range(1, depth):
        node = Subgraph(str(n), (), (node,), attrs(device="DPU"))
    return file.dumps(Graph("g", ops, root=node))


HOSTILE: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "a text": lambda: b"<html>404</html>",
    "100000 nested subgraphs": lambda: _nested(100_000),
    "a size of 2**63": lambda: b"\x2a" + b"\xff" * 9 + b"\x01",
    "a million empty ops": lambda: b"\x2a\x00" * 1_100_000,
    "a tensor of a million dimensions": lambda: _bytes(
        (1, b"g"), (5, _bytes((1, b"a"), (2, b"relu"), (5, _bytes((1, b"a"), (2, b"\xff\xff\x03" * 300_000)))))
    ),
    "a long chain": lambda: _chain(10_000),
    "the same op twice": lambda: _bytes(*[(5, _bytes((1, b"a"), (2, b"relu"), (5, _bytes((1, b"a")))))] * 2),
    "subgraphs as deep as may be": lambda: _deep(90, 10_000),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_end_soon_and_small(case: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.xmodel"
    path.write_bytes(HOSTILE[case]())
    limit = 3 << 29  # of address space, of which numpy's libraries take a part
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    verbs = [["show", "--html", str(tmp_path / "x.html")], ["show", "--json"], ["diff", str(path)], ["verify"]]
    code = (
        "import contextlib, io, sys\nfrom deploy.command import main\ncodes = []\n"
        f"for verb, *rest in {verbs}:\n"
        "    with contextlib.redirect_stdout(io.StringIO()):\n        try: main(['xmodel', verb, sys.argv[1], *rest])\n"
        "        except SystemExit as end: codes.append(end.code)\n"
        "print(*codes)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, env=environment, capture_output=True, text=True,
        timeout=120, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )  # fmt: skip
    codes = done.stdout.split()
    assert len(codes) == 4 and set(codes) <= {"0", "4"} and codes[3] == "4", (codes, done.stderr[-1000:])


@pytest.mark.parametrize("verb", ["show", "diff", "verify"])
def test_what_is_no_file(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = [tmp_path] if verb == "diff" else []
    assert exit_code("xmodel", verb, tmp_path / "none", *more) == 2
    assert exit_code("xmodel", verb, tmp_path, *more) == 2
    assert "folder or device" in capsys.readouterr().err
