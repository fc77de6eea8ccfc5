"""The vendor's quantizer from end to end, on the stand-in: its result, its failures, its interruption."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantize.execute import Executor
from quantize.pipeline import Quantized, float_graph
from quantize.vitis.backend import LOG, quantize_with_vitis
from quantize.vitis.job import VitisSettings
from tests.quantize.networks import images, small
from tests.quantize.vitis import tool
from tests.xmodel.test_process import alive, wait_gone
from xmodel.errors import ArtifactError, UnavailableError, UnmaskError, UsageError
from xmodel.graph import Graph
from xmodel.preprocess import Preprocessing

HERE = Path(sys.executable)
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Quantized]:
    folder = tmp_path_factory.mktemp("vitis") / "answers"
    return folder, tool.answers(folder)


def network() -> Graph:
    return float_graph(small(), "Small", images(1), Preprocessing(16, 16))


def quantize(out: Path, **settings: Any) -> Quantized:
    chosen = VitisSettings(**{"python": HERE, "silence": 60.0, **settings})
    return quantize_with_vitis(network(), tool.batches(), out, chosen)


def test_the_same_result_as_our_own(
    own: tuple[Path, Quantized], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, wanted = own
    tool.use(monkeypatch, folder, bare=True)
    progress: list[int] = []
    said: list[str] = []
    settings = VitisSettings(python=HERE, fast_finetune=True)
    result = quantize_with_vitis(network(), tool.batches(), tmp_path, settings, progress.append, said.append)
    assert progress == [4, 8, 11] and result.images == 11 and result.batches == 3
    assert said[0].startswith("Vendor's quantizer: pytorch_nndct 3.5.0, torch 1.4.0, Python 3.")
    assert "Vendor's quantizer: fast finetune on 11 images" in said
    assert result.quant_info["output"] == wanted.quant_info["output"] and result.quant_info["fast_finetuned"]
    assert set(result.bias_corr) == set(wanted.bias_corr)
    for name, array in result.bias_corr.items():
        np.testing.assert_array_equal(array, wanted.bias_corr[name])
    batch = images(2, seed=5).transpose(0, 2, 3, 1)
    found, expected = Executor(result.graph).run(batch), Executor(wanted.graph).run(batch)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
    assert Preprocessing.load(result.graph) == Preprocessing(16, 16)
    assert "SHIFT_CHECK: shift cut of conv1 value is too small, so adjust the fix position from 9 to 8" in result.notes
    assert result.notes[-1].startswith("On 4 images the exported graph, executed here, differs")
    assert result.notes[-1].endswith("by at most 0.")
    assert [path.name for path in tmp_path.iterdir()] == [LOG]
    log = (tmp_path / LOG).read_text()
    assert "== calib: " in log and "== export: exit code 0" in log and "VAIQ_NOTE" in log


@pytest.mark.parametrize(
    ("fault", "type_", "text"),
    [
        ("no_calibration", UsageError, r"\[NO_CALIBRATION\]: Quantization is not performed completely"),
        ("no_bias", UnavailableError, r"without an error: the tool did not write bias_corr\.pth"),
        ("lose_bias", ArtifactError, r"test step.*\[BIAS_CORRECTION\]: Bias correction result file does not exist"),
        ("lose_quant_info", ArtifactError, r"\[NO_CALIB_RESULT\]: calibration result file does not exist"),
        ("other_graph", ArtifactError, r"\[CALIB_RESULT_MISMATCH\]: Node name mismatch"),
        ("batch", UnavailableError, r"\[XMODEL_BATCHSIZE\]: Batch size must be 1"),
        ("abort", UnavailableError, r"export step.*crashed: SIGABRT.*PReLU"),
        ("mute", UnavailableError, r"calib step.*exit code 0 and without a result"),
        ("no_file", UnavailableError, r"without an error: the tool did not write Small_int\.xmodel"),
        ("shape", UsageError, r"\[SHAPE_MISMATCH\]: xmodel shape .*output_padding"),
        ("raise", UsageError, r"could not be broadcast.*--no-equalize"),
    ],
)
def test_failures(
    fault: str,
    type_: type[UnmaskError],
    text: str,
    own: tuple[Path, Quantized],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tool.use(monkeypatch, own[0], fault=fault, bare=True)
    with pytest.raises(type_, match=text):
        quantize(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [LOG]


def test_a_tool_that_hangs(own: tuple[Path, Quantized], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool.use(monkeypatch, own[0], fault="hang", bare=True)
    with pytest.raises(UnavailableError, match="said nothing for 3 s and was stopped"):
        quantize(tmp_path, silence=3.0)
    assert [path.name for path in tmp_path.iterdir()] == [LOG]


def test_an_old_tool_cannot_take_a_configuration(
    own: tuple[Path, Quantized], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool.use(monkeypatch, own[0], version="1.4.1", bare=True)
    with pytest.raises(UnavailableError, match=r"cannot do this: this version's .* no argument quant_config_file"):
        quantize(tmp_path, equalize=False)
    result = quantize(tmp_path)
    assert result.quant_info["param"]["Small::conv1.weight"] == own[1].quant_info["param"]["Small::conv1.weight"][0]


def test_a_result_with_other_shapes_is_no_result(
    own: tuple[Path, Quantized], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "answers"
    tool.answers(folder)
    np.save(folder / "out0.npy", np.zeros((4, 2, 15, 15), np.float32))
    tool.use(monkeypatch, folder, bare=True)
    with pytest.raises(ArtifactError, match="gives outputs of shapes"):
        quantize(tmp_path)


def test_a_damaged_xmodel(own: tuple[Path, Quantized], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, out = tmp_path / "answers", tmp_path / "out"
    out.mkdir()
    tool.answers(folder)
    (folder / "model.xmodel").write_bytes((folder / "model.xmodel").read_bytes()[:-100])
    tool.use(monkeypatch, folder, bare=True)
    with pytest.raises(ArtifactError):
        quantize(out)


def test_wrong_batches_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool.use(monkeypatch, tmp_path, bare=True)
    settings = VitisSettings(python=HERE)
    with pytest.raises(UsageError, match=r"float32 \(n, 3, 16, 16\) is expected"):
        quantize_with_vitis(network(), [images(2, 8)], tmp_path, settings)
    with pytest.raises(UsageError, match="nothing to calibrate"):
        quantize_with_vitis(network(), [], tmp_path, settings)
    with pytest.raises(UsageError, match="sees no GPU"):
        quantize(tmp_path, device="cuda")
    assert list(tmp_path.iterdir()) == []


RUN = """
import sys
from pathlib import Path
from quantize.vitis.job import VitisSettings
from quantize.vitis.backend import quantize_with_vitis
from tests.quantize.vitis import tool
from tests.quantize.vitis.test_backend import network
quantize_with_vitis(network(), tool.batches(), Path(sys.argv[1]), VitisSettings(python=Path(sys.executable)))
"""


def test_ctrl_c_ends_the_tool_and_leaves_nothing(
    own: tuple[Path, Quantized], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool.use(monkeypatch, own[0], fault="hang", bare=True)
    start = f"import sys; sys.path[:] = [p for p in sys.path if 'standin' not in p]\n{RUN}"
    with subprocess.Popen(
        [sys.executable, "-c", start, str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        deadline = time.monotonic() + 60
        log = tmp_path / LOG
        while "calibrating" not in (log.read_text() if log.exists() else "") and time.monotonic() < deadline:
            time.sleep(0.05)
        workers = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and _runs(path, tmp_path)]
        assert len(workers) == 1 and alive(workers[0])
        process.send_signal(signal.SIGINT)
        process.wait(30)
    assert wait_gone(workers[0])
    assert [path.name for path in tmp_path.iterdir()] == [LOG]


def _runs(process: Path, folder: Path) -> bool:
    try:
        command = (process / "cmdline").read_bytes()
    except OSError:
        return False
    return b"worker.py\0calib" in command and str(folder).encode() in command
