"""`unmask xmodel verify`: golden runs made, replayed, and broken in every way that a person would meet."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from arch.targets import find
from compile.pipeline import compile_graph
from deploy import golden as runs
from deploy.golden import record, through
from deploy.verify import load, replay
from runtime.emulator import reference, torch_kernels
from runtime.emulator.program import Program
from runtime.emulator.rounding import dpu_round, shift_floor
from runtime.emulator.runner import EmulatorRunner
from runtime.null import NullRunner
from tests.compile.build import Builder
from tests.deploy.tiny import COUNT, NETWORK, data, exit_code, register
from tests.xmodel.graphs import with_op, with_output
from xmodel import file, golden
from xmodel.errors import UsageError
from xmodel.graph import Array, Attr, Graph, attrs


@cache
def quantized() -> Graph:
    """conv, relu > max pool > conv, and a sigmoid of a linear layer behind it."""
    b = Builder()
    first = b.fix(b.unary("r", "relu", b.conv("c1", b.data((1, 8, 8, 3)), 8)), 3)
    second = b.fix(b.conv("c2", b.fix(b.pool("p", "maxpool2d", first, 2), 3), 4), 1)
    score = b.unary("prob", "sigmoid", b.fix(b.linear("l", second, 1), -3))
    return b.graph(second, score)


@cache
def compiled() -> Graph:
    graph = compile_graph(quantized(), find("8PE"))
    return record(graph, runs.noise(graph), "noise")


def _verify(graph: Graph, folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, Any, str]:
    """Exit code, JSON and what is said on stderr."""
    file.write(folder / "net.xmodel", graph)
    code = exit_code("xmodel", "verify", folder / "net.xmodel", "--json", *options)
    told = capsys.readouterr()
    return code, json.loads(told.out) if told.out else None, told.err


@pytest.mark.parametrize("kernels", ["auto", "torch", "reference"])
def test_every_set_of_kernels_gives_the_golden_run(
    kernels: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found, said = _verify(compiled(), tmp_path, capsys, "--kernels", kernels)
    assert (code, found["equal"], found["first"], said) == (0, True, None, "")
    assert found["compared"] == sum(
        item.data is not None for name, item in _tensors(compiled()).items() if name not in ("x_fix",)
    )
    assert exit_code("xmodel", "verify", tmp_path / "net.xmodel", "--kernels", kernels) == 0
    assert capsys.readouterr().out.endswith(f"1 image(s) on the emulator, {kernels} kernels: equal.\n")


def _tensors(graph: Graph) -> Any:
    found = golden.load(graph)
    assert found is not None
    return found.tensors


def test_every_int8_tensor_and_constant_and_output_is_recorded() -> None:
    tensors = _tensors(compiled())
    for op in compiled().ops:
        if op.output.data_type == "XINT8" or op in compiled().outputs:
            assert op.output.name in tensors
    assert {name for name, item in tensors.items() if item.data is None} == {
        op.output.name for op in compiled().ops if op.is_const
    }


def test_the_quantized_graph_and_the_compiled_one_have_the_same_run() -> None:
    source = record(quantized(), runs.noise(quantized()), "noise")
    assert "x" in _tensors(source) and _tensors(source)["x"].fix_point == 6
    graph = compile_graph(source, find("8PE"))
    assert golden.load(graph) is None
    inputs, where = runs.carried(source, graph)
    again = record(graph, inputs, where)
    agreement = runs.against(source, again)
    assert agreement["shared"] >= 4 and agreement["differing"] == []
    assert runs.against(quantized(), again) == {"shared": 0, "differing": []}


def _unrounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch convolutions that round down."""
    real = torch_kernels.convolution

    def broken(*arguments: Any) -> Any:
        node, spec = arguments[0], arguments[1]
        if node.op.name != "c2" or real(*arguments) is None:
            return real(*arguments)

        def run(x: Array, weights: Array, bias: Array) -> Array:
            total = 2 * reference.accumulate(spec, x, weights)
            total += shift_floor(bias.astype(np.int64), spec.shift_bias + 1)
            return np.asarray(np.clip(total >> spec.shift_cut + 1, -128, 127), np.int8)

        return run

    monkeypatch.setattr(torch_kernels, "convolution", broken)


def test_a_kernel_that_rounds_wrongly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _unrounded(monkeypatch)
    code, found, said = _verify(compiled(), tmp_path, capsys, "--kernels", "torch")
    first = found["first"]
    assert (code, first["op"], first["type"], first["cause"], first["fault"]) == (
        1, "c2", "conv2d-fix", "rounding", "backend"
    )  # fmt: skip
    assert first["recorded"] == first["replayed"] + 1 and first["largest"] == 1
    row, column, channel = first["place"]
    recorded = _tensors(compiled())["c2_fix_download_0"].array()
    assert recorded[0, row, column, channel] == first["recorded"]
    assert f"row {row}, column {column}, channel {channel}: recorded {first['recorded']} (" in said
    assert "rounding explains it: no value is off by more than one step, downwards" in said
    assert "The backend is at fault" in said
    assert not (found["constants"] or found["positions"] or found["missing"])
    code, found, _ = _verify(compiled(), tmp_path, capsys, "--kernels", "reference")
    assert (code, found["equal"]) == (0, True)


def test_a_kernel_that_wraps_around(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = dpu_round

    def wrapping(numerator: Array, exponent: int) -> Array:
        if exponent <= 0:
            return real(numerator, exponent)
        return np.asarray(((numerator.astype(np.int64) + (1 << exponent - 1)) >> exponent).astype(np.int8))

    monkeypatch.setattr(reference, "dpu_round", wrapping)
    code, found, said = _verify(compiled(), tmp_path, capsys, "--kernels", "reference")
    assert (code, found["first"]["op"], found["first"]["cause"]) == (1, "c1", "saturation")
    assert "saturation explains it: the recorded tensor stops at 127, the other goes on or wraps" in said


def _fix(position: int) -> dict[str, Any]:
    return {"fix_point": position, "bit_width": 8, "if_signed": True, "round_mode": "DPU_ROUND"}


def test_a_flipped_byte_of_a_weight(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    op = next(op for op in compiled().ops if op.is_const and op.output.shape == (4, 3, 3, 8))
    flipped = bytearray(op.get("data"))
    flipped[5] ^= 0x40
    code, found, said = _verify(
        with_op(compiled(), op.name, attrs={**op.attrs, "data": Attr("bytes", bytes(flipped))}), tmp_path, capsys
    )
    assert (code, found["constants"], found["first"]["op"], found["first"]["fault"]) == (
        1,
        [op.output.name],
        "c2",
        "file",
    )
    assert f"Constant {op.output.name!r} is not the recorded one" in said and "channel 0" in said


def test_a_change_that_no_tensor_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bias = compiled().op(compiled().op("c2").inputs["bias"][0])
    position = bias.output.fix_point
    assert position is not None
    zero = with_op(compiled(), bias.name, attrs={**bias.attrs, "data": Attr("bytes", bytes(4))})
    clean = record(zero, runs.noise(zero), "noise")
    code, found, said = _verify(with_output(clean, bias.name, attrs=attrs(**_fix(position + 1))), tmp_path, capsys)
    assert (code, found["first"], found["positions"]) == (1, None, {bias.output.name: [position, position + 1]})
    assert "though no tensor of the golden run shows it" in said


def test_a_changed_fix_point(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found, said = _verify(with_output(compiled(), "c2", attrs=attrs(**_fix(0))), tmp_path, capsys)
    assert (code, found["first"]["op"], found["first"]["cause"], found["first"]["fault"]) == (1, "c2", "shift", "file")
    assert found["positions"] == {"c2_fix_download_0": [1, 0]}
    assert "Tensor 'c2_fix_download_0' has fix position 0 where 1 was recorded, a shift by 1" in said
    assert "a shift explains it: every value is the recorded one shifted right by 1" in said


def test_a_changed_attribute(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = with_op(compiled(), "c1", attrs={**compiled().op("c1").attrs, "nonlinear": Attr("string", "NONE")})
    code, found, _ = _verify(graph, tmp_path, capsys)
    assert (code, found["first"]["op"], found["first"]["cause"]) == (1, "c1", "saturation")
    assert found["diverging"][0] == "c1"


def test_a_quantized_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = record(quantized(), {"x": np.linspace(-2, 2, 2 * 192, dtype=np.float32).reshape(2, 8, 8, 3)}, "calibration")
    code, found, _ = _verify(graph, tmp_path, capsys)
    assert (code, found["images"], found["compared"]) == (0, 2, 6)
    moved = with_op(graph, "c2_fix", attrs={**graph.op("c2_fix").attrs, "fix_point": Attr("int32", 2)})
    code, found, _ = _verify(moved, tmp_path, capsys)
    assert (code, found["first"]["op"], found["first"]["cause"], found["positions"]["c2_fix"]) == (
        1,
        "c2_fix",
        "shift",
        [1, 2],
    )


def test_an_output_that_is_a_float(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = with_op(compiled(), "prob", type="tanh")
    code, found, said = _verify(graph, tmp_path, capsys)
    assert (code, found["first"]["op"], found["first"]["cause"], found["first"]["fix_point"]) == (
        1,
        "prob",
        "float",
        None,
    )
    assert "it is a float output, compared within a tolerance" in said


def test_another_backend_is_compared_by_its_outputs() -> None:
    graph = compiled()
    found = golden.load(graph)
    assert found is not None
    runner = EmulatorRunner(Program(graph, "reference"))
    verdict = replay(graph, found, through(runner, graph))
    runner.close()
    assert verdict.equal and verdict.compared == 2
    idle = NullRunner(runner.inputs, runner.outputs)
    verdict = replay(graph, found, through(idle, graph))
    assert verdict.first is not None
    assert (verdict.first.type, verdict.first.fault, verdict.first.replayed) == ("fix2float", "backend", 0.0)
    with pytest.raises(UsageError, match="another network"):
        through(idle, replace(graph, ops=graph.ops[:3], root=None))


def test_a_file_without_a_golden_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found, said = _verify(golden.strip(compiled()), tmp_path, capsys)
    assert (code, found) == (4, None)
    assert "carries no golden run" in said and "--golden" in said and "net.xmodel" in said


def _spoiled(change: Callable[[dict[str, Any]], None]) -> Graph:
    index = json.loads(compiled().get(golden.INDEX))
    change(index)
    return replace(compiled(), attrs={**compiled().attrs, golden.INDEX: Attr("string", json.dumps(index))})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda index: index.update(version=9), "is damaged"),
        (lambda index: index.update(inputs=[]), "no image for input"),
        (lambda index: index["tensors"]["x_fix"].update(shape=[1, 8, 3, 8]), "no image for input"),
        (lambda index: index["tensors"]["x_fix"].update(sha256="0"), "not the one that was recorded"),
        (lambda index: index["tensors"]["c2_fix"].update(sha256="0"), "not the one that was recorded"),
    ],
)
def test_a_damaged_golden_run(
    change: Callable[[dict[str, Any]], None], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found, said = _verify(_spoiled(change), tmp_path, capsys)
    assert (code, found) == (4, None)
    assert message in said


def test_a_tensor_that_is_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found, said = _verify(with_output(compiled(), "c2", name="other"), tmp_path, capsys)
    assert (code, found["missing"]) == (1, ["c2_fix_download_0"])
    assert "Tensor 'c2_fix_download_0' is gone" in said


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The tiny network, quantized and compiled with golden runs."""
    folder = tmp_path_factory.mktemp("golden")
    with pytest.MonkeyPatch.context() as monkeypatch:
        register(monkeypatch)
        crops, _ = data(folder)
        arguments = ("--calib", crops, "--evaluate", 0, "--golden", "-q")
        assert exit_code("quantize", *NETWORK, *arguments, "--out", folder / "quantize") == 0
        assert exit_code("compile", folder / "quantize", "--golden", "-q", "--out", folder / "compile") == 0
        yield folder


@pytest.mark.parametrize("name", ["quantize/UNet_int.xmodel", "compile/UNet.xmodel"])
def test_the_stages_embed_the_first_calibration_image(
    name: str, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert COUNT > 1
    graph, found = load(made / name)
    assert (found.images, found.source) == (1, "calibration")
    (tensor,) = found.inputs
    assert found.tensors[tensor].shape == (1, 32, 32, 3)
    assert exit_code("xmodel", "verify", made / name) == 0
    assert exit_code("xmodel", "show", made / name) == 0
    assert "image(s) from calibration" in capsys.readouterr().out
    assert graph.get(golden.INDEX)


def test_without_the_option_nothing_is_embedded(made: Path, tmp_path: Path) -> None:
    assert exit_code("compile", made / "quantize", "-q", "--out", tmp_path) == 0
    assert golden.load(file.read(tmp_path / "UNet.xmodel")) is None


@pytest.mark.skipif(shutil.which("xir") is None, reason="the xir tool (libxir-utils) is not installed")
@pytest.mark.parametrize("name", ["quantize/UNet_int.xmodel", "compile/UNet.xmodel"])
def test_the_vendors_library_takes_the_golden_run(name: str, made: Path, tmp_path: Path) -> None:
    for command in (["subgraph", made / name], ["dump_txt", made / name, tmp_path / "text"]):
        done = subprocess.run(["xir", *map(str, command)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
    assert 'key: "unmask_golden_data"' in (tmp_path / "text").read_text()
