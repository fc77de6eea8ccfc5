"""Real files, of the vendor's quantizer and compilers, against what the vendor's library says is in them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from tests.shared import SHARED, needs_shared
from xmodel import file
from xmodel.check import check
from xmodel.graph import Attr, Graph, Op, Subgraph

pytestmark = needs_shared

FILES = sorted((SHARED / "goldens/xmodels").glob("*.xmodel"))
INT_FILES = sorted(
    path for part in ("quantizer", "opzoo") for path in (SHARED / "goldens" / part).rglob("model_int.xmodel")
)
_TENSOR = ("fix_point", "bit_width", "if_signed", "round_mode", "location", "reg_id", "ddr_addr", "stride")
_DPU = ("dpu_name", "workload", "workload_on_arch", "if_prefetch", "debug_mode", "device")


def _plain(value: Any) -> Any:
    match value:
        case memoryview() | bytes():
            return {"bytes": len(value), "md5": hashlib.md5(value).hexdigest()}
        case tuple():
            return [_plain(item) for item in value]
        case dict():
            return {name: _plain(value[name]) for name in sorted(value)}
    return value


def _graph_attrs(graph: Graph) -> dict[str, Any]:
    found = {name: _plain(attr.value) for name, attr in graph.attrs.items() if name != file.OP_DEFS}
    if "files_md5sum" in found:  # the facts leave the folders out
        found["files_md5sum"] = {PurePosixPath(name).name: md5 for name, md5 in found["files_md5sum"].items()}
    return found


def _op(op: Op) -> dict[str, Any]:
    tensor = op.output
    output = {"name": tensor.name, "shape": list(tensor.shape), "dtype": tensor.data_type.lower()}
    output |= {name: _plain(tensor.get(name)) for name in _TENSOR if name in tensor.attrs}
    found: dict[str, Any] = {
        "name": op.name,
        "type": op.type,
        "attrs": {name: _plain(attr.value) for name, attr in op.attrs.items() if name != "data"},
        "output": output,
        "inputs": {name: list(ops) for name, ops in op.inputs.items()},
    }
    if "data" in op.attrs:
        found["data"] = _plain(op.get("data"))
    return found


def _subgraph(graph: Graph, node: Subgraph) -> dict[str, Any]:
    ops = list(node.all_ops())
    found: dict[str, Any] = {"name": node.name, "op_num": len(ops), "attr_names": sorted(node.attrs)}
    for name, attr in node.attrs.items():
        if name in (*_DPU, "runner", "mc_code", "mc_code_preload") or name.startswith("reg_id_to_"):
            found[name] = _plain(attr.value)
    if "dpu_fingerprint" in node.attrs:
        found["fingerprint"] = f"0x{node.get('dpu_fingerprint'):016x}"
    if "device" in node.attrs:
        found |= _border(graph, set(ops))
    if node.children:
        found["children"] = sorted((_subgraph(graph, child) for child in node.children), key=_by_ops)
    else:
        found["ops"] = sorted(ops)
        found["op_types"] = dict(Counter(graph.op(name).type for name in ops))
    return found


def _border(graph: Graph, ops: set[str]) -> dict[str, Any]:
    """The tensors that enter and leave a device's subgraph."""
    inputs = {name for op in ops for name in graph.op(op).input_names if name not in ops}
    outputs = {op for op in ops if any(reader.name not in ops for reader in graph.fanout[op])}
    outputs |= {op for op in ops if not graph.fanout[op]}
    return {
        "inputs": sorted(graph.op(name).output.name for name in inputs),
        "outputs": sorted(graph.op(name).output.name for name in outputs),
    }


def _by_ops(node: dict[str, Any]) -> str:
    while "children" in node:
        node = node["children"][0]
    return str(node["ops"][0])


def _sorted(node: dict[str, Any]) -> dict[str, Any]:
    """A recorded tree with its lists in the order used here."""
    done = dict(node)
    done |= {name: sorted(node[name]) for name in ("ops", "inputs", "outputs", "attr_names") if name in node}
    if "children" in node:
        done["children"] = sorted((_sorted(child) for child in node["children"]), key=_by_ops)
    return done


@cache
def _facts(name: str) -> dict[str, Any]:
    return dict(json.loads((SHARED / f"goldens/facts/{name}.json").read_text()))


@cache
def _read(path: Path) -> Graph:
    return file.read(path)


@pytest.mark.parametrize("path", [path for path in FILES if (SHARED / f"goldens/facts/{path.stem}.json").exists()])
def test_the_facts_come_out(path: Path) -> None:
    graph, facts = _read(path), _facts(path.stem)
    assert graph.name == facts["graph_name"]
    assert _graph_attrs(graph) == facts["graph_attrs"]
    assert len(graph.get(file.OP_DEFS)) == facts["op_defs"]
    assert len(graph.ops) == facts["op_count"]
    assert Counter(op.type for op in graph.ops) == facts["op_types"]
    assert {op.name: _op(op) for op in graph.ops} == {op["name"]: op for op in facts["ops"]}
    assert graph.root is not None
    assert _subgraph(graph, graph.root) == _sorted(facts["subgraph_tree"])


@pytest.mark.parametrize("path", FILES + INT_FILES, ids=lambda path: "/".join(path.parts[-3:]))
def test_reading_and_writing_loses_nothing(path: Path) -> None:
    graph = check(_read(path))
    written = file.dumps(graph)
    assert file.loads(written) == graph
    assert len(written) == path.stat().st_size
    assert sorted(_leaves(graph)) == sorted(_leaves(file.loads(written)))


def _leaves(graph: Graph) -> Iterator[str]:
    """Every attribute of the graph with its kind (equality alone takes 1 for True and for 1.0)."""
    for op in graph.ops:
        yield from (_leaf(f"{op.name}.{name}", attr) for name, attr in op.attrs.items())
        yield from (_leaf(f"{op.output.name}:{name}", attr) for name, attr in op.output.attrs.items())
    yield from (_leaf(name, attr) for name, attr in graph.attrs.items())


def _leaf(name: str, attr: Attr) -> str:
    return f"{name} {attr.kind} {_plain(attr.value)!r}"
