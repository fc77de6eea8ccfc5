"""The tool's words and endings become errors that say what to do."""

from __future__ import annotations

import pytest

from quantize.vitis.messages import Message, failure, fatal, parse
from xmodel.errors import ArtifactError, UnavailableError, UnmaskError, UsageError


def test_lines_of_the_tool() -> None:
    coloured = "\x1b[0;31m[VAIQ_ERROR][QUANTIZER_TORCH_NO_CALIB_RESULT]: calibration result file does not exist\x1b[m"
    assert parse(coloured) == Message("ERROR", "NO_CALIB_RESULT", "calibration result file does not exist")
    assert parse("[VAIQ_NOTE]: Loading kernels") == Message("NOTE", "", "Loading kernels")
    assert parse("100%|#####| 3/3") is None and parse("") is None


@pytest.mark.parametrize(
    ("code", "type_", "hint"),
    [
        ("NO_CALIBRATION", UsageError, "calibration set"),
        ("NO_CALIB_RESULT", ArtifactError, "quant_info.json"),
        ("BIAS_CORRECTION", ArtifactError, "--no-bias-correction"),
        ("CALIB_RESULT_MISMATCH", ArtifactError, "--backend unmask"),
        ("XMODEL_BATCHSIZE", UnavailableError, "fault of the tool"),
        ("FAST_FINETINE", ArtifactError, "param.pth"),
        ("PYTORCH_TRACE", UsageError, "torch.jit.trace"),
        ("SHAPE_MISMATCH", UsageError, "output_padding"),
        ("EXPORT_XMODEL", UsageError, "no XIR form"),
        ("QUANT_CONFIG", UsageError, "power-of-two"),
        ("UNREGISTERED_TARGET", UsageError, "Leave the target out"),
        ("TORCH_VERSION", UnavailableError, "--vitis-python"),
    ],
)
def test_every_code_has_its_meaning(code: str, type_: type[UnmaskError], hint: str) -> None:
    error = failure("test", 0, [Message("ERROR", code, "its words")], None, [], "vitis.log")
    assert type(error) is type_
    assert error.what == f"The vendor's quantizer says [{code}]: its words"
    assert error.where == "test step; log in vitis.log" and hint in error.hint


def test_warnings_are_not_fatal_and_unknown_errors_are_told() -> None:
    assert fatal([Message("WARN", "SHIFT_CHECK", ""), Message("ERROR", "ODD", "")]) is None
    error = failure("calib", 1, [Message("ERROR", "ODD", "odd words")], None, [], "log")
    assert isinstance(error, UnavailableError) and "[ODD]: odd words" in error.what


@pytest.mark.parametrize(
    ("code", "name", "hint"),
    [(-6, "SIGABRT", "PReLU"), (-9, "SIGKILL", "memory"), (-11, "SIGSEGV", "--backend unmask")],
)
def test_a_signal_is_named(code: int, name: str, hint: str) -> None:
    error = failure("export", code, [], {"kind": "exit", "message": ""}, [], "log")
    assert isinstance(error, UnavailableError)
    assert error.what == f"The vendor's quantizer crashed: {name}." and hint in error.hint
    assert "signal 99" in failure("export", -99, [], None, [], "log").what


@pytest.mark.parametrize(
    ("kind", "text", "type_", "part"),
    [
        ("missing", "the tool did not write quant_info.json", UnavailableError, "without an error: the tool did not"),
        ("option", "this version has no load_ft_param", UnavailableError, "cannot do this"),
        ("job", "job.json has schema 2, not 1", ArtifactError, "could not use the job"),
        ("exit", "the tool called exit(0)", UnavailableError, "stopped early: the tool called exit(0)"),
        ("exception", "ValueError: operands could not be broadcast", UsageError, "channel multiplier"),
        ("exception", "RuntimeError: CUDA out of memory", UnavailableError, "out of memory"),
        ("exception", "KeyError: 'x'", UnavailableError, "failed: KeyError"),
    ],
)
def test_what_the_worker_found(kind: str, text: str, type_: type[UnmaskError], part: str) -> None:
    error = failure("calib", 1, [], {"kind": kind, "message": text}, [], "log")
    assert type(error) is type_ and part in error.what


def test_no_result_tells_the_last_words() -> None:
    error = failure("calib", 0, [], None, ["first", "Killed by the queue", " "], "log")
    assert error.what.endswith("exit code 0 and without a result; it last said: Killed by the queue")
