"""The vendor's own library, by Debian's `xir` tool (package libxir-utils), reads what is written here."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.shared import SHARED, needs_shared
from tests.xmodel.graphs import compiled
from tests.xmodel.test_file import VALUES
from xmodel import file
from xmodel.check import check
from xmodel.graph import Attr, Graph

pytestmark = pytest.mark.skipif(shutil.which("xir") is None, reason="the xir tool (libxir-utils) is not installed")

NAMES = (
    "xmodels/v141_ssd_adas_pruned_0_95_ssd_adas_pruned_0_95",
    "xmodels/v20_vck5000_prod_8pe_tf2_custom_op",
    "xmodels/v25_gru_imdb_compiled_batch_3",
    "xmodels/v25_quantized_voxelnet_int",
    "xmodels/v25_vck50008pe_pointpillars_custom_op",
    "xmodels/v35_v70_tf2_custom_op",
    "quantizer/b_uynet_div8/expected/model_int",
)


def _xir(command: str, *paths: Path) -> str:
    done = subprocess.run(["xir", command, *map(str, paths)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return re.sub(r"0x[0-9a-f]{9,}", "ADDRESS", done.stdout)


def _dump(path: Path, folder: Path) -> str:
    """The text that libxir makes of a file, without the memory addresses it prints."""
    _xir("dump_txt", path, folder / "dump.txt")
    return re.sub(r"0x[0-9a-f]+ (?=[0-9a-f]{8}:)", "", (folder / "dump.txt").read_text())


def _written(graph: Graph, folder: Path) -> Path:
    file.write(folder / "net.xmodel", graph)
    return folder / "net.xmodel"


@needs_shared
@pytest.mark.parametrize("name", NAMES)
def test_a_rewritten_file_is_the_original_to_libxir(name: str, tmp_path: Path) -> None:
    original = SHARED / f"goldens/{name}.xmodel"
    written = _written(file.read(original), tmp_path)
    assert _dump(written, tmp_path) == _dump(original, tmp_path)
    assert _xir("subgraph", written) == _xir("subgraph", original)


def test_a_graph_made_here_is_accepted(tmp_path: Path) -> None:
    path = _written(check(compiled()), tmp_path)
    text = _dump(path, tmp_path)
    assert re.findall(r'op_name: "(\w+)"\n  op_type: "([\w-]+)"', text) == [(op.name, op.type) for op in compiled().ops]
    listed = _xir("subgraph", path)
    assert [device in listed for device in ("USER", "DPU", "CPU")] == [True] * 3


def test_attributes_have_the_kinds_libxir_takes_them_for(tmp_path: Path) -> None:
    graph = replace(compiled(), attrs={kind: Attr(kind, value) for kind, value in VALUES.items()})
    text = _dump(_written(graph, tmp_path), tmp_path)
    found = dict(re.findall(r'^graph_attr {\n  key: "(\w+)"\n  value {\n    (\w+)_value', text, flags=re.MULTILINE))
    assert found == {kind: kind for kind in VALUES}
