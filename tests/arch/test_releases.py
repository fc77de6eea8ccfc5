"""The releases of Vitis AI for the VCK5000: what belongs together, and what names say."""

import pytest

from arch.releases import (
    CARDS,
    ES1,
    LAST,
    PRODUCTION,
    RELEASES,
    OverlayName,
    by_version,
    card_of_device,
    card_of_shell,
    compiler_version,
    read_overlay_name,
)
from arch.targets import find

PE8 = "DPUCVDX8H_ISA1_F2W2_8PE"


def test_every_overlay_is_of_a_target_that_the_release_has() -> None:
    for release in RELEASES:
        for overlay in release.overlays:
            target = find(overlay.target)
            assert release.version in target.releases
            assert target.card == release.card.name


def test_an_overlays_file_name_says_its_variant_and_shell() -> None:
    for release in RELEASES:
        for overlay in release.overlays:
            assert read_overlay_name(str(overlay.file)) == OverlayName(overlay.target, release.shell)


@pytest.mark.parametrize(
    ("release", "target", "path"),
    [
        ("1.4.1", "DPUCVDX8H_ISA1_F2W2", "8pe/dpu_DPUCVDX8H_8PE350_xilinx_vck5000-es1_gen3x16_base_2.xclbin"),
        ("2.0", PE8, "8pe/dpu_DPUCVDX8H_8PE350M_xilinx_vck5000_gen3x16_xdma_base_1.xclbin"),
        ("3.0", "4PE", "4PE/dpu_DPUCVDX8H_4PE_350M_xilinx_vck5000_gen4x8_qdma_base_2.xclbin"),
    ],
)
def test_overlays_lie_where_the_packages_put_them(release: str, target: str, path: str) -> None:
    known = by_version(release)
    assert known is not None
    overlay = known.overlay(find(target).name)
    assert overlay is not None
    assert str(overlay.file) == f"/opt/xilinx/overlaybins/DPUCVDX8H/{path}"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", None),
        ("verify.xclbin", None),
        ("dpu_DPUCVDX8H_8PE_350M_xilinx_vck5000_gen4x8_qdma_base_2.xclbin.bak", None),
        ("dpu_DPUCAHX8H_8PE_350M_xilinx_u50_gen3x4_xdma_base_2.xclbin", None),
        (
            "/x/dpu_DPUCVDX8H_12PE_350M_xilinx_vck5000_gen4x8_qdma_base_2.xclbin",
            OverlayName(None, "xilinx_vck5000_gen4x8_qdma_base_2"),
        ),
    ],
)
def test_other_file_names(name: str, expected: OverlayName | None) -> None:
    assert read_overlay_name(name) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.4", "1.4.1"), ("1.4.1", "1.4.1"), ("v3.0", "3.0"), ("2.5.0", "2.5"), ("3.0.0", "3.0"), ("3.5", None),
        ("1.4.2", None), ("3", None), ("", None), ("three", None),
    ],
)  # fmt: skip
def test_releases_by_version(text: str, expected: str | None) -> None:
    found = by_version(text)
    assert (found.version if found else None) == expected


def test_the_version_that_the_tools_print() -> None:
    assert [release.xrt_build for release in RELEASES] == ["2.11.648", "2.12.427", "2.12.427", "2.14.354"]


def test_the_last_release_of_each_card() -> None:
    for card in CARDS:
        assert [release.version for release in RELEASES if release.card == card][-1] == LAST[card.name]


def test_cards_by_shell_and_by_device() -> None:
    assert card_of_shell("xilinx_vck5000-es1_gen3x16_base_2") is ES1
    assert card_of_shell("xilinx_vck5000_GOLDEN_8") is PRODUCTION
    assert card_of_shell("xilinx_u50_gen3x16_xdma_base_5") is None
    assert [card_of_device(device) for device in (0x5044, 0x5049, 0x5000)] == [ES1, PRODUCTION, None]


@pytest.mark.parametrize(
    ("libraries", "expected"),
    [
        ({"xcompiler.2.5.0 : xir.2.5.0": "7387", "xcompiler.2.5.0": "54ab"}, "2.5.0"),
        ({"xcompiler.3.0.0 : xir.3.0.0": "22bc"}, "3.0.0"),
        ({"unmask": "0.1", 7: "x"}, None),
        ({"xcompiler.": "x", "xcompiler.1": "y"}, None),
        (None, None),
        ("xcompiler.2.5.0", None),
    ],
)
def test_the_compilers_version(libraries: object, expected: str | None) -> None:
    assert compiler_version(libraries) == expected
