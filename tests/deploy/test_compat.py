"""`infer --compat deepynet`: other pixels and scores, said aloud, and kept apart from the right ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deploy.deployed import Deployed
from runtime import deepynet
from runtime.preprocess import decode, to_int8
from tests.deploy.tiny import compiled, exit_code


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with crops/ and compile/ of a tiny network."""
    folder = tmp_path_factory.mktemp("compat")
    compiled(folder)
    return folder


def test_the_results_are_the_networks_on_the_scripts_pixels(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["infer", model / "compile", "--crops", model / "crops", "--out"]
    assert exit_code(*command, tmp_path / "right", "--json") == 0
    told = capsys.readouterr()
    assert "imitates" not in told.err and json.loads(told.out)["compat"] is None
    assert exit_code(*command, tmp_path / "compat", "--compat", "deepynet", "--quiet", "--json") == 0
    told = capsys.readouterr()
    report = json.loads(told.out)
    assert report["compat"]["name"] == "deepynet" and len(report["compat"]["flaws"]) >= 2
    assert "Warning: --compat deepynet imitates the published script" in told.err
    assert all(flaw in told.err for flaw in report["compat"]["flaws"])
    page = (tmp_path / "compat/report.html").read_text()
    assert "Not the right numbers: --compat deepynet" in page and "instead of rounding them" in page
    assert json.loads((tmp_path / "compat/run.json").read_text())["arguments"]["compat"] == "deepynet"
    right, other = (np.load(tmp_path / name / "segmentation_output_array.npy") for name in ("right", "compat"))
    assert right.shape == other.shape and (right != other).any()
    assert exit_code(*command, tmp_path / "compat", "--json") == 0
    assert json.loads(capsys.readouterr().out)["compat"] is None, "done again without the option"
    np.testing.assert_array_equal(np.load(tmp_path / "compat/segmentation_output_array.npy"), right)


def test_pixels_and_scores(model: Path) -> None:
    deployed = Deployed.load(model / "compile/UNet.xmodel", "reference", "deepynet")
    path = sorted((model / "crops").iterdir())[0]
    image = decode(path, deployed.spec)
    np.testing.assert_array_equal(deployed._load(path), deepynet.to_int8(image, deployed.fix_point))
    plain = replace(deployed, compat=None)
    np.testing.assert_array_equal(plain._load(path), to_int8(image, deployed.spec, deployed.fix_point))
    score = np.array([[0.0], [0.25], [1.0]], np.float32)
    assert (deployed._p_real(score) == plain._p_real(score)).all(), "one sigmoid, after the DPU"
    twice = replace(deployed, roles=replace(deployed.roles, sigmoid_on_host=False, sigmoid_on_dpu=True))
    np.testing.assert_allclose(twice._p_real(score), [0.5, 0.5621765, 0.7310586], rtol=1e-6)
    assert plain.flaws == [] and any("every crop is called real" in flaw for flaw in twice.flaws)
