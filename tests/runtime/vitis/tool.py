"""The stand-in for the vendor's runtime, ready for a test: its recordings, the file it runs, the Pythons it runs on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from compile.decode.parameters import with_parameters
from runtime.emulator.program import Program
from xmodel import file
from xmodel.graph import Array, Attr, Graph, Op, Subgraph, Tensor
from xmodel.part import part

STANDIN = Path(__file__).parent / "standin"
TOOL, LIBRARIES = STANDIN / "tool", STANDIN / "libraries"
PYENV = Path("~/.pyenv/versions").expanduser()
LIBS = {
    "xcompiler.2.5.0": "54ab96",
    "xcompiler.2.5.0 : xir.2.5.0": "7387c9",
    "xcompiler.2.5.0 : target-factory.2.5.0": "9e04a0",
}


def with_code(graph: Graph, libraries: Mapping[str, str] = LIBS) -> Graph:
    """`graph` as if the vendor's compiler had compiled it: machine code in its DPU subgraphs, its libraries named."""

    def coded(child: Subgraph) -> Subgraph:
        if child.get("device") != "DPU":
            return child
        return replace(child, attrs={**child.attrs, "mc_code": Attr.of(b"\1\2\3")})

    assert graph.root is not None
    root = replace(graph.root, children=tuple(map(coded, graph.root.children)))
    return replace(graph, root=root).with_attrs(libs_info=dict(libraries))


def describe(graph: Graph, folder: Path) -> list[Subgraph]:
    """Tell the stand-in what `graph` is; its DPU subgraphs."""
    folder.mkdir(parents=True, exist_ok=True)
    children = graph.root.children if graph.root is not None else ()
    told = []
    for child in children:
        alone = part(graph, child.name)
        attributes = {name: attr.value for name, attr in child.attrs.items() if name in ("device", "runner")}
        sides = {"inputs": _tensors(alone.inputs), "outputs": _tensors(alone.outputs)}
        told.append({"name": child.name, "attrs": attributes, **sides})
    (folder / "graph.json").write_text(json.dumps({"children": told}))
    return [child for child in children if child.get("device") == "DPU"]


def record(graph: Graph, images: Mapping[str, Array], folder: Path) -> dict[str, Array]:
    """Make `folder` what the stand-in answers with: the emulator's lanes for `images`. Returns the graph's outputs."""
    program = Program(with_parameters(graph), kernels="reference")
    found = {**images, **program.run(images, dump=True)}
    for child in describe(graph, folder):
        alone = part(graph, child.name)
        inputs = [found[op.output.name] for op in alone.inputs]
        _lanes(folder, inputs, {op.output.name: found[op.output.name] for op in alone.outputs})
    return {op.output.name: found[op.output.name] for op in graph.outputs}


def _tensors(ops: Sequence[Op]) -> list[dict[str, object]]:
    return [_tensor(op.output) for op in ops]


def _tensor(tensor: Tensor) -> dict[str, object]:
    attrs = {"fix_point": tensor.fix_point} if tensor.fix_point is not None else {}
    return {"name": tensor.name, "dims": list(tensor.shape), "dtype": tensor.data_type.lower(), "attrs": attrs}


def _lanes(folder: Path, inputs: Sequence[Array], outputs: Mapping[str, Array]) -> None:
    for lane in range(len(inputs[0])):
        key = hashlib.sha256(b"".join(array[lane].tobytes() for array in inputs)).hexdigest()
        (folder / key).mkdir(exist_ok=True)
        for name, array in outputs.items():
            (folder / key / hashlib.sha256(name.encode()).hexdigest()).write_bytes(array[lane].tobytes())


def use(
    monkeypatch: pytest.MonkeyPatch, folder: Path, fault: str = "", at: int = 0, *, batch: int = 8, delay: float = 0,
    bare: bool = True,
) -> None:  # fmt: skip
    """Put the stand-in where a worker finds it; `bare` also gives it a numpy."""
    monkeypatch.setenv("PYTHONPATH", f"{TOOL}:{LIBRARIES}" if bare else str(TOOL))
    monkeypatch.setenv("STANDIN_ANSWERS", str(folder))
    monkeypatch.setenv("STANDIN_FAULT", fault)
    monkeypatch.setenv("STANDIN_AT", str(at))
    monkeypatch.setenv("STANDIN_BATCH", str(batch))
    monkeypatch.setenv("STANDIN_DELAY", str(delay))


def write(graph: Graph, path: Path) -> Path:
    """Write a compiled file."""
    file.write(path, graph)
    return path


def random_images(graph: Graph, count: int) -> dict[str, Array]:
    """int8 images for every input."""
    rng = np.random.default_rng(7)
    shapes = {op.output.name: op.output.shape[1:] for op in graph.inputs}
    return {name: rng.integers(-128, 128, (count, *shape), np.int8) for name, shape in shapes.items()}


def old_python(version: str) -> Path:
    """A real Python of that version, such as "3.6"; skips the test where the machine has none."""
    found = sorted(PYENV.glob(f"{version}.*/bin/python"))
    if not found:
        pytest.skip(f"there is no Python {version} under {PYENV}")
    return found[-1]
