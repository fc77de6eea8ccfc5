from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

from arch.targets import find
from compile.pipeline import compile_graph
from deploy.compile_stage import CompileJob, compile_stage
from deploy.console import Output
from deploy.estimates import estimate
from deploy.roofline import roofline
from tests.compile.build import uynet
from xmodel import file

PE8 = find("8PE")


def test_the_report_holds_bounds_layers_and_published_speeds(tmp_path: Path) -> None:
    file.write(tmp_path / "UNet_int.xmodel", uynet(8, 64))
    report = compile_stage(CompileJob(tmp_path, "8PE", tmp_path / "out"), Output(quiet=True))
    found = json.loads((tmp_path / "out/compile_report.json").read_text())["estimate"]
    assert found == report["estimate"]
    assert [item["name"] for item in found["designs"]] == ["F2W2", "8PE", "6PE_aieDWC", "6PE_aieMISC", "4PE"]
    assert sum(layer["workload"] for layer in found["layers"]) == report["summary"]["workload"]
    assert sum(layer["parameter_bytes"] for layer in found["layers"]) == report["summary"]["parameter_bytes"]
    page = (tmp_path / "out/compile_report.html").read_text()
    assert found["label"] in page and 'class="plot wide"' in page and "316.8" not in page and "317 FPS" in page
    assert all(text.replace("'", "&#39;") in page for text in found["formulas"].values())


def test_the_picture_is_well_formed_and_always_the_same() -> None:
    found = estimate(compile_graph(uynet(8, 64), PE8), PE8)
    picture = roofline(found["layers"], found["usable_tops"], found["ddr_gb_s"])
    dots = [element for element in ET.fromstring(picture) if element.tag == "circle"]
    assert len(dots) == sum(bool(layer["workload"]) for layer in found["layers"])
    assert picture == roofline(found["layers"], found["usable_tops"], found["ddr_gb_s"])
    assert "nan" not in picture and "inf" not in picture


def test_a_target_of_unknown_speed_gets_its_layers_alone(tmp_path: Path) -> None:
    file.write(tmp_path / "UNet_int.xmodel", uynet(4, 64))
    report = compile_stage(CompileJob(tmp_path, "KV260", tmp_path / "out"), Output(quiet=True))
    assert report["estimate"]["designs"] == [] and report["estimate"]["layers"]
    page = (tmp_path / "out/compile_report.html").read_text()
    assert "Layer by layer" in page and 'class="plot wide"' not in page and "How fast" not in page
