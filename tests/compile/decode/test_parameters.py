"""Vendor-compiled files: decoded, run, and equal to what the vendor's simulator gave; damaged ones refused."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compile.decode.parameters import with_parameters
from runtime.emulator.program import KernelChoice, Program
from tests.compile.decode import vendor
from tests.runtime.emulator.vectors import PROGRAMS, index
from tests.shared import SHARED, needs_shared
from xmodel import file
from xmodel.errors import ArtifactError
from xmodel.graph import Array, Attr, Graph, attrs
from xmodel.part import part

FILES = SHARED / "goldens" / "xmodels"
MODELS = SHARED / "goldens" / "simulator" / "models"
RECORDED = index(MODELS)
# The one recorded file that is not among the reference files, and the same network for a sister of its DPU.
SISTER = {"14087c2a70fb28fe": "v20_vck5000_prod_8pe_tf2_custom_op"}


@cache
def _files() -> dict[str, Path]:
    return {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in FILES.glob("*vck5000*.xmodel")}


@cache
def _decoded(path: Path) -> Graph:
    return with_parameters(file.read(path))


def _path(digest: str) -> Path:
    found = _files().get(digest)
    return found if found is not None else FILES / f"{SISTER[digest[:16]]}.xmodel"


def _inputs(entry: dict[str, Any], stored: Any) -> dict[str, Array]:
    """The recorded inputs, made again by their recipe where they are not stored."""
    recipe, found = entry["input_recipe"], {}
    for i, described in enumerate(entry["inputs"]):
        if recipe["stored"]:
            value = stored[described["key"]]
        else:
            random, shape = np.random.RandomState(recipe["seed"] + 7 * i), described["shape"]
            value = random.randint(-128, 128, shape)
            if recipe["kind"] == "sparse10":
                value *= random.randint(0, 10, [*shape[:-1], 1]) == 0
            value = value.astype(np.int8)
        assert hashlib.sha256(value.tobytes()).hexdigest() == described["sha256"]
        found[described["tensor"]] = value
    return found


# The detection network was recorded on two DPUs; the reference takes seconds for it, so it runs it once.
RUNS = [(name, kernels) for name in sorted(RECORDED) for kernels in ("reference", "torch")]
RUNS = [run for run in RUNS if run != ("pprpn_4pe_sub1_set0", "reference")]


@needs_shared
@pytest.mark.parametrize(("name", "kernels"), RUNS)
def test_recorded_subgraph(name: str, kernels: KernelChoice) -> None:
    entry = RECORDED[name]
    program = Program(part(_decoded(_path(entry["xmodel_sha256"])), entry["subgraph"]), kernels)
    with np.load(MODELS / entry["file"]) as stored:
        got = program.run(_inputs(entry, stored))
        assert list(got) == [output["tensor"] for output in entry["outputs"]]
        for output in entry["outputs"]:
            np.testing.assert_array_equal(got[output["tensor"]], stored[output["key"]])


@needs_shared
def test_every_recorded_file_is_here_but_one() -> None:
    absent = {entry["xmodel_sha256"] for entry in RECORDED.values()} - set(_files())
    assert {digest[:16] for digest in absent} == set(SISTER)


@needs_shared
@pytest.mark.parametrize("name", ["v25_vck50008pe", "v25_vck50004pe", "v20_vck5000_prod_8pe"])
def test_weights_are_those_of_the_quantizer(name: str) -> None:
    compiled = _decoded(FILES / f"{name}_pointpillars_custom_op.xmodel")
    quantized = file.read(FILES / "v25_quantized_voxelnet_int.xmodel")
    found = [op for op in compiled.ops if op.type == "const-fix"]
    for op in found:
        source = quantized.op(op.name.removesuffix("_new"))
        real = source.array().reshape(op.output.shape)
        np.testing.assert_array_equal(op.array() * 2.0 ** -int(op.output.fix_point or 0), real, err_msg=op.name)
    assert len(found) == 46


@needs_shared
@pytest.mark.parametrize("path", sorted(FILES.glob("*.xmodel")), ids=lambda path: path.stem)
def test_every_real_file(path: Path) -> None:
    """VCK5000 files are decoded whole; those of other DPUs are refused by name; those without a blob stay."""
    graph = file.read(path)
    empty = [op for op in graph.ops if op.type == "const-fix" and not op.get("data")]
    if not empty:
        assert with_parameters(graph) is graph
    elif "vck5000" in path.stem:
        found = with_parameters(graph)
        assert all(op.array().any() for op in found.ops if op.type == "const-fix")
        assert found.root == graph.root and [op.output for op in found.ops] == [op.output for op in graph.ops]
    else:
        assert graph.root is not None
        dpu = next(child for child in graph.root.children if child.get("device") == "DPU")
        with pytest.raises(ArtifactError, match=f"compiled for {dpu.get('dpu_name')}, the layout of whose") as caught:
            with_parameters(graph)
        assert caught.value.where == f"DPU subgraph {dpu.name!r}" and caught.value.hint


def _address(assembly: list[str], banks: str) -> int:
    found = (re.search(rf"^LOAD .* bank_id ({banks}) .* ddr_addr (\d+) ", line) for line in assembly)
    return min(int(match[2]) for match in found if match)


@needs_shared
@pytest.mark.parametrize("name", [n for n, e in index(PROGRAMS).items() if "weights" in e["arrays"]])
def test_recorded_program(name: str) -> None:
    """Programs proven on the simulator: their parameters come back out of the recorded blob."""
    entry = index(PROGRAMS)[name]
    with np.load(PROGRAMS / entry["file"]) as stored:
        arrays = dict(stored)
    kind = entry["op"].split(" ")[0]
    values = {key: Attr.of(value) for key, value in entry["attrs"].items() if not isinstance(value, dict)}
    graph = vendor.one_op(kind, arrays["input0"].shape, arrays["weights"], arrays["bias"])
    places = {"w": _address(entry["assembly"], "255|145"), "b": _address(entry["assembly"], "144|146")}
    graph = _changed(graph, "op", attrs=values)
    graph = replace(graph, ops=tuple(vendor.empty(op, places[op.name]) if op.is_const else op for op in graph.ops))
    found = with_parameters(
        _subgraph(graph, **vendor.parameters(arrays["reg0"].tobytes(), arrays["mc_code"].astype("<u4").tobytes()))
    )
    np.testing.assert_array_equal(found.op("w").array(), arrays["weights"])
    np.testing.assert_array_equal(found.op("b").array(), arrays["bias"])


def _changed(graph: Graph, name: str, **changes: Any) -> Graph:
    ops = tuple(replace(op, **changes) if op.name == name else op for op in graph.ops)
    return replace(graph, ops=ops)


def _subgraph(graph: Graph, **values: Any) -> Graph:
    """`graph` with attributes of its DPU subgraph replaced; None drops one."""
    assert graph.root is not None
    user, dpu = graph.root.children
    kept = {key: value for key, value in {**dpu.attrs, **values}.items() if value is not None}
    children = (user, replace(dpu, attrs=kept))
    return replace(graph, root=replace(graph.root, children=children))


def _int8(*shape: int) -> Array:
    return np.random.default_rng(1).integers(-128, 128, shape).astype(np.int8)


SHAPES: list[tuple[str, tuple[int, ...], dict[str, Any]]] = [
    ("conv2d-fix", (1, 1, 1, 1), {}),
    ("conv2d-fix", (300, 3, 2, 130), {}),
    ("conv2d-fix", (130, 3, 7, 3), {"channel_augmentation": 1}),
    ("conv2d-fix", (256, 1, 1, 64), {}),
    ("transposed-conv2d-fix", (200, 2, 3, 70), {"kernel": [3, 2], "stride": [3, 2]}),
    ("depthwise-conv2d-fix", (1, 3, 2, 130), {}),
    ("depthwise-conv2d-fix", (1, 1, 1, 5), {}),
]


@pytest.mark.parametrize("alternating", [False, True])
@pytest.mark.parametrize(("kind", "shape", "values"), SHAPES)
def test_round_trip(kind: str, shape: tuple[int, ...], values: dict[str, Any], alternating: bool) -> None:
    channels = shape[3] if kind == vendor.DEPTHWISE else shape[0]
    graph = vendor.one_op(kind, (1, 9, 9, shape[3]), _int8(*shape), _int8(channels), **values)
    packed = vendor.vendor(graph, alternating)
    assert not any(op.get("data") for op in packed.ops)
    found = with_parameters(file.loads(file.dumps(packed)))
    for name in ("w", "b"):
        np.testing.assert_array_equal(found.op(name).array(), graph.op(name).array())


def test_our_own_files_stay() -> None:
    graph = vendor.one_op("conv2d-fix", (1, 4, 4, 3), _int8(8, 3, 3, 3), _int8(8))
    assert with_parameters(graph) is graph
    assert with_parameters(replace(graph, root=None)).root is None


CONV = vendor.vendor(vendor.one_op("conv2d-fix", (1, 9, 9, 64), _int8(200, 3, 3, 64), _int8(200)))
BLOB = CONV.root.children[1].get("reg_id_to_parameter_value")["REG_0"] if CONV.root else b""
PACKED = 2 * (128 * 9 * 64 + 128)


def _tensor(name: str, **values: Any) -> Graph:
    output = CONV.op(name).output
    return _changed(CONV, name, output=replace(output, attrs={**output.attrs, **attrs(**values)}))


def _shape(name: str, *shape: int) -> Graph:
    return _changed(CONV, name, output=replace(CONV.op(name).output, shape=shape))


def _program(*parts: list[int]) -> Graph:
    return _subgraph(CONV, mc_code=Attr("bytes", vendor.code(*parts)))


def _type(kind: str, **values: Any) -> Graph:
    return _changed(CONV, "op", type=kind, attrs=attrs(**values))


LOADS = [vendor.load(255, 128 * 9 * 64 * i, 64, 9, 128 - 56 * i, 576, 9 * i) for i in range(2)]
LOADS += [vendor.load(144, PACKED - 256 + 128 * i, 128, line=i) for i in range(2)]
WINDOW, FIRST, SECOND = vendor.window(3, 3, 1), vendor.compute(0, 0), vendor.compute(9, 1)

REFUSED = {
    "Op 'op' of type 'eltwise-fix' keeps constant 'w' in the parameter blob, in a layout that is not known":
        _type("eltwise-fix"),
    "Op 'op' of type 'transposed-depthwise-conv2d-fix' keeps constant 'w'": _type("transposed-depthwise-conv2d-fix"),
    r"has kernel \(3, 3\) and stride \(2, 2\); only kernel = stride is known":
        _type("transposed-conv2d-fix", kernel=[3, 3], stride=[2, 2]),
    "has kernel .* and stride": _type("transposed-conv2d-fix", kernel=[3, 3]),
    "folds 3 kernel columns of 64 channels; only up to 64": _type("conv2d-fix", channel_augmentation=1),
    "has 200 weights a channel; only 1 is known": _changed(_shape("b", 64), "op", type="depthwise-conv2d-fix"),
    "has no input, weights or bias": _changed(CONV, "op", inputs={"input": ("up",), "weights": ("w",)}),
    "keeps only some of its constants": _changed(CONV, "b", attrs=attrs(data=b"1")),
    r"has weights \[200, 3, 3\] for an input": _shape("w", 200, 3, 3),
    r"has weights \[0, 3, 3, 64\]": _shape("w", 0, 3, 3, 64),
    "has weights of 32 channels for an input of 64": _shape("w", 200, 3, 3, 32),
    r"has weights \[200, 3, 3, 64\] and a bias \[100\]": _shape("b", 100),
    "has parameters of XINT8 behind register 1": _tensor("w", reg_id=1),
    "has its parameters 'w' at the address -4": _tensor("w", ddr_addr=-4),
    "has its parameters 'b' at the address '0'": _tensor("b", ddr_addr="0"),
    "needs 221568 bytes of parameters; 147712 of the blob's": _changed(_shape("w", 300, 3, 3, 64), "b", output=replace(
        CONV.op("b").output, shape=(300,))),
    "the program does not read them there in the known layout": _tensor("w", ddr_addr=64),
    "keeps its parameters at 0 of the parameter blob, but the program": _tensor("b", ddr_addr=0),
    "but the program does not read": _program(*LOADS, WINDOW, FIRST),
    "Its program reads 3 blocks of parameters; its ops account for 2": _program(
        *LOADS, vendor.load(255, PACKED - 64, 64, line=30), WINDOW, FIRST, SECOND, vendor.window(1, 1, 1),
        vendor.compute(30)),
    "is no program of the DPUCVDX8H": _subgraph(CONV, mc_code=Attr("bytes", b"\xff" * 8)),
    "It has no 'mc_code'": _subgraph(CONV, mc_code=None),
    "has no parameter blob REG_0": _subgraph(CONV, reg_id_to_parameter_value=None),
    "has no parameter blob": _subgraph(CONV, reg_id_to_parameter_value=Attr("map_string_2_bytes", {"REG_1": BLOB})),
    f"blob REG_0 has {PACKED} bytes; the file says 3": _subgraph(CONV, reg_id_to_size=Attr(
        "map_string_2_int32", {"REG_0": 3})),
    "the file says None": _subgraph(CONV, reg_id_to_size=None),
    "It is compiled for an unnamed DPU, the layout": _subgraph(CONV, dpu_fingerprint=None, dpu_name=None),
    "It is compiled for DPUCVDX8H_ISA1_F2W4_4PE, the layout": _subgraph(CONV, dpu_fingerprint=Attr("uint64", 5)),
    "the releases 2.0 to 3.0 is": _subgraph(CONV, dpu_fingerprint=Attr("uint64", 0x0501000000000FEE)),
}  # fmt: skip


@pytest.mark.parametrize("reason", REFUSED)
def test_refused_by_name(reason: str) -> None:
    with pytest.raises(ArtifactError, match=reason) as caught:
        with_parameters(REFUSED[reason])
    assert caught.value.where == "DPU subgraph 'dpu'"


def test_a_program_written_by_hand() -> None:
    found = with_parameters(_program(*LOADS, WINDOW, FIRST, SECOND))
    np.testing.assert_array_equal(found.op("w").array(), with_parameters(CONV).op("w").array())


def test_parameters_end_within_the_blob() -> None:
    short = Attr("map_string_2_bytes", {"REG_0": bytes(BLOB) + bytes(1024)})
    moved = _subgraph(
        _tensor("b", ddr_addr=PACKED + 1000),
        reg_id_to_parameter_value=short,
        reg_id_to_size=Attr("map_string_2_int32", {"REG_0": PACKED + 1024}),
        mc_code=Attr("bytes", vendor.code(*LOADS[:2], *(vendor.load(144, PACKED + 1000 + 128 * i, 128, line=i)
                                                         for i in range(2)), WINDOW, FIRST, SECOND)),
    )  # fmt: skip
    with pytest.raises(ArtifactError, match=f"has parameters up to byte {PACKED + 1256} of a blob of {PACKED + 1024}"):
        with_parameters(moved)


SMALL = vendor.vendor(vendor.one_op("conv2d-fix", (1, 4, 4, 3), _int8(8, 3, 3, 3), _int8(8), channel_augmentation=1))
BYTES = file.dumps(SMALL)


def _survives(data: bytes) -> None:
    """`data` gives a graph with its parameters, or an `ArtifactError`."""
    try:
        graph = with_parameters(file.loads(data))
    except ArtifactError:
        return
    for op in graph.ops:
        if op.is_const and op.get("data"):
            assert len(op.get("data"))


def test_flipped_bits_are_survived() -> None:
    blob = BYTES.index(SMALL.root.children[1].get("reg_id_to_parameter_value")["REG_0"]) if SMALL.root else 0
    for place in range(len(BYTES)):
        if not blob <= place < blob + 24000:
            data = bytearray(BYTES)
            data[place] ^= 1 << place % 8
            _survives(bytes(data))


def test_truncations_are_survived() -> None:
    for end in range(0, len(BYTES), 97):
        _survives(BYTES[:end])


_CODE = SMALL.root.children[1].get("mc_code") if SMALL.root else b""


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(_CODE) // 4 - 1), st.integers(0, (1 << 32) - 1)), max_size=4))
def test_any_program_is_survived(edits: list[tuple[int, int]]) -> None:
    words = np.frombuffer(_CODE, "<u4").copy()
    for place, word in edits:
        words[place] = word
    graph = _subgraph(SMALL, mc_code=Attr("bytes", words.tobytes()))
    try:
        found = with_parameters(graph)
    except ArtifactError:
        return
    assert found.op("w").array().shape == (8, 3, 3, 3)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["w", "b"]), st.integers(-(1 << 31), (1 << 31) - 1), st.lists(st.integers(0, 1 << 31), max_size=5)
)
def test_any_place_and_shape_is_survived(name: str, address: int, shape: list[int]) -> None:
    op = SMALL.op(name)
    output = replace(op.output, shape=tuple(shape), attrs={**op.output.attrs, **attrs(ddr_addr=address)})
    try:
        with_parameters(_changed(SMALL, name, output=output))
    except ArtifactError:
        return
    assert output == op.output
