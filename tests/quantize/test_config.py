"""The vendor's configuration file: what is taken over, and that nothing is ignored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from quantize.config import VendorConfig, read_config
from quantize.pipeline import Settings
from tests.shared import SHARED, needs_shared
from xmodel.errors import ArtifactError, UsageError

DEFAULT: dict[str, Any] = {
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


def _read(folder: Path, content: Any) -> VendorConfig:
    path = folder / "config.json"
    path.write_text(json.dumps(content))
    return read_config(path)


def test_the_default_configuration_is_the_default(tmp_path: Path) -> None:
    assert _read(tmp_path, DEFAULT) == VendorConfig(True, True)
    assert _read(tmp_path, DEFAULT).settings() == Settings()
    assert _read(tmp_path, {}) == VendorConfig()


def test_switches_of_file_and_command_line_add_up(tmp_path: Path) -> None:
    file = _read(tmp_path, {"include_cle": False})
    assert file.settings() == Settings(equalize=False)
    assert file.settings(equalize=False, bias_correction=False, device="auto") == Settings(False, False, "auto")
    with pytest.raises(UsageError, match="include_bias_corr: true, and --no-bias-correction asks for the opposite"):
        _read(tmp_path, DEFAULT).settings(bias_correction=False)


def test_maxmin_has_no_effect_and_says_so(tmp_path: Path) -> None:
    for section in ({"overall_quantize_config": {"method": "maxmin"}},
                    {"tensor_quantize_config": {"weights": {"method": "maxmin"}}}):  # fmt: skip
        found = _read(tmp_path, section)
        assert found.settings() == Settings() and "maxmin has no effect" in found.notes[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"target_device": "CPU"}, 'target_device is "CPU".*; "DPU" is allowed'),
        ({"overall_quantize_config": {"per_channel": True}}, "overall_quantize_config.per_channel is true.*; false is"),
        ({"overall_quantize_config": {"symmetry": False}}, "overall_quantize_config.symmetry is false"),
        ({"overall_quantize_config": {"method": "entropy"}}, '"entropy".*; "diffs" or "maxmin" is allowed'),
        ({"overall_quantize_config": {"bit_width": 4}}, "bit_width is 4.*; 8 is allowed"),
        ({"overall_quantize_config": {"bit_width": 8.0}}, "bit_width is 8.0"),
        ({"overall_quantize_config": {"signed": 1}}, "signed is 1"),
        ({"overall_quantize_config": {"scale_type": "float"}}, "scale_type"),
        ({"overall_quantize_config": {"calib_statistic_method": "max"}}, "calib_statistic_method"),
        ({"tensor_quantize_config": {"activation": {"round_mode": "std_round"}}}, "activation.round_mode"),
        ({"tensor_quantize_config": {"weights": {"bit_width": 16}}}, "tensor_quantize_config.weights.bit_width is 16"),
        ({"tensor_quantize_config": {"gradient": {}}}, "'tensor_quantize_config.gradient' is not known"),
        ({"tensor_quantize_config": []}, "tensor_quantize_config is .*object is expected"),
        ({"overall_quantize_config": 3}, "overall_quantize_config is 3; a JSON object is expected"),
        ({"quantizable_data_type": ["weights"]}, "a DPU needs all of input, weights, bias, activation"),
        ({"layer_quantize_config": [{"layer_name": "x"}]}, "layer_quantize_config"),
        ({"keep_first_last_layer_accuracy": True}, "keep_first_last_layer_accuracy is true"),
        ({"include_cle": "yes"}, 'include_cle is "yes".*; true or false is allowed'),
        ({"bit_with": 8}, "The setting 'bit_with' is not known"),
        ({"overall_quantize_config": {"bits": 8}}, "The setting 'overall_quantize_config.bits' is not known"),
    ],
)
def test_what_a_dpu_cannot_have_is_refused(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        _read(tmp_path, content)
    assert caught.value.where == str(tmp_path / "config.json")


def test_files_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="one JSON object"):
        _read(tmp_path, [1])
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ArtifactError, match="not valid JSON"):
        read_config(tmp_path / "bad.json")
    with pytest.raises(UsageError, match="No such file"):
        read_config(tmp_path / "none.json")


@needs_shared
@pytest.mark.parametrize(
    ("variant", "expected"),
    [("nobc", Settings(bias_correction=False)), ("nocle", Settings(equalize=False)), ("plain", Settings(False, False))],
)
def test_configurations_given_to_the_real_tool(variant: str, expected: Settings) -> None:
    path = SHARED / "goldens/quantizer/a_tinycnn/variants" / variant / "config.json"
    assert read_config(path).settings() == expected
