"""What the vendor's quantizer prints, and what each of its error codes means for a user.

Form of a line: [VAIQ_ERROR][QUANTIZER_TORCH_<CODE>]: text. spec: vai_q_pytorch 3.5; the tool may exit
with 0 after an error, or print one and go on, so these lines count and not the exit code alone.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xmodel.errors import ArtifactError, UnavailableError, UnmaskError, UsageError

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_LINE = re.compile(r"\[(?:VAIQ|NNDCT)_(ERROR|WARN|NOTE)\](?:\[(?:QUANTIZER_TORCH_)?(\w+)\])?\s*:?\s*(.*)")
_OWN = "--backend unmask quantizes without the vendor's tool."


@dataclass(frozen=True, slots=True)
class Message:
    """One line of the tool: `level` "ERROR", "WARN" or "NOTE"; `code` such as "NO_CALIBRATION", or ""."""

    level: str
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an error code is raised as, and the way out."""

    error: type[UnmaskError]
    hint: str


_MEANINGS: Mapping[str, Meaning] = {
    "NO_CALIBRATION": Meaning(UsageError, "No image reached the network: check the calibration set."),
    "NO_FORWARD": Meaning(UsageError, "No image reached the network before the export: check the calibration set."),
    "NO_CALIB_RESULT": Meaning(
        ArtifactError, "The calibration left no quant_info.json: its own messages, in the log, say why."
    ),
    "BIAS_CORRECTION": Meaning(
        ArtifactError, "The calibration left no bias_corr.pth: run again, or with --no-bias-correction."
    ),
    "CALIB_RESULT_MISMATCH": Meaning(
        ArtifactError,
        "The tool traced another graph for testing than for calibration. Remove branches that depend on "
        f"the input's size or on the mode, or: {_OWN}",
    ),
    "XMODEL_BATCHSIZE": Meaning(UnavailableError, f"Batch 1 was given, so this is a fault of the tool. {_OWN}"),
    "FAST_FINETINE": Meaning(ArtifactError, "Fast finetune left no param.pth: its own messages, in the log, say why."),
    "FAST_FINETUNE": Meaning(ArtifactError, "The finetuned parameters were not loaded: the log says why."),
    "PYTORCH_TRACE": Meaning(
        UsageError, f"torch.jit.trace of that Python cannot follow the network; the log has its reason. {_OWN}"
    ),
    "SHAPE_MISMATCH": Meaning(
        UsageError,
        "The .xmodel it wrote is wrong: the tool drops the output_padding of a ConvTranspose2d. Choose kernel, "
        "stride and padding that give the size without it (k2 s2, or k4 s2 p1).",
    ),
    "EXPORT_XMODEL": Meaning(UsageError, f"An operator has no XIR form in this version of the tool. {_OWN}"),
    "QUANT_CONFIG": Meaning(
        UsageError,
        "A DPU takes 8-bit symmetric per-tensor power-of-two quantization: correct the JSON configuration.",
    ),
    "UNREGISTERED_TARGET": Meaning(UsageError, "Leave the target out: quantization for a DPU does not depend on it."),
    "TORCH_VERSION": Meaning(UnavailableError, "Name the vendor's own environment with --vitis-python."),
    "CUDA_UNAVAILABLE": Meaning(UnavailableError, "Use --device cpu, or an environment whose torch has CUDA."),
}


def parse(line: str) -> Message | None:
    """The message in a line that the tool printed, or None.

    >>> parse("[VAIQ_WARN][QUANTIZER_TORCH_FLOAT_OP]: aten::silu")
    Message(level='WARN', code='FLOAT_OP', text='aten::silu')
    """
    found = _LINE.search(_COLOUR.sub("", line))
    return Message(found[1], found[2] or "", found[3].strip()) if found else None


def fatal(messages: Sequence[Message]) -> Message | None:
    """The last error with a known code, which spoils a result even when the tool went on; else None."""
    known = [m for m in messages if m.level == "ERROR" and m.code in _MEANINGS]
    return known[-1] if known else None


def failure(
    step: str, code: int, messages: Sequence[Message], told: Mapping[str, Any] | None, tail: Sequence[str], log: str
) -> UnmaskError:
    """The error for a step that failed: exit `code` (negative: a signal), what the worker `told`, the last lines.

    The tool's own error line explains best; then what the worker found; then how the process ended.
    """
    where = f"{step} step; log in {log}"
    spoken = fatal(messages) or next((m for m in reversed(messages) if m.level == "ERROR"), None)
    if spoken is not None and (code >= 0 or spoken.code in _MEANINGS):
        meaning = _MEANINGS.get(spoken.code, Meaning(UnavailableError, f"The log has the whole story. {_OWN}"))
        label = f" [{spoken.code}]" if spoken.code else ""
        return meaning.error(f"The vendor's quantizer says{label}: {spoken.text}", where=where, hint=meaning.hint)
    if code < 0:
        return _killed(-code, where)
    if told is None:
        last = next((line for line in reversed(tail) if line.strip()), "nothing")
        return UnavailableError(
            f"The vendor's quantizer ended with exit code {code} and without a result; it last said: {last}",
            where=where,
            hint=_OWN,
        )
    return _told(told, where)


def _killed(number: int, where: str) -> UnmaskError:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    reasons = {
        "SIGKILL": "The system may have run out of memory: use a smaller --batch-size.",
        "SIGABRT": "Its libraries abort on an operator they do not know, as libxir 2.5 on PReLU.",
    }
    hint = f"{reasons.get(name, '')} {_OWN}".strip()
    return UnavailableError(f"The vendor's quantizer crashed: {name}.", where=where, hint=hint)


def _told(told: Mapping[str, Any], where: str) -> UnmaskError:
    kind, text = str(told.get("kind")), str(told.get("message"))
    if kind == "option":
        return UnavailableError(
            f"The installed pytorch_nndct cannot do this: {text}.", where=where, hint="Leave that option out."
        )
    if kind == "missing":
        return UnavailableError(f"The vendor's quantizer failed without an error: {text}.", where=where, hint=_OWN)
    if kind == "job":
        return ArtifactError(f"The vendor's Python could not use the job: {text}.", where=where)
    if kind == "exit":
        return UnavailableError(f"The vendor's quantizer stopped early: {text}.", where=where, hint=_OWN)
    if "could not be broadcast" in text:
        text += " (known for a depthwise convolution with a channel multiplier beside another convolution)"
        return UsageError(f"The vendor's quantizer failed: {text}.", where=where, hint="Use --no-equalize.")
    full = "out of memory" in text.lower() or text.startswith("MemoryError")
    hint = "Use a smaller --batch-size." if full else _OWN
    return UnavailableError(f"The vendor's quantizer failed: {text}", where=where, hint=hint)
