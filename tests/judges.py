"""Readers of .xmodel files that nobody here wrote: libxir by Debian's `xir` tool, Netron's xmodel module in Node."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from xmodel.graph import Graph, Op, Tensor

needs_xir = pytest.mark.skipif(shutil.which("xir") is None, reason="the xir tool (libxir-utils) is not installed")
needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="xir draws with dot (graphviz), which is not there")

_NETRON = importlib.util.find_spec("netron")
needs_netron = pytest.mark.skipif(
    shutil.which("node") is None or _NETRON is None, reason="Node or the netron package is not installed"
)
_MODULES = ("xmodel.js", "xmodel-proto.js", "protobuf.js", "text.js")
_TYPES = {"INT": "int", "UINT": "uint", "XINT": "xint", "XUINT": "xuint", "FLOAT": "float", "BFLOAT": "bfloat"}


def xir(command: str, *paths: Path) -> str:
    """What `xir command paths` prints; it must exit with 0."""
    done = subprocess.run(["xir", command, *map(str, paths)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{command} {paths[0]}: {done.stdout[-500:]}{done.stderr[-1000:]}"
    return done.stdout


def accepted(path: Path, graph: Graph) -> None:
    """libxir reads the file at `path`, finds the ops of `graph`, and walks its subgraphs."""
    with tempfile.TemporaryDirectory() as folder:
        xir("dump_txt", path, Path(folder) / "text")
        text = (Path(folder) / "text").read_text()
    found = dict(re.findall(r'^op_node {\n  op_name: "(.*)"\n  op_type: "(.*)"', text, flags=re.MULTILINE))
    assert found == {_escaped(op.name): op.type for op in graph.ops}
    listed = xir("subgraph", path)
    parts = graph.root.children if graph.root is not None else ()
    for device in ("USER", "DPU", "CPU"):
        assert listed.count(f"[device={device}") == sum(part.get("device") == device for part in parts)


def _escaped(name: str) -> str:
    return name.replace("\\", "\\\\").replace('"', '\\"')


def netron(paths: Sequence[Path]) -> list[Any]:
    """What Netron reads from each file."""
    assert _NETRON is not None and _NETRON.submodule_search_locations
    source = Path(_NETRON.submodule_search_locations[0])
    with tempfile.TemporaryDirectory() as folder:
        for name in _MODULES:
            shutil.copy(source / name, folder)
        Path(folder, "package.json").write_text('{"type": "module"}')
        script = Path(__file__).with_name("netron.mjs").resolve()
        command = ["node", str(script), *(str(path.resolve()) for path in paths)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert len(found) == len(paths)
    return list(found)


def agrees(found: Any, graph: Graph) -> None:
    """What Netron read is `graph`: ops, their types, devices, arguments, tensors, positions, attributes, constants."""
    assert (found["match"], found["name"]) == ("xmodel.pb", graph.name)
    assert found["producer"] == graph.get("origin", "")
    assert [item["name"] for item in found["inputs"]] == [op.name for op in graph.inputs]
    readers = Counter(name for op in graph.ops for name in op.input_names)
    inner = {op.name for op in graph.ops if op.is_const and readers[op.name] == 1}
    hidden = inner | {op.name for op in graph.inputs}
    shown = [op for op in graph.ops if op.name not in hidden]
    assert [node["name"] for node in found["nodes"]] == [op.name for op in shown]
    for node, op in zip(found["nodes"], shown, strict=True):
        _node(node, op, graph, inner)


def _node(node: Any, op: Op, graph: Graph, inner: set[str]) -> None:
    assert (node["type"], node["device"]) == (op.type, op.get("device", ""))
    assert [(name, [value["name"] for value in values]) for name, values in node["inputs"]] == [
        (name, list(ops)) for name, ops in op.inputs.items()
    ]
    for value in (*node["outputs"], *(value for _, values in node["inputs"] for value in values)):
        source = graph.op(value["name"])
        assert value["type"] == _type(source.output)
        point = source.output.get("fix_point")
        words = [f"{point}."] if point is not None else []
        words += [source.output.get("round_mode")] if source.output.get("round_mode") is not None else []
        assert value["denotation"] == " ".join(words)
        if value["name"] in inner and len(source.get("data")):
            digest = hashlib.sha256(source.get("data")).hexdigest()
            assert value["data"] == {"bytes": len(source.get("data")), "sha256": digest}
    for name in ("kernel", "stride", "pad", "shift_cut", "fix_point", "axis", "pad_mode", "shape"):
        if name in op.attrs:
            stored = op.get(name)
            assert node["attributes"][name] == (list(stored) if isinstance(stored, tuple) else stored)


def _type(tensor: Tensor) -> str:
    kind, bits = re.fullmatch(r"([A-Z]+)([0-9]+)", tensor.data_type).groups()  # type: ignore[union-attr]
    return f"{_TYPES[kind]}{bits}" + (f"[{','.join(map(str, tensor.shape))}]" if tensor.shape else "")
