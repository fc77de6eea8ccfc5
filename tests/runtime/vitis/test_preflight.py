"""What is looked at before a file runs on the card, and what is told of what does not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from arch.releases import FIRMWARE
from runtime.vitis.machine import Machine, look
from runtime.vitis.preflight import demand, preflight
from tests.runtime.vitis import tool
from tests.runtime.vitis.conftest import Recorded
from xmodel.errors import UnavailableError
from xmodel.graph import Attr, Graph

XDMA, QDMA = "xilinx_vck5000_gen3x16_xdma_base_1", "xilinx_vck5000_gen4x8_qdma_base_2"


def firmware(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_bytes(b"xclbin2")
    return path


@pytest.fixture
def fitting(tmp_path: Path) -> Machine:
    """A card of Vitis AI 2.5, as the recorded file."""
    named = firmware(tmp_path, f"dpu_DPUCVDX8H_8PE_350M_{XDMA}.xclbin")
    return Machine(("VCK5000 at 0000:21:00.1",), ("/dev/dri/renderD128",), (), (XDMA,), named)


def dpu(graph: Graph, **values: Attr) -> Graph:
    """`graph` with other attributes on its DPU subgraphs."""
    assert graph.root is not None
    children = (
        replace(child, attrs={**child.attrs, **values}) if child.get("device") == "DPU" else child
        for child in graph.root.children
    )
    return replace(graph, root=replace(graph.root, children=tuple(children)))


def test_what_fits(recorded: Recorded, fitting: Machine) -> None:
    assert preflight(recorded.graph, fitting, "2.5.0") == ()
    assert preflight(recorded.graph, fitting, None) == ()


def told(graph: Graph, machine: Machine, runtime: str | None = "2.5.0") -> str:
    """The refusal."""
    with pytest.raises(UnavailableError, match=r"^The card cannot be used: ") as caught:
        demand(preflight(graph, machine, runtime))
    assert caught.value.hint.endswith("--device emulator runs the file without a card.")
    return str(caught.value)


def test_everything_that_is_missing_is_named(recorded: Recorded) -> None:
    text = told(dpu(recorded.graph, mc_code=Attr.of(b"")), Machine(), None)
    assert "There is no VCK5000 in this machine." in text
    assert "'Net' holds no machine code: Unmask compiled it, for the emulator." in text
    assert f"{FIRMWARE} does not name an overlay" in text
    assert "vai_c_xir -x X_int.xmodel -a /opt/vitis_ai/compiler/arch/DPUCVDX8H/VCK50008PE/arch.json" in text
    assert f"8PE/dpu_DPUCVDX8H_8PE_350M_{QDMA}.xclbin (Vitis AI 3.0)" in text


def test_nodes(recorded: Recorded, fitting: Machine) -> None:
    text = told(recorded.graph, replace(fitting, nodes=(), closed=("/dev/dri/renderD128",)))
    assert "The card's node /dev/dri/renderD128 cannot be opened." in text and "--device /dev/dri" in text
    assert "(VCK5000 at 0000:21:00.1) has no node in /dev/dri" in told(recorded.graph, replace(fitting, nodes=()))


def test_another_variant(recorded: Recorded, fitting: Machine, tmp_path: Path) -> None:
    other = firmware(tmp_path, f"dpu_DPUCVDX8H_6PE_aieMISC_350M_{XDMA}.xclbin")
    text = told(recorded.graph, replace(fitting, firmware=other))
    assert "DPUCVDX8H_ISA1_F2W2_8PE (fingerprint 0x0501000000140fee)" in text
    assert "holds DPUCVDX8H_ISA1_F2W4_6PE_aieMISC (fingerprint 0x05010000001e082e)" in text
    assert f"dpu_DPUCVDX8H_8PE_350M_{XDMA}.xclbin (Vitis AI 2.5)" in text and "(Vitis AI 3.0)" not in text
    assert "unmask compile --backend vitis --target DPUCVDX8H_ISA1_F2W4_6PE_aieMISC" in text


def test_another_shell(recorded: Recorded, fitting: Machine) -> None:
    text = told(recorded.graph, replace(fitting, shells=(QDMA,)))
    assert f"made for the shell {XDMA}; the card has {QDMA}" in text
    assert f"8PE_350M_{QDMA}.xclbin (Vitis AI 3.0)" in text and "the shell of Vitis AI 2.0 or 2.5" in text


def test_an_engineering_sample(recorded: Recorded, fitting: Machine) -> None:
    text = told(recorded.graph, replace(fitting, shells=("xilinx_vck5000-es1_gen3x16_base_2",)))
    assert "runs DPUCVDX8H_ISA1_F2W2 of Vitis AI 1.4.1 alone" in text and "XRT 2.11.648" in text


def test_an_overlay_that_is_not_there(recorded: Recorded, fitting: Machine, tmp_path: Path) -> None:
    gone = tmp_path / "gone.xclbin"
    assert f"{gone}, which is no file here" in told(recorded.graph, replace(fitting, firmware=gone))


def test_files_for_other_cards(recorded: Recorded, fitting: Machine) -> None:
    graph = recorded.graph
    edge = told(dpu(graph, dpu_fingerprint=Attr("uint64", 0x0101000056010407)), fitting)
    assert "compiled for DPUCZDX8G_ISA1_B4096, a DPU of the" in edge and "the VCK5000's are DPUCVDX8H" in edge
    assert "an unknown DPU (fingerprint 0x0000000000000005)" in told(
        dpu(graph, dpu_fingerprint=Attr("uint64", 5)), fitting
    )
    assert "Nothing of 'Net' is compiled for a DPU" in told(replace(graph, root=None), fitting)
    assert graph.root is not None
    mixed = dpu(graph, dpu_fingerprint=Attr("uint64", 0x05010000001E082F))
    assert mixed.root is not None
    children = (*graph.root.children[:2], *mixed.root.children[2:])
    assert "are for different DPUs" in told(replace(graph, root=replace(graph.root, children=children)), fitting)


def warnings(graph: Graph, machine: Machine, runtime: str | None = "2.5.0") -> str:
    return " ".join(demand(preflight(graph, machine, runtime)))


def test_releases_that_differ_are_warned_of(recorded: Recorded, fitting: Machine, tmp_path: Path) -> None:
    old = tool.with_code(recorded.graph, {"xcompiler.2.0.0": "15a8", "xcompiler.2.0.0 : xir.2.0.0": "9120"})
    text = warnings(old, fitting)
    assert "compiled by release 2.0.0, and the runtime here is of Vitis AI 2.5" in text and "time out" in text
    assert "the overlay dpu_DPUCVDX8H_8PE" in warnings(old, fitting, None)
    named = replace(fitting, firmware=firmware(tmp_path, "own.xclbin"))
    unnamed = warnings(recorded.graph, named)
    assert "The name of the overlay own.xclbin does not tell its DPU" in unnamed
    assert f"the shell {QDMA} is of Vitis AI 3.0" in warnings(recorded.graph, replace(named, shells=(QDMA,)), None)
    assert "does not say which compiler" in warnings(tool.with_code(recorded.graph, {"xir.2.5.0": "7"}), fitting)


def test_what_could_not_be_compared_is_said(recorded: Recorded, fitting: Machine) -> None:
    assert "does not tell the card's shell" in warnings(recorded.graph, replace(fitting, shells=()))
    assert "XLNX_ENABLE_FINGERPRINT_CHECK=0 keeps" in warnings(recorded.graph, replace(fitting, unchecked=True))


def card(root: Path, shell: str = XDMA) -> None:
    """Make `root` a machine with a card."""
    for folder, device in (("0000:21:00.0", "0x5048"), ("0000:21:00.1", "0x5049"), ("0000:00:02.0", "0x1234")):
        (root / "sys/bus/pci/devices" / folder).mkdir(parents=True)
        (root / "sys/bus/pci/devices" / folder / "vendor").write_text("0x8086\n" if device == "0x1234" else "0x10ee\n")
        (root / "sys/bus/pci/devices" / folder / "device").write_text(f"{device}\n")
    for name, vendor in (("renderD128", "0x10ee"), ("renderD129", "0x8086"), ("renderD130", "0x10ee")):
        (root / "sys/class/drm" / name / "device").mkdir(parents=True)
        (root / "sys/class/drm" / name / "device/vendor").write_text(f"{vendor}\n")
    (root / "dev/dri").mkdir(parents=True)
    (root / "dev/dri/renderD128").touch()
    tool_ = root / "opt/xilinx/xrt/bin/xbutil"
    tool_.parent.mkdir(parents=True)
    tool_.write_text(f'#!/bin/sh\n[ "$1" = examine ] && printf "[0000:21:00.1]  :  \\033[1m{shell}\\033[0m  0x0\\n"\n')
    tool_.chmod(0o755)


def test_a_machine_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert look({}, tmp_path / "nothing") == Machine()
    assert not Machine().has_card
    card(tmp_path)
    found = look({FIRMWARE: "/x/y.xclbin", "XLNX_ENABLE_FINGERPRINT_CHECK": "0"}, tmp_path)
    assert found == Machine(
        ("VCK5000 at 0000:21:00.0", "VCK5000 at 0000:21:00.1"),
        (str(tmp_path / "dev/dri/renderD128"),),
        (str(tmp_path / "dev/dri/renderD130"),),
        (XDMA,), Path("/x/y.xclbin"), True,
    )  # fmt: skip
    (tmp_path / "opt/xilinx/xrt/bin/xbutil").write_text("#!/nothing\n")
    assert look({}, tmp_path).shells == ()
