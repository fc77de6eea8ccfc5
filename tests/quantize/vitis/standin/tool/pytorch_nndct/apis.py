"""torch_quantizer, as the specification describes it."""
# ruff: noqa: UP006, UP035, UP045

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import numpy
import torch

from . import __version__

FAULT = os.environ.get("STANDIN_FAULT", "")
ANSWERS = Path(os.environ.get("STANDIN_ANSWERS", "."))
OLD = __version__ == "1.4.1"


def log(level: str, code: str, text: str) -> None:
    print(f"\x1b[0;31m\n[VAIQ_{level}][QUANTIZER_TORCH_{code}]: {text}\x1b[m")


def stop(code: str, text: str, status: int) -> None:
    log("ERROR", code, text)
    sys.exit(status)


class QuantModel:
    """Gives the stored outputs, whatever it is fed, and remembers that it was."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.batches: List[int] = []

    def eval(self) -> "QuantModel":
        return self

    def __call__(self, images: Any) -> Any:
        if FAULT == "hang":
            print("calibrating", end="\r")
            sys.stdout.flush()
            time.sleep(600)
        self.batches.append(len(images))
        outputs = [torch.from_numpy(numpy.load(str(path))[: len(images)]) for path in sorted(ANSWERS.glob("out*.npy"))]
        return tuple(outputs) if len(outputs) > 1 else outputs[0]


class Quantizer:
    """What torch_quantizer returns."""

    def __init__(self, mode: str, module: Any, out: str, device: Any, config: Optional[str] = None) -> None:
        self.device = device
        self.name, self.out, self.mode = type(module).__name__, Path(out), mode
        self.config: Dict[str, Any] = json.loads(Path(config).read_text()) if config else {}
        self.tuned = False
        self.out.mkdir(exist_ok=True)
        (self.out / f"{self.name}.py").write_text("# generated\n")
        self.quant_model = QuantModel(mode)
        if mode == "test":
            self.load()

    @property
    def corrects(self) -> bool:
        return bool(self.config.get("include_bias_corr", True))

    def load(self) -> None:
        for fault, name in (("lose_bias", "bias_corr.pth"), ("lose_quant_info", "quant_info.json")):
            if fault == FAULT:
                (self.out / name).unlink()
        if self.corrects and not (self.out / "bias_corr.pth").exists():
            stop(
                "BIAS_CORRECTION",
                "Bias correction result file does not exist. Please check calibration with bias correction is done "
                "or not.",
                2,
            )
        if not (self.out / "quant_info.json").exists():
            stop("NO_CALIB_RESULT", "calibration result file does not exist", 2)
        if FAULT == "other_graph":
            stop("CALIB_RESULT_MISMATCH", "Node name mismatch is found when loading quantization steps of tensors.", 0)

    def fast_finetune(self, run_fn: Callable[..., Any], run_args: Any) -> None:
        run_fn(*run_args)
        torch.save({"module_1.weight": [0.5]}, str(self.out / "param.pth"))
        self.tuned = True

    def load_ft_param(self) -> None:
        if not (self.out / "param.pth").exists():
            stop("FAST_FINETINE", "Fast finetuned parameter file does not exist.", 2)
        self.tuned = True

    def export_quant_config(self) -> None:
        if FAULT == "no_calibration" or not self.quant_model.batches:
            log("ERROR", "NO_CALIBRATION", "Quantization is not performed completely, check if module FORWARD "
                "function is called!")  # fmt: skip
            return
        info = json.loads((ANSWERS / "quant_info.json").read_text())
        info["bias_corrected"], info["fast_finetuned"] = self.corrects, self.tuned
        if OLD:
            flat = {kind: {k: v[0] for k, v in info[kind].items()} for kind in ("param", "output")}
            info = dict(flat, input={})
        (self.out / "quant_info.json").write_text(json.dumps(info))
        if self.corrects and FAULT != "no_bias":
            table = json.loads((ANSWERS / "bias_corr.json").read_text())
            torch.save(table, str(self.out / "bias_corr.pth"))
        (self.out / "batches.json").write_text(json.dumps(self.quant_model.batches))
        log("WARN", "SHIFT_CHECK", "shift cut of conv1 value is too small, so adjust the fix position from 9 to 8")

    def write(self, deploy_check: bool) -> None:
        if FAULT == "abort":
            os.abort()
        if not self.quant_model.batches:
            log("ERROR", "NO_FORWARD", "check if module FORWARD function is called!")
            return
        if FAULT == "batch" or self.quant_model.batches[-1] != 1:
            log("ERROR", "XMODEL_BATCHSIZE", "Batch size must be 1 when exporting xmodel.")
            return
        if self.device.type != "cpu":
            log("WARN", "XMODEL_DEVICE", "Exporting xmodel needs the CPU.")
            return
        if FAULT == "shape":
            log("ERROR", "SHAPE_MISMATCH", "xmodel shape [1, 31, 31, 8] instead of [1, 32, 32, 8]")
        if FAULT != "no_file":
            shutil.copyfile(str(ANSWERS / "model.xmodel"), str(self.out / f"{self.name}_int.xmodel"))
        if deploy_check:
            folder = self.out / "deploy_check_data_int" / self.name
            folder.mkdir(parents=True)
            (folder / "shape.txt").write_text("[1, 3, 3, 3]: x\n")


class NewQuantizer(Quantizer):
    def export_xmodel(self, output_dir: str = "quantize_result", deploy_check: bool = False) -> None:
        self.write(deploy_check)


class OldQuantizer(Quantizer):
    def dump_xmodel(self, deploy_check: bool = False) -> None:
        self.write(deploy_check)


def _begin(mode: str) -> None:
    if FAULT == "mute":
        os._exit(0)
    if FAULT == "raise":
        raise ValueError("operands could not be broadcast together with shapes (16,1) (8,18)")
    log("NOTE", "QUANT_START", f"Start {mode}")


def _new(
    quant_mode: str,
    module: Any,
    input_args: Any = None,
    state_dict_file: Optional[str] = None,
    output_dir: str = "quantize_result",
    bitwidth: Optional[int] = None,
    device: Any = None,
    quant_config_file: Optional[str] = None,
    target: Optional[str] = None,
) -> NewQuantizer:
    _begin(quant_mode)
    return NewQuantizer(quant_mode, module, output_dir, device, quant_config_file)


def _old(
    quant_mode: str,
    module: Any,
    input_args: Any = None,
    state_dict_file: Optional[str] = None,
    bitwidth: int = 8,
    mix_bit: bool = False,
    device: Any = None,
) -> OldQuantizer:
    _begin(quant_mode)
    return OldQuantizer(quant_mode, module, "quantize_result", device)


torch_quantizer = _old if OLD else _new
