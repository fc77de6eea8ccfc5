from __future__ import annotations

import json
from pathlib import Path

import pytest

from arch import targets as targets_module
from deploy.command import main
from tests.compile.build import uynet
from tests.compile.vitis.conftest import answer, bare_machine, network, program
from xmodel import file

__all__ = ["answer", "bare_machine"]
ARCH = Path(targets_module.__file__).parent / "DPUCVDX8H/VCK50004PE/arch.json"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["compile", *arguments])
    told = capsys.readouterr()
    return int(ended.value.code or 0), told.out, told.err


def quantized(tmp_path: Path) -> str:
    file.write(tmp_path / "Net_int.xmodel", network())
    return str(tmp_path / "Net_int.xmodel")


def test_the_vendors_command_line_is_understood(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "made"
    options = ("-a", str(ARCH), "-o", str(out), "-n", "mine", "-e", '{"input_shape": "1,8,8,3", "mode": "debug"}')
    code, said, _ = run(capsys, "-x", quantized(tmp_path), *options)
    assert code == 0
    assert {"mine.xmodel", "meta.json", "md5sum.txt"} <= {path.name for path in out.iterdir()}
    assert json.loads((out / "meta.json").read_text())["target"] == "DPUCVDX8H_ISA1_F2W4_4PE"
    assert "Note: Option mode changes machine code alone, which is not made here." in said
    assert "it carries no machine code, so a card cannot run it" in said
    long = ("--arch", "4PE", "--output_dir", str(out), "--net_name", "mine", "--options", "{'mode': 'debug'}")
    assert run(capsys, "--xmodel", quantized(tmp_path), *long)[0] == 0


def test_auto_is_ours_where_the_vendors_compiler_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, said, _ = run(capsys, quantized(tmp_path), "--out", str(tmp_path / "out"), "--target", "4PE", "--json")
    report = json.loads(said)
    assert (report["backend"], report["compiler"], report["emulator_only"]) == ("unmask", None, True)


@pytest.mark.usefixtures("answer")
@pytest.mark.parametrize("backend", ["auto", "vitis"])
def test_the_vendors_compiler_is_used_where_it_is(
    backend: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compiler, out = program(tmp_path / "bin/vai_c_xir"), tmp_path / "out"
    arguments = (quantized(tmp_path), "--out", str(out), "--target", "4PE", "--backend", backend)
    code, said, error = run(capsys, *arguments)
    assert code == 0
    assert f"Compiled by {compiler}." in said and "no machine code" not in said
    assert "vai_c_xir: Begin to compile..." in error
    report = json.loads((out / "compile_report.json").read_text())
    assert (report["backend"], report["emulator_only"], report["model"]) == ("vitis", False, "Net")
    assert report["summary"]["dpu_subgraphs"] == 1 and "preprocessing was added" in report["notes"][0]
    assert {"Net.xmodel", "meta.json", "md5sum.txt", "vitis_compiler.log"} <= {path.name for path in out.iterdir()}
    assert "no machine code" not in (out / "compile_report.html").read_text()
    assert "up to date" in run(capsys, *arguments)[1]
    # Another backend makes another file.
    assert "carries no machine code" in run(capsys, *arguments[:-1], "unmask")[1]
    assert not (out / "vitis_compiler.log").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--backend", "vitis"], 3, "(vai_c_xir) was not found"),
        (["--vitis-compiler", "nowhere"], 2, "There is no program 'nowhere'"),
        (["--backend", "unmask", "--vitis-compiler", "x"], 2, "--backend unmask does not use"),
        (["-x", "other.xmodel"], 2, "Two files to compile were named"),
        (["-e", "{"], 2, "is no JSON table"),
        (["-n", "../up"], 2, "cannot be the name of a file"),
        (["-n", "-x"], 2, "cannot be the name of a file"),
    ],
)
def test_mistakes_are_told(
    arguments: list[str], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, _, error = run(capsys, quantized(tmp_path), "--out", str(tmp_path / "out"), *arguments)
    assert (found, message in error) == (code, True)


def test_a_network_that_a_part_of_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write(tmp_path / "UNet_int.xmodel", uynet(4, 64))
    code, _, _ = run(capsys, str(tmp_path), "-o", str(tmp_path / "out"), "-e", '{"output_ops": "outc_fix"}')
    assert code == 0
    assert [op.name for op in file.read(tmp_path / "out/UNet.xmodel").outputs] == ["outc_fix_"]
