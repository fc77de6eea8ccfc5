"""The vendor's JSON configuration file: what of it a DPU can have becomes `Settings`, the rest is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantize.pipeline import Settings
from xmodel.artifact import read_json
from xmodel.errors import ArtifactError, UsageError

# spec: vai_q_pytorch 3.5 for target DPU: symmetric, per tensor, power of two, diffs or maxmin, modal, 8 bits here.
_TENSOR: Mapping[str, tuple[Any, ...]] = {
    "bit_width": (8,),
    "method": ("diffs", "maxmin"),
    "round_mode": ("std_round",),
    "symmetry": (True,),
    "per_channel": (False,),
    "signed": (True,),
    "narrow_range": (False,),
    "scale_type": ("poweroftwo",),
    "calib_statistic_method": ("modal",),
}
_TENSORS: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "input": _TENSOR,
    "weights": _TENSOR,
    "bias": _TENSOR,
    "activation": {**_TENSOR, "round_mode": ("half_up",)},
}
_GLOBAL: Mapping[str, tuple[Any, ...]] = {
    "include_cle": (True, False),
    "include_bias_corr": (True, False),
    "target_device": ("DPU",),
    "convert_relu6_to_relu": (False,),
    "keep_first_last_layer_accuracy": (False,),
    "keep_add_layer_accuracy": (False,),
    "change_concat_input_fix": (False,),
    "change_pool_input_fix": (False,),
    "layer_quantize_config": ([],),
}
_WHY: Mapping[str, str] = {
    "target_device": "The CPU and GPU targets of the vendor's tool use float scales, which no DPU has.",
    "per_channel": "A DPU has one fix position a tensor.",
    "symmetry": "A DPU has no zero points.",
    "signed": "The DPU's tensors are signed.",
    "scale_type": "A DPU scales by shifting.",
    "bit_width": "The DPU's tensors have 8 bits.",
    "round_mode": "The DPU rounds activations half up; inputs, weights and biases are rounded half away from zero.",
    "convert_relu6_to_relu": "nn.ReLU6 modules become ReLU in any case, as in the vendor's tool; F.relu6 stays.",
    "layer_quantize_config": "Settings of single layers are not supported.",
}


@dataclass(frozen=True, slots=True)
class VendorConfig:
    """What a configuration file asks for; None where it says nothing. `notes` are for the report."""

    equalize: bool | None = None
    bias_correction: bool | None = None
    notes: tuple[str, ...] = ()

    def settings(self, equalize: bool = True, bias_correction: bool = True, device: str = "cpu") -> Settings:
        """`Settings` of this file and the command line's switches, which may switch off what it does not ask for.

        Raises `UsageError` where the two contradict each other.
        """
        for key, wanted, given, switch in (
            ("include_cle", self.equalize, equalize, "--no-equalize"),
            ("include_bias_corr", self.bias_correction, bias_correction, "--no-bias-correction"),
        ):
            if wanted and not given:
                raise UsageError(
                    f"The configuration file has {key}: true, and {switch} asks for the opposite.",
                    hint=f"Set {key} to false in the file, or leave {switch} out.",
                )
        return Settings(
            equalize=equalize and self.equalize is not False,
            bias_correction=bias_correction and self.bias_correction is not False,
            device=device,
        )


def read_config(path: Path) -> VendorConfig:
    """Read and check the JSON file that `vai_q_pytorch` takes as `quant_config_file`.

    Every key must be known and have a value that a DPU can have. Raises `UsageError` for a value that
    cannot be had and `ArtifactError` for a file of another kind.
    """
    content = read_json(path, limit=1 << 20)
    if not isinstance(content, dict):
        raise ArtifactError("A quantizer configuration is one JSON object.", where=str(path))
    for key, value in content.items():
        if key == "quantizable_data_type":
            _check_types(value, path)
        elif key == "overall_quantize_config":
            _check(value, _TENSOR, key, path)
        elif key == "tensor_quantize_config":
            _check_tensors(value, path)
        else:
            _check({key: value}, _GLOBAL, "", path)
    notes = ("The configuration's method maxmin has no effect: for a DPU the vendor's quantizer searches by "
             "squared error whatever it says, and so does Unmask.",)  # fmt: skip
    return VendorConfig(
        content.get("include_cle"), content.get("include_bias_corr"), notes if "maxmin" in _methods(content) else ()
    )


def _check(values: Any, allowed: Mapping[str, tuple[Any, ...]], section: str, path: Path) -> None:
    _check_section(section, values, path)
    for key, value in values.items():
        name = f"{section}.{key}" if section else key
        if key not in allowed:
            raise UsageError(
                f"The setting {name!r} is not known.", where=str(path), hint=f"Known are: {', '.join(allowed)}."
            )
        # JSON's true is not 1, and 8.0 is not 8
        if not any(type(value) is type(choice) and value == choice for choice in allowed[key]):
            choices = " or ".join(_json(choice) for choice in allowed[key])
            raise UsageError(
                f"{name} is {_json(value):.80}, which a DPU cannot have; {choices} is allowed.",
                where=str(path),
                hint=_WHY.get(key, ""),
            )


def _check_tensors(values: Any, path: Path) -> None:
    _check_section("tensor_quantize_config", values, path)
    for tensor, settings in values.items():
        if tensor not in _TENSORS:
            raise UsageError(
                f"The tensor kind 'tensor_quantize_config.{tensor}' is not known.",
                where=str(path),
                hint=f"Known are: {', '.join(_TENSORS)}.",
            )
        _check(settings, _TENSORS[tensor], f"tensor_quantize_config.{tensor}", path)


def _check_section(name: str, values: Any, path: Path) -> None:
    if not isinstance(values, dict):
        raise UsageError(f"{name} is {_json(values):.80}; a JSON object is expected.", where=str(path))


def _check_types(value: Any, path: Path) -> None:
    if not isinstance(value, list) or sorted(map(str, value)) != sorted(_TENSORS):
        raise UsageError(
            f"quantizable_data_type is {_json(value):.80}; a DPU needs all of {', '.join(_TENSORS)}.",
            where=str(path),
            hint="Leave the key out, or list all four.",
        )


def _methods(content: Mapping[str, Any]) -> set[Any]:
    sections = [content.get("overall_quantize_config", {}), *content.get("tensor_quantize_config", {}).values()]
    return {section.get("method") for section in sections}


def _json(value: Any) -> str:
    return json.dumps(value)
