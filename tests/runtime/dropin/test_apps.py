"""Applications written for VART run unmodified and give the emulator's numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.runtime.dropin import graphs
from tests.runtime.dropin.conftest import Run
from tests.shared import SHARED, needs_shared
from xmodel import file
from xmodel.check import check


def _pictures(folder: Path, count: int) -> list[Any]:
    folder.mkdir()
    random = np.random.default_rng(5)
    pictures = [random.integers(0, 256, (graphs.SIZE, graphs.SIZE, 3), dtype=np.uint8) for _ in range(count)]
    for number, picture in enumerate(pictures):
        cv2.imwrite(str(folder / f"{number:02d}.png"), picture)
    return pictures


@pytest.mark.parametrize("threads", [1, 2, 5, 12])
def test_classification_with_a_runner_for_each_thread(
    threads: int, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = graphs.compiled(graphs.classifier())
    pictures = _pictures(tmp_path / "images", 21)
    assert run("classify_mt.py", graphs.write(tmp_path, graph), tmp_path / "images", threads, tmp_path / "out.npy") == 0
    given = np.floor((np.array(pictures) / 255.0 - 0.5) * 64 + 0.5).astype(np.int8)
    (logits,) = graphs.expected(graph, given)
    assert len({int(row.argmax()) for row in logits}) > 1
    powers = [[math.exp(float(x)) for x in row] for row in logits]
    wanted = [[power / sum(row) for power in row] for row in powers]
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), wanted)
    assert capsys.readouterr().out == f"top-1: {[int(np.argmax(row)) for row in wanted]}\n"


@pytest.mark.parametrize("kernels", ["reference", "auto"])
def test_segmentation_with_outputs_by_name(kernels: str, run: Run, tmp_path: Path) -> None:
    graph, images = graphs.compiled(graphs.detector(), "6PE_aieDWC"), graphs.images(13)
    np.save(tmp_path / "images.npy", images)
    model = graphs.write(tmp_path, graph)
    arguments = ["-m", model, "-i", tmp_path / "images.npy", "--out", tmp_path / "out.npz"]
    assert run("segment.py", *arguments, kernels=kernels) == 0
    mask, score = graphs.expected(graph, graphs.at_6(images))
    with np.load(tmp_path / "out.npz") as out:
        np.testing.assert_array_equal(out["mask"], np.argmax(mask, axis=-1))
        np.testing.assert_array_equal(out["score"], score.astype(np.float32))


def test_a_whole_graph(run: Run, tmp_path: Path) -> None:
    graph, images = graphs.compiled(graphs.detector()), graphs.images(11)
    np.save(tmp_path / "images.npy", images)
    assert run("graph_run.py", graphs.write(tmp_path, graph), tmp_path / "images.npy", tmp_path / "out.npz") == 0
    with np.load(tmp_path / "out.npz") as out:
        assert list(out) == [op.output.name for op in graph.outputs]
        for name, wanted in zip(out, graphs.whole(graph, graphs.at_6(images)), strict=True):
            assert out[name].dtype == np.float32
            np.testing.assert_array_equal(out[name], wanted)


def test_the_runners_own_buffers(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph, images = graphs.compiled(graphs.detector()), graphs.images(8)
    np.save(tmp_path / "images.npy", images)
    assert run("runner_ext.py", graphs.write(tmp_path, graph), tmp_path / "images.npy", tmp_path / "out.npz") == 0
    with np.load(tmp_path / "out.npz") as out:
        for made, wanted in zip(out.values(), graphs.expected(graph, graphs.at_6(images)), strict=True):
            np.testing.assert_array_equal(made, wanted)
    assert "['mask_fix', 'linear_fix'] vart.TensorBuffer{" in capsys.readouterr().out


def test_many_jobs_before_the_first_wait(run: Run, tmp_path: Path) -> None:
    graph, count = graphs.compiled(graphs.detector(), "4PE"), 40
    assert run("many_jobs.py", graphs.write(tmp_path, graph), count, tmp_path / "out.npz") == 0
    with np.load(tmp_path / "out.npz") as out:
        made = list(out.values())
    for number in range(count):
        given = np.random.RandomState(number).randint(-128, 128, (4, 8, 8, 3)).astype(np.int8)
        for array, wanted in zip(made[2 * number : 2 * number + 2], graphs.expected(graph, given), strict=True):
            np.testing.assert_array_equal(array, wanted)


def test_a_listing(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = graphs.compiled(graphs.detector())
    assert run("dump.py", graphs.write(tmp_path, graph)) == 0
    found = json.loads(capsys.readouterr().out)
    assert [op["name"] for op in found["ops"]] == [op.name for op in graph.ops]
    assert [op["output"]["shape"] for op in found["ops"]] == [list(op.output.shape) for op in graph.ops]
    parts = found["root"]["children"]
    assert [part["device"] for part in parts] == ["USER", "DPU", "CPU", "CPU"]
    dpu = parts[1]
    assert dpu["fingerprint"] == "0x501000000140fee" and dpu["depth"] == 1 and not dpu["leaf"]
    assert dpu["reg_types"] == {"REG_0": "CONST", "REG_2": "INTERFACE", "REG_3": "INTERFACE"}
    assert [t["name"] for t in dpu["inputs"]] == ["x_fix"]
    assert [(t["name"], t["type"], t["bytes"]) for t in dpu["outputs"]] == [
        ("linear_fix", "xint8", 1),
        ("mask_fix", "xint8", 128),
    ]
    assert sum(part["ops"] for part in parts) == len(graph.ops)


def test_a_graph_built_by_an_application(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("build.py", tmp_path / "built.xmodel", kernels="reference") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "[('USER', ['x']), ('DPU', ['conv', 'w']), ('CPU', ['prob', 'real'])]"
    assert lines[1].startswith("conv [8, 3, 3, 3] [") and lines[2].startswith("prob [1, 3, 3, 3] [")
    graph = check(file.read(tmp_path / "built.xmodel"))
    array = (np.arange(72, dtype=np.int8) - 36).reshape(1, 6, 6, 2)
    (conv,), (prob,) = graphs.expected(graph, array), graphs.whole(graph, array)
    assert json.loads(lines[1].removeprefix("conv [8, 3, 3, 3] ")) == conv.ravel().tolist()
    assert json.loads(lines[2].removeprefix("prob [1, 3, 3, 3] ")) == pytest.approx(prob.ravel().tolist(), abs=0)
    assert conv.any() and graph.op("conv").get("pad") == (1, 1, 1, 1)


def test_a_graph_copied_op_by_op(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("copy_graph.py", graphs.write(tmp_path, graphs.compiled(graphs.detector()))) == 0
    assert capsys.readouterr().out == "[True, True]\n"


def _detect(run: Run, model: Path, folder: Path, threads: int, notes: list[str] | None = None) -> list[Any]:
    out = folder / f"{threads}.npz"
    assert run("deepfake.py", "-d", folder / "x.npy", "-t", threads, "-m", model, "-o", out, notes=notes) == 0
    with np.load(out) as found:
        return [found["mask"], found["score"]]


def test_a_deepfake_detector_on_any_number_of_threads_and_from_both_files(run: Run, tmp_path: Path) -> None:
    graph, images = graphs.compiled(graphs.detector()), graphs.images(27, 3)
    np.save(tmp_path / "x.npy", images)
    model = graphs.write(tmp_path, graph)
    mask, score = graphs.expected(graph, graphs.at_6(images))
    wanted = [(mask * 2.0**-2).astype(np.float32), (1 / (1 + np.exp(-score.astype(np.float64)))).astype(np.float32)]
    for threads in (1, 2, 5, 12):
        for made, value in zip(_detect(run, model, tmp_path, threads), wanted, strict=True):
            np.testing.assert_array_equal(made, value)
    notes: list[str] = []
    quantized = tmp_path / "int"
    quantized.mkdir()
    for made, value in zip(_detect(run, graphs.write(quantized, graphs.detector()), tmp_path, 2, notes), wanted,
                           strict=True):  # fmt: skip
        np.testing.assert_array_equal(made, value)
    assert len(notes) == 1 and "is not compiled; it is compiled here" in notes[0]


@needs_shared
def test_a_listing_of_a_file_of_the_vendors_compiler(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    path = SHARED / "goldens" / "xmodels" / "v25_vck50008pe_tf2_custom_op.xmodel"
    assert run("dump.py", path) == 0
    found = json.loads(capsys.readouterr().out)
    facts = json.loads((SHARED / "goldens" / "facts" / f"{path.stem}.json").read_text())
    assert len(found["ops"]) == 25 and facts
    assert [part["device"] for part in found["root"]["children"]] == ["USER", "DPU", "CPU", "DPU", "CPU"]
    assert [part["parameters"] for part in found["root"]["children"] if part["device"] == "DPU"] == [None, None]
    assert next(op for op in found["ops"] if op["name"] == "quant_conv2d")["attrs"]["hsigmoid_in"] == -128


@needs_shared
def test_a_listing_of_a_file_of_the_vendors_quantizer_shows_what_is_in_it(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    path = SHARED / "goldens" / "quantizer" / "a_tinycnn" / "expected" / "model_int.xmodel"
    assert run("dump.py", path) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["root"]["leaf"] and not found["root"]["children"]
    assert [op["name"] for op in found["ops"]] == [op.name for op in file.read(path).ops]
