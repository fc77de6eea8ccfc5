"""The main job on a tiny network: every stage's files, values, and that nothing is done twice."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.compile.decode import vendor
from tests.deploy.tiny import COUNT, NETWORK, data, exit_code, files, register
from tests.shared import SHARED, needs_shared
from xmodel import file


@pytest.fixture(scope="module", autouse=True)
def _tiny() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        register(monkeypatch)
        yield


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The main job, run once."""
    build = tmp_path_factory.mktemp("job")
    for arguments in _stages(build, *data(build)):
        assert exit_code(*arguments, "--quiet") == 0, arguments
    return build


def _stages(build: Path, crops: Path, labels: Path) -> list[list[Any]]:
    """The command lines of the main job."""
    unseen = ["--crops", crops, "--labels", labels]
    return [
        ["quantize", *NETWORK, "--calib", crops, "--labels", labels, "--out", build / "quantize"],
        ["compile", build / "quantize", "--out", build / "compile"],
        ["infer", build / "compile", *unseen, "--out", build / "infer"],
        ["compare", *NETWORK, "--quantized", build / "quantize", "--compiled", build / "compile", *unseen, "--out",
         build / "compare", "--min-agreement", "0.5"],
        ["evaluate", *NETWORK, *unseen, "--out", build / "evaluate"],
    ]  # fmt: skip


def _json(path: Path) -> Any:
    return json.loads(path.read_text())


def test_every_stage_leaves_its_files(build: Path) -> None:
    assert files(build / "quantize") == {
        "UNet_int.xmodel", "UNet_float.xmodel", "quant_info.json", "bias_corr.npz", "quant_report.json",
        "quant_report.html", "run.json",
    }  # fmt: skip
    assert files(build / "compile") == {
        "UNet.xmodel",
        "meta.json",
        "md5sum.txt",
        "compile_report.json",
        "compile_report.html",
        "run.json",
    }
    masks = {f"masks/v{i}_0_0.png" for i in range(COUNT)}
    assert files(build / "infer") == masks | {
        "segmentation_output_array.npy", "classification_output_array.npy", "predictions.csv", "report.json",
        "report.html", "run.json",
    }  # fmt: skip
    assert files(build / "compare") == {"compare.json", "compare.html", "run.json"}
    assert files(build / "evaluate") == {"evaluation.json", "predictions.csv", "run.json"}


def test_one_row_an_input_in_file_name_order(build: Path) -> None:
    segmentation = np.load(build / "infer/segmentation_output_array.npy", mmap_mode="r")
    classification = np.load(build / "infer/classification_output_array.npy")
    assert segmentation.shape == (COUNT, 32, 32, 2) and segmentation.dtype == np.float32
    assert classification.shape == (COUNT, 1) and classification.dtype == np.float32
    rows = list(csv.DictReader((build / "infer/predictions.csv").open()))
    assert [row["file"] for row in rows] == [f"v{i}_0_0.png" for i in range(COUNT)]
    for row, logits, p_real in zip(rows, segmentation, classification[:, 0], strict=True):
        mask = logits[..., 1] > logits[..., 0]
        assert row["p_real"] == f"{p_real:.6f}" and row["manipulated"] == f"{mask.mean():.6f}"
        image = np.asarray(Image.open(build / "infer/masks" / row["file"]))
        np.testing.assert_array_equal(image, mask * np.uint8(255))


def test_infer_gives_what_the_compiled_graph_gives(build: Path) -> None:
    from deploy.batches import Reader
    from deploy.crops import list_crops
    from deploy.deployed import Deployed
    from deploy.detectors import compiled_detector

    detector = compiled_detector(Deployed.load(build / "compile/UNet.xmodel", "reference"))
    ((_, images),) = Reader(list_crops(build / "crops"), detector.spec).batches(COUNT)
    logits, p_real = detector.run(images)
    np.testing.assert_array_equal(np.load(build / "infer/segmentation_output_array.npy"), logits)
    np.testing.assert_array_equal(np.load(build / "infer/classification_output_array.npy")[:, 0], p_real)
    assert ((p_real > 0) & (p_real < 1)).all()


@pytest.mark.parametrize("threads", [1, 3])
def test_the_number_of_threads_changes_nothing(threads: int, build: Path, tmp_path: Path) -> None:
    crops = ["--crops", build / "crops", "--labels", build / "metadata.json"]
    assert exit_code("infer", build / "compile", *crops, "--out", tmp_path, "--threads", threads, "-q") == 0
    for name in ("segmentation_output_array.npy", "classification_output_array.npy", "predictions.csv"):
        assert (tmp_path / name).read_bytes() == (build / "infer" / name).read_bytes()


def test_a_file_as_the_vendors_compiler_leaves_it_is_judged_the_same(build: Path, tmp_path: Path) -> None:
    packed = vendor.vendor(file.read(build / "compile/UNet.xmodel"))
    assert not any(op.get("data") for op in packed.ops if op.type == "const-fix")
    file.write(tmp_path / "UNet.xmodel", packed)
    crops = ["--crops", build / "crops", "--labels", build / "metadata.json"]
    assert exit_code("infer", tmp_path / "UNet.xmodel", *crops, "--out", tmp_path / "infer", "-q") == 0
    for name in ("segmentation_output_array.npy", "classification_output_array.npy", "predictions.csv"):
        assert (tmp_path / "infer" / name).read_bytes() == (build / "infer" / name).read_bytes()


@needs_shared
def test_run_one_subgraph_of_a_vendor_compiled_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    goldens = SHARED / "goldens"
    model = goldens / "xmodels/v25_vck50008pe_tf2_custom_op.xmodel"
    with np.load(goldens / "simulator/models/tf2cnn_8pe_sub1_set0.npz") as recorded:
        np.save(tmp_path / "x.npy", recorded["in0"])
        wanted = recorded["out0"]
    run = ["run", model, "--input", tmp_path / "x.npy", "--out", tmp_path / "out"]
    assert exit_code(*run, "--subgraph", "subgraph_quant_dense(TransferMatMulToConv2d)", "--json") == 0
    (tensor,) = json.loads(capsys.readouterr().out)["tensors"]
    assert tensor["name"] == "quant_dense_sigmoid_sigmoid_fix" and tensor["fix_point"] == 7
    np.testing.assert_array_equal(np.load(tmp_path / "out" / tensor["file"]), wanted)
    assert exit_code(*run) == 4
    assert "Op 'custom_layer' has type 'Mylayer', which the emulator does not know" in capsys.readouterr().err
    assert exit_code(*run, "--subgraph", "dense") == 2
    assert "has no subgraph 'dense'" in capsys.readouterr().err


@needs_shared
def test_a_file_for_another_dpu_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = SHARED / "goldens/xmodels/v30_zcu102_zcu104_kv260_tf2_custom_op.xmodel"
    assert exit_code("run", model, "--input", "x.npy", "--out", tmp_path) == 4
    told = capsys.readouterr().err
    assert "It is compiled for DPUCZDX8G_ISA1_B4096, the layout of whose parameters is not known" in told
    assert "DPU subgraph 'subgraph_quant_conv2d'" in told


def test_the_reports_agree_with_the_predictions(build: Path) -> None:
    report = _json(build / "infer/report.json")
    rows = list(csv.DictReader((build / "infer/predictions.csv").open()))
    assert report["counts"] == {
        "inputs": COUNT,
        "read": COUNT,
        "real": sum(row["verdict"] == "REAL" for row in rows),
        "fake": sum(row["verdict"] == "FAKE" for row in rows),
    }
    assert report["accuracy"]["correct"] == sum(row["correct"] == "1" for row in rows)
    assert report["model"] == {
        "name": "UNet", "file": "UNet.xmodel", "input": "32x32 RGB", "target": "DPUCVDX8H_ISA1_F2W2_8PE"
    }  # fmt: skip
    assert report["speed"]["batch"] == 8 and report["speed"]["fps"] > 0
    page = (build / "infer/report.html").read_text()
    assert f"{report['accuracy']['correct']} of {COUNT} labelled crops" in page and page.count("<img") >= 6


def test_compiled_is_quantized_and_close_to_float(build: Path) -> None:
    found = _json(build / "compare/compare.json")
    assert list(found["forms"]) == ["float", "quantized", "compiled"]
    exact = found["agreement"]["quantized / compiled"]
    assert exact["label_agreement"] == exact["pixel_agreement"] == exact["mask_iou"] == 1.0
    assert exact["p_real_max_difference"] < 1e-6
    assert found["gate"] == found["agreement"]["float / compiled"]["label_agreement"]
    assert len(found["layers"]) > 20 and all(layer["sqnr"] > 5 for layer in found["layers"])
    evaluated = _json(build / "evaluate/evaluation.json")
    assert evaluated["accuracy"] == found["forms"]["float"]["accuracy"]


def test_the_quantizer_says_what_it_used(build: Path) -> None:
    report = _json(build / "quantize/quant_report.json")
    assert (report["model"], report["network"], report["images"], report["batches"]) == ("UNet", "tiny", COUNT, 1)
    assert report["comparison"]["forms"]["quantized"]["accuracy"]["labelled"] == COUNT


def test_the_compiler_says_what_runs_where(build: Path) -> None:
    report = _json(build / "compile/compile_report.json")
    assert [part["device"] for part in report["subgraphs"]][:2] == ["USER", "DPU"]
    assert report["summary"]["dpu_subgraphs"] == 1
    assert "sigmoid" in {op["type"] for op in report["summary"]["cpu_ops"]}


def test_what_is_up_to_date_is_not_done_again(build: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in build.rglob("*") if path.is_file()}
    for arguments in _stages(build, build / "crops", build / "metadata.json"):
        assert exit_code(*arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in build.rglob("*") if path.is_file()} == before
    assert "up to date" in capsys.readouterr().out


def test_results_of_crops_that_are_gone_go_too(build: Path, tmp_path: Path) -> None:
    crops, _ = data(tmp_path)
    arguments = ["infer", build / "compile", "--crops", crops, "--out", tmp_path / "out", "-q"]
    assert exit_code(*arguments) == 0
    (crops / "v3_0_0.png").unlink()
    assert exit_code(*arguments) == 0
    assert "masks/v3_0_0.png" not in files(tmp_path / "out")
    assert len(np.load(tmp_path / "out/classification_output_array.npy")) == COUNT - 1


def test_a_folder_whose_name_is_no_text(build: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = tmp_path / os.fsdecode(b"\xff")
    crops, _ = data(odd)
    for json_too in ([], ["--json"]):
        assert exit_code("infer", build / "compile", "--crops", crops, "--out", odd / "out", *json_too) == 0
        assert capsys.readouterr().out
    assert exit_code("compile", build / "quantize", "--out", odd / "compile", "--json") == 0
    assert json.loads(capsys.readouterr().out)["xmodel"] == str(odd / "compile/UNet.xmodel")


def test_the_summary_has_a_line_a_stage(build: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("summary", build) == 0
    shown = capsys.readouterr().out
    for word in ("quantize", "compile", "infer", "compare", "accuracy", "float", "compiled", "report.html"):
        assert word in shown
    assert exit_code("summary", build, "--json") == 0
    assert set(json.loads(capsys.readouterr().out)) == {"folder", "quantize", "compile", "infer", "compare"}


def test_a_graph_runs_on_arrays(build: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from deploy.batches import Reader, to_nchw
    from deploy.crops import list_crops
    from xmodel.preprocess import Preprocessing

    spec = Preprocessing(32, 32)
    ((_, images),) = Reader(list_crops(build / "crops"), spec).batches(COUNT)
    np.save(tmp_path / "x.npy", to_nchw(images, spec))
    model, out = build / "compile/UNet.xmodel", tmp_path / "out"
    assert exit_code("run", model, "--input", tmp_path / "x.npy", "--layout", "nchw", "--out", out, "--json") == 0
    listing = json.loads(capsys.readouterr().out)["tensors"]
    assert listing == _json(out / "tensors.json")
    mask = next(item for item in listing if item["shape"] == [COUNT, 2, 32, 32])
    values = np.load(out / mask.get("dequantized", mask["file"])).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(values, np.load(build / "infer/segmentation_output_array.npy"))
    assert exit_code("run", model, "--input", tmp_path / "x.npy", "--layout", "nchw", "--out", out, "--dump", "-q") == 0
    assert len(_json(out / "tensors.json")) > 40
