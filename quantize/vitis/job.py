"""The job folder that the worker reads: job.json (schema 1), the network, its weights, the batches."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quantize.vitis.interpreter import WORKER
from quantize.vitis.modelcode import ModelCode, state_arrays
from xmodel.artifact import read_json, write_json, write_text
from xmodel.errors import UsageError
from xmodel.graph import Array

SCHEMA = 1
RESULTS = "quantize_result"  # where the tool writes; its own default name
TEST_IMAGES = 4  # on which the tool's quantized network is compared with the exported graph


@dataclass(frozen=True, slots=True)
class VitisSettings:
    """What the vendor's tool is asked for; the defaults are its defaults.

    `config` is its JSON configuration file; `target` a DPU name, which only versions from 2.5 on take;
    `python` the interpreter that has the tool, `silence` the seconds after which a mute tool is stopped.
    """

    equalize: bool = True
    bias_correction: bool = True
    device: str = "cpu"
    fast_finetune: bool = False
    config: Path | None = None
    target: str | None = None
    deploy_check: bool = False
    python: Path | None = None
    silence: float = 3600.0


@dataclass(frozen=True, slots=True)
class Job:
    """A job on disk: its folder, how many images and batches it calibrates on."""

    folder: Path
    images: int
    batches: int

    @property
    def results(self) -> Path:
        """Where the tool's files appear."""
        return self.folder / RESULTS


def write_job(
    folder: Path, code: ModelCode, shape: tuple[int, ...], batches: Iterable[Array], settings: VitisSettings
) -> Job:
    """Fill the empty `folder`: `shape` is the input's (1, C, H, W); `batches` are float32 (n, C, H, W), in order.

    Holds one batch at a time. Raises `UsageError` for a batch of another shape, or when none came.
    """
    shutil.copyfile(WORKER, folder / WORKER.name)
    write_text(folder / "model.py", code.source)
    np.savez(folder / "state.npz", **state_arrays(code))
    (folder / RESULTS).mkdir()
    (folder / "images").mkdir()
    entries: list[dict[str, Any]] = []
    tests: list[dict[str, Any]] = []
    for batch in batches:
        if batch.dtype != np.float32 or tuple(batch.shape[1:]) != shape[1:] or not len(batch):
            raise UsageError(
                f"A calibration batch is {batch.dtype} {tuple(batch.shape)}; float32 (n, "
                f"{', '.join(map(str, shape[1:]))}) is expected."
            )
        if not entries:
            tests.append(_write(folder, "test.npy", batch[:TEST_IMAGES]))
        entries.append(_write(folder, f"images/{len(entries):05}.npy", batch))
    if not entries:
        raise UsageError("There is nothing to calibrate with: no batch came.")
    write_json(
        folder / "job.json",
        {
            "schema": SCHEMA,
            "model": {
                "file": "model.py", "class": code.name, "state": "state.npz", "parameters": list(code.state),
            },
            "input": list(shape),
            "calib": entries,
            "finetune": entries,
            "test": tests,
            "settings": {
                "device": settings.device,
                "config": _write_config(folder, settings),
                "target": settings.target,
                "fast_finetune": settings.fast_finetune,
                "deploy_check": settings.deploy_check,
            },
        },
    )  # fmt: skip
    return Job(folder, sum(int(entry["images"]) for entry in entries), len(entries))


def _write(folder: Path, name: str, batch: Array) -> dict[str, Any]:
    np.save(folder / name, np.ascontiguousarray(batch))
    return {"file": name, "images": len(batch)}


def _write_config(folder: Path, settings: VitisSettings) -> str | None:
    """The user's JSON configuration, or one that only switches a pass off; the tool has no other switch for those."""
    config = _configuration(settings)
    if config is None:
        return None
    if settings.target is not None:
        raise UsageError(
            f"The vendor's tool ignores the target {settings.target!r} beside a configuration.",
            hint="Leave out the target, or the configuration and the switches that need one.",
        )
    write_json(folder / "quant_config.json", config)
    return "quant_config.json"


def _configuration(settings: VitisSettings) -> Mapping[str, Any] | None:
    given: Any = None
    if settings.config is not None:
        given = read_json(settings.config)
        if not isinstance(given, dict):
            raise UsageError("The configuration is not a JSON object.", where=str(settings.config))
    if given is None and settings.equalize and settings.bias_correction:
        return None
    config = dict(_DPU_DEFAULTS if given is None else given)
    if not settings.equalize:
        config["include_cle"] = False
    if not settings.bias_correction:
        config["include_bias_corr"] = False
    return config


# spec: vai_q_pytorch 3.5, the only quantization that its DPU targets accept
_DPU_DEFAULTS: Mapping[str, Any] = {
    "convert_relu6_to_relu": False,
    "include_cle": True,
    "keep_first_last_layer_accuracy": False,
    "keep_add_layer_accuracy": False,
    "include_bias_corr": True,
    "target_device": "DPU",
    "quantizable_data_type": ["input", "weights", "bias", "activation"],
    "overall_quantize_config": {
        "bit_width": 8,
        "method": "diffs",
        "round_mode": "std_round",
        "symmetry": True,
        "per_channel": False,
        "signed": True,
        "narrow_range": False,
        "scale_type": "poweroftwo",
        "calib_statistic_method": "modal",
    },
    "tensor_quantize_config": {"activation": {"round_mode": "half_up"}},
}
