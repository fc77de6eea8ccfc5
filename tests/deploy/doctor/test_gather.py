"""What is read of a machine and of a model."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from arch.releases import PRODUCTION, by_version
from deploy.doctor.fit import judge
from deploy.doctor.gather import Place, read_model, situation
from deploy.doctor.here import Row, rows
from deploy.doctor.situation import CardState, Library, Model, Overlay, Situation
from deploy.doctor.texts import data, texts
from tests.shared import SHARED, needs_shared
from xmodel.errors import ArtifactError, UnavailableError, UsageError

PE8 = "DPUCVDX8H_ISA1_F2W2_8PE"
FILE = "/opt/xilinx/overlaybins/DPUCVDX8H/8PE/dpu_DPUCVDX8H_8PE_350M_xilinx_vck5000_gen4x8_qdma_base_2.xclbin"
MODEL = Model("m.xmodel", "compiled", (PE8,), (0x0501000000140FEE,), 8, "3.0.0", True, "librt-engine.so")


def _write(root: Path, path: str, text: str = "") -> None:
    (root / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
    (root / path.lstrip("/")).write_text(text, encoding="utf-8")


@pytest.fixture
def machine(tmp_path: Path) -> Place:
    """A machine of release 3.0, all files as its packages leave them."""
    for path in (FILE, "/opt/vitis_ai/conda/envs/vitis-ai-pytorch/conda-meta/xcompiler-3.0.0-h1a2.json",
                 "/usr/lib/librt-engine.so", "/opt/xilinx/other.xclbin"):  # fmt: skip
        _write(tmp_path, path)
    _write(tmp_path, "/opt/vitis_ai/compiler/arch/DPUCVDX8H/VCK50008PE/arch.json", f'{{"target": "{PE8}"}}')
    _write(tmp_path, "/opt/vitis_ai/compiler/arch/DPUCVDX8H/VCK5000/arch.json", "[")
    _write(tmp_path, "/proc/cpuinfo", "processor\t: 0\nmodel name\t: A CPU\nmodel name\t: B\n")
    _write(tmp_path, "/proc/meminfo", "MemTotal:       25165824 kB\n")
    _write(tmp_path, "/etc/os-release", 'PRETTY_NAME="Ubuntu 20.04.6 LTS"\n')
    return Place(tmp_path, {"XLNX_VART_FIRMWARE": FILE})


def test_a_machine_where_everything_is_of_one_release(machine: Place) -> None:
    card = CardState(PRODUCTION, "xilinx_vck5000_gen4x8_qdma_base_2", link=(4, 8))
    found = situation(machine, card, "2.14.354", MODEL, saved=False)
    assert found == Situation(
        card, "2.14.354", Overlay(FILE, True), (FILE,), "3.0.0", False, MODEL,
        Library("librt-engine.so", "/usr/lib/librt-engine.so",
                ("/usr/lib", "/usr/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/local/lib", "/opt/xilinx/xrt/lib")),
    )  # fmt: skip
    verdict = judge(found)
    assert verdict.release == by_version("3.0")
    assert verdict.mismatches == ()
    said = "\n".join(texts(found, verdict, ()))
    assert "What fits: Vitis AI 3.0. The card's shell and XRT and the model's compiler are of this release." in said
    assert f"DPU {PE8}, xclbin {FILE}" in said
    assert "Nothing disagrees with it." in said
    listed = data(found, verdict, ())
    assert listed["fits"] is True
    assert listed["release"] == {
        "vitis_ai": "3.0", "card": "VCK5000", "xrt": "202220.2.14.354", "shell": "xilinx_vck5000_gen4x8_qdma_base_2",
        "xclbin": FILE, "variant": PE8,
    }  # fmt: skip


def test_an_empty_machine(tmp_path: Path) -> None:
    found = situation(Place(tmp_path, {}), None, None, None, saved=False)
    assert found == Situation()
    assert "none found" in "\n".join(texts(found, judge(found), ()))


def test_saved_output_is_of_another_machine(machine: Place) -> None:
    found = situation(machine, None, "2.12.427", MODEL, saved=True)
    assert found == Situation(xrt="2.12.427", model=MODEL, here=False)


def test_the_environment(machine: Place) -> None:
    env = {
        "XLNX_VART_FIRMWARE": "/gone.xclbin", "XLNX_ENABLE_FINGERPRINT_CHECK": "0", "LD_LIBRARY_PATH": "/a:rel:/usr/lib"
    }  # fmt: skip
    found = situation(Place(machine.root, env), None, None, MODEL, saved=False)
    assert found.overlay == Overlay("/gone.xclbin", False)
    assert found.unchecked
    assert found.library is not None
    assert found.library.searched[:2] == ("/a", "/usr/lib")


def test_a_library_named_by_a_file_does_not_lead_elsewhere(machine: Place) -> None:
    found = situation(machine, None, None, replace(MODEL, runner="../../etc/passwd"), saved=False)
    assert found.library is not None
    assert (found.library.name, found.library.path) == ("passwd", None)


def test_rows_say_what_is_here(machine: Place) -> None:
    def missing() -> str:
        raise UnavailableError("It was not found.")

    found = situation(machine, None, "2.14.354", None, saved=False)
    tools: dict[str, Callable[[], str]] = {"compiler": lambda: "/opt/vai_c_xir", "quantizer": missing}
    listed = {(row.section, row.name): row for row in rows(machine, found, tools)}
    assert listed["machine", "system"].value == "Ubuntu 20.04.6 LTS"
    assert listed["machine", "processor"].value.startswith("A CPU, ")
    assert listed["machine", "memory"].value == "24.0 GiB"
    assert listed["emulator", "torch kernels"].good is True
    assert listed["emulator", "taken"].value in ("native", "torch")
    assert listed["vendor", "compiler"] == Row("vendor", "compiler", "/opt/vai_c_xir", True)
    assert listed["vendor", "quantizer"] == Row("vendor", "quantizer", "It was not found.")
    assert listed["vendor", "overlays"].value == f"{PE8} for xilinx_vck5000_gen4x8_qdma_base_2"
    assert listed["vendor", "arch.json of VCK50008PE"].value == PE8
    assert "JSON" in listed["vendor", "arch.json of VCK5000"].value
    assert listed["modules", "torch"].good is True


@needs_shared
@pytest.mark.parametrize(
    ("name", "target", "compiler", "code"),
    [
        ("v20_vck5000_prod_8pe_tf2_custom_op", PE8, "2.0.0", True),
        ("v25_vck50004pe_pointpillars_custom_op", "DPUCVDX8H_ISA1_F2W4_4PE", "2.5.0", True),
        ("v30_zcu102_zcu104_kv260_tf2_custom_op", "DPUCZDX8G_ISA1_B4096", "3.0.0", True),
    ],
)
def test_the_vendors_files(name: str, target: str, compiler: str, code: bool) -> None:
    (path,) = (SHARED / "goldens").rglob(f"{name}.xmodel")
    model = read_model(path)
    assert (model.targets, model.compiler, model.code, model.kind) == ((target,), compiler, code, "compiled")


def test_files_that_are_no_models(tmp_path: Path) -> None:
    _write(tmp_path, "x.xmodel", "not a model")
    with pytest.raises(ArtifactError):
        read_model(tmp_path / "x.xmodel")
    with pytest.raises(UsageError):
        read_model(tmp_path / "none.xmodel")
