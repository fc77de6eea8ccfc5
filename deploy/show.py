"""`unmask xmodel show`: what is in a file, as data and as text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from arch.targets import by_fingerprint
from deploy.report import write_html
from deploy.tables import columns
from xmodel import artifact, file
from xmodel.contents import contents
from xmodel.errors import UsageError
from xmodel.graph import Graph

MOST_ROWS = 400  # ops or subgraphs that are listed on a terminal or a page; JSON has all


def show(path: Path, html: Path | None = None) -> dict[str, Any]:
    """The content of the file `path` for JSON; with `html`, the page with weight histograms is written there.

    Raises `UsageError` (no such file) or `ArtifactError` (damaged).
    """
    graph = file.read(path)
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        stream.seek(0)
        md5 = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    found = {
        "file": path.name,
        "bytes": path.stat().st_size,
        "md5": md5,
        "sha256": sha256,
        "targets": _targets(graph),
        **contents(graph),
    }
    if html is not None:
        from deploy.weights import plots

        charts, left_out = plots(graph)
        write_html(
            html, "xmodel.html.j2", f=found, header=_header(found), tree=_tree(found), charts=charts,
            left_out=left_out, rows=_rows(found["ops"][:MOST_ROWS]), more=_more(found["ops"]),
            record={"versions": artifact.versions()},
        )  # fmt: skip
    return found


def _targets(graph: Graph) -> list[dict[str, Any]]:
    """What the DPU subgraphs were compiled for, each once: the name they say, and what their fingerprint means."""
    named: dict[tuple[str, str], dict[str, Any]] = {}
    for part in graph.root.children if graph.root is not None else ():
        if part.get("device") == "DPU":
            name, fingerprint = str(part.get("dpu_name", "")), part.get("dpu_fingerprint")
            text = f"0x{fingerprint:016x}" if isinstance(fingerprint, int) else ""
            known = _known(fingerprint)
            named[(name, text)] = {"dpu_name": name, "fingerprint": text, **known}
    return list(named.values())


def _known(fingerprint: Any) -> dict[str, Any]:
    try:
        target = by_fingerprint(fingerprint) if isinstance(fingerprint, int) else None
    except UsageError:
        target = None
    if target is None:
        return {"target": None, "card": None, "batch": None}
    return {"target": target.name, "card": target.card, "batch": target.batch}


def texts(found: Mapping[str, Any]) -> list[str]:
    """The content for a person: plain lines that a pipe can take; long lists are cut."""
    header = columns([], list(_header(found)))
    tree = _tree(found)
    return [
        header,
        *(["\n" + "\n".join(tree)] if tree else []),
        "\n" + columns(("op", "fix", "bytes", "shape", "data type", "device", "name"), _rows(found["ops"][:MOST_ROWS])),
        *([more] if (more := _more(found["ops"])) else []),
    ]


def _more(items: Sequence[Any]) -> str:
    return f"… and {len(items) - MOST_ROWS} more; --json lists all." if len(items) > MOST_ROWS else ""


def _header(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    totals = found["totals"]
    yield "file", f"{found['file']}, {found['bytes']:,} bytes"
    yield "md5", found["md5"]
    yield "sha256", found["sha256"]
    yield "graph", f"{found['name']} ({found['kind']})"
    for target in found["targets"]:
        meaning = target["target"] or "not known here"
        card = f", {target['card']}, batch {target['batch']}" if target["target"] else ""
        yield "compiled for", f"{target['dpu_name']}; fingerprint {target['fingerprint'] or 'none'}: {meaning}{card}"
    for key, name in (("input", "inputs"), ("output", "outputs")):
        for tensor in found[name]:
            point = "" if tensor["fix_point"] is None else f", fix point {tensor['fix_point']}"
            yield key, f"{tensor['name']}: {_shape(tensor['shape'])} {tensor['data_type']}{point}"
    kinds = ", ".join(f"{n} {kind}" for kind, n in totals["op_types"].items())
    yield "ops", f"{totals['ops']}: {kinds}"
    blob = f", {totals['blob_bytes']:,} in parameter blobs" if totals["blob_bytes"] else ""
    yield "constants", f"{totals['parameters']:,} values; {totals['constant_bytes']:,} bytes in the ops{blob}"
    yield "tensors", f"{totals['tensor_bytes']:,} bytes an image, the largest {totals['largest_tensor_bytes']:,}"
    if totals["workload"]:
        on_arch = totals["workload_on_arch"]
        yield "workload", f"{totals['workload']:,} operations an image, {on_arch:,} with the array's padding"
    if found["golden"] is not None:
        golden = found["golden"]
        yield (
            "golden run",
            golden.get("damaged")
            or (
                f"{golden['tensors']} tensors of {golden['images']} image(s) from {golden['source']}, "
                f"{golden['bytes']:,} bytes"
            ),
        )
    for name, value in found["attributes"].items():
        yield from _attribute(name, value)


def _attribute(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if value and isinstance(value, dict) and set(value) != {"bytes", "md5"}:
        for key, item in value.items():
            yield name, f"{key}: {_short(item)}"
    else:
        yield name, _short(value)


def _short(value: Any) -> str:
    if isinstance(value, dict) and set(value) == {"bytes", "md5"}:
        return f"{value['bytes']:,} bytes, md5 {value['md5']}"
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 200 else text[:199] + "…"


def _tree(found: Mapping[str, Any]) -> list[str]:
    root = found["subgraphs"]
    lines = [] if root is None else list(_branches(root, "", ""))
    return lines if len(lines) <= MOST_ROWS else [*lines[:MOST_ROWS], _more(lines)]


def _branches(node: Mapping[str, Any], lead: str, below: str) -> Iterator[str]:
    device = f"{node['device']} " if node["device"] else ""
    kinds = ", ".join(f"{n} {kind}" for kind, n in node["op_types"].items())
    work = node["attributes"].get("workload")
    yield (
        f"{lead}{device}{_one_line(node['name'])}: {kinds}"
        + (f"; {work:,} operations" if isinstance(work, int) and work else "")
        + "".join(f"; {name} {_short(value)}" for name, value in node["attributes"].items() if name == "mc_code")
    )
    last = len(node["children"]) - 1
    for place, child in enumerate(node["children"]):
        corner, line = ("└─ ", "   ") if place == last else ("├─ ", "│  ")
        yield from _branches(child, below + corner, below + line)


def _rows(ops: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    return [
        (
            op["type"],
            "" if op["fix_point"] is None else str(op["fix_point"]),
            f"{op['bytes']:,}",
            _shape(op["shape"]),
            op["data_type"],
            op["device"],
            op["name"],
        )
        for op in ops
    ]


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _one_line(name: str) -> str:
    return name.replace("\n", "\\n")
