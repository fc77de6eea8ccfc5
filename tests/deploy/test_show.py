"""`unmask xmodel show`."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from deploy import show
from tests.deploy.tiny import exit_code
from tests.shared import SHARED, needs_shared
from tests.xmodel.graphs import compiled, with_op
from xmodel import file
from xmodel.graph import Attr, attrs

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file.write(tmp_path / "net.xmodel", compiled())
    return tmp_path / "net.xmodel"


def test_json_has_everything(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("xmodel", "show", path, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    data = path.read_bytes()
    assert (found["file"], found["bytes"]) == ("net.xmodel", len(data))
    assert (found["md5"], found["sha256"]) == (hashlib.md5(data).hexdigest(), hashlib.sha256(data).hexdigest())
    assert found["targets"] == [
        {
            "dpu_name": "DPUCVDX8H_ISA1_F2W2_8PE",
            "fingerprint": "0x0501000000140fee",
            "target": "DPUCVDX8H_ISA1_F2W2_8PE",
            "card": "VCK5000",
            "batch": 8,
        }
    ]
    assert [op["name"] for op in found["ops"]] == [op.name for op in compiled().ops]


def test_text_says_what_a_person_looks_for(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("xmodel", "show", path) == 0
    told = capsys.readouterr()
    assert told.err == ""
    lines = told.out.splitlines()
    assert "input         input_t: 1x4x4x2 XINT8, fix point 5" in lines
    assert "├─ DPU sub_conv: 1 const-fix, 1 conv2d-fix, 1 download, 1 upload" in lines
    assert "│  └─ layer: 1 const-fix, 1 conv2d-fix, 1 download, 1 upload" in lines
    assert re.search(r"^conv2d-fix +5 +64 +1x4x4x4 +XINT8 +DPU +conv$", told.out, flags=re.MULTILINE)
    assert "fingerprint 0x0501000000140fee: DPUCVDX8H_ISA1_F2W2_8PE, VCK5000, batch 8" in told.out


def test_a_pipe_gets_whole_lines_without_colour(path: Path) -> None:
    long = with_op(compiled(), "out", output=replace(compiled().op("out").output, name="x" * 300))
    file.write(path, long)
    command = [sys.executable, "-m", "deploy.command", "xmodel", "show", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert f"output        {'x' * 300}: 1x4x4x4 FLOAT32" in done.stdout.splitlines()
    assert "\x1b" not in done.stdout


def test_names_cannot_move_the_cursor(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write(path, replace(compiled(), name="a\x1b[2J\nb", attrs=attrs(x="\x07[red]", y={"k": "\n", "l": "\t"})))
    assert exit_code("xmodel", "show", path) == 0
    out = capsys.readouterr().out
    assert "a\\x1b[2J\\nb (compiled)" in out and "\\x07[red]" in out and "\x1b" not in out


def test_an_unknown_fingerprint(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = compiled()
    assert graph.root is not None
    children = [replace(c, attrs={**c.attrs, "dpu_fingerprint": Attr("uint64", 5)}) for c in graph.root.children]
    file.write(path, replace(graph, root=replace(graph.root, children=tuple(children))))
    assert exit_code("xmodel", "show", path) == 0
    assert "fingerprint 0x0000000000000005: not known here" in capsys.readouterr().out


def test_long_lists_are_cut(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(show, "MOST_ROWS", 2)
    assert exit_code("xmodel", "show", path) == 0
    out = capsys.readouterr().out
    assert "… and 4 more; --json lists all." in out and "conv2d-fix  " not in out


def test_the_page_is_one_file_without_script(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pages = [tmp_path / "a.html", tmp_path / "b.html"]
    for page in pages:
        assert exit_code("xmodel", "show", path, "--html", page) == 0
    assert f"Page: {pages[1]}" in capsys.readouterr().out
    first, second = (page.read_text() for page in pages)
    assert first == second
    assert first.count('<svg class="bins"') == 1
    assert "0 to 71, 28 % of the range · fix point 5" in first
    assert not re.search(r"<script|<link|src=|href=|http://|https://", first)


def test_names_are_escaped_in_the_page(path: Path, tmp_path: Path) -> None:
    file.write(path, replace(compiled(), name="<script>alert(1)</script>"))
    assert exit_code("xmodel", "show", path, "--html", tmp_path / "a.html", "-q") == 0
    assert "<script>" not in (tmp_path / "a.html").read_text()


@needs_shared
@pytest.mark.parametrize(
    "name", ["v25_vck50008pe_pointpillars_custom_op", "v35_v70_tf2_custom_op", "v25_quantized_voxelnet_int"]
)
def test_real_files(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("xmodel", "show", SHARED / f"goldens/xmodels/{name}.xmodel", "--html", tmp_path / "x.html") == 0
    assert capsys.readouterr().out.startswith("file ")
    page = (tmp_path / "x.html").read_text()
    if "v70" in name:
        assert "the layout of whose parameters is not known" in page
    else:
        assert page.count('<svg class="bins"') > 20


def test_a_page_that_cannot_be_written(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for page in (tmp_path, path / "x.html", tmp_path / ("x" * 300)):
        assert exit_code("xmodel", "show", path, "--html", page) == 3
        assert str(page) in capsys.readouterr().err
    assert [item.name for item in tmp_path.iterdir()] == ["net.xmodel"]
