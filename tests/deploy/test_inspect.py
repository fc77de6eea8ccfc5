from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from deploy.command import main
from quantize.pipeline import export, float_graph, quantize_graph
from tests.quantize.operators import Between, build

CODE = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 1)
        self.pool = nn.MaxPool2d(14)

    def forward(self, x):
        x = self.first(x)
        x = self.pool(x)
        return self.last(x)
"""


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["inspect", *arguments])
    told = capsys.readouterr()
    return int(ended.value.code or 0), told.out, told.err


def test_a_module_is_explained_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.py"
    path.write_text(CODE)
    code, out, _ = run(capsys, "--module", f"{path}:Net", "--input-size", "28", "28")
    assert code == 0
    assert f"MaxPool2d_pool__max_pool2d (pool-fix, {tmp_path.name}/net.py:12)" in out
    assert "max-pool 14x14: 8PE takes kernels 1, 2, 3, 7" in out
    assert "instead: use 2x2 then 7x7" in out
    assert "taken by: 6PE_aieMISC, 4PE" in out
    assert "Not quantized yet: fixes are assumed" in out
    assert "Net for DPUCVDX8H_ISA1_F2W2_8PE: 2 of 3 ops run on the DPU, in 2 subgraphs." in out


def test_json_is_data_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.py"
    path.write_text(CODE)
    _, out, _ = run(capsys, "--module", f"{path}:Net", "--input-size", "28", "28", "--target", "4PE", "--json")
    found = json.loads(out)
    assert (found["model"], found["batch"], found["assumed"], found["dpu_subgraphs"]) == ("Net", 4, True, 1)
    assert [op["device"] for op in found["ops"]] == ["USER", "DPU", "DPU", "DPU"]
    assert not any(op["rule"] for op in found["ops"])


def test_a_program_is_inspected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(build(lambda: Between(nn.PReLU(8))), (torch.zeros(1, 3, 16, 16),)), path)
    code, out, _ = run(capsys, "--program", str(path))
    assert code == 0
    assert "the DPU has no prelu" in out


def test_before_and_after_quantization_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = build(lambda: Between(nn.MaxPool2d(14)))
    images = torch.rand(2, 3, 28, 28, generator=torch.Generator().manual_seed(0)).numpy()
    graph = float_graph(module, "Net", images[:1])
    export(quantize_graph(graph, [images]), tmp_path)
    program = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(module, (torch.from_numpy(images[:1]),)), program)
    found = [
        json.loads(run(capsys, *arguments, "--json")[1])
        for arguments in ((str(tmp_path),), ("--program", str(program), "--name", "Net"))
    ]
    for key in ("subgraphs", "variants", "dpu_subgraphs"):
        assert found[0][key] == found[1][key]
    keys = ("name", "device", "layer", "rule", "rewrite", "takers")
    rows = [[{key: op[key] for key in keys} for op in one["ops"]] for one in found]
    assert rows[0] == rows[1]
    assert [one["assumed"] for one in found] == [False, True]


def test_a_registered_network_needs_no_weights(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--model", "uynet-lite", "--target", "4PE")
    assert code == 0
    assert "run on the DPU, in 1 subgraph." in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "Nothing to inspect was named"),
        (["x_int.xmodel", "--model", "uynet"], 2, "exclude each other"),
        (["nowhere.xmodel"], 2, "There is no such file"),
        (["--model", "uynet-lite", "--target", "9PE"], 2, "There is no target called '9PE'"),
        (["--module", "net.py:Net"], 2, "not known"),
    ],
)
def test_mistakes_are_told(arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    found, _, error = run(capsys, *arguments)
    assert found == code
    assert message in error
