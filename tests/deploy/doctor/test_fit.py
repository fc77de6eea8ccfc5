"""The release that fits, and each mismatch with its symptom and command."""

from dataclasses import replace

import pytest

from arch.releases import ES1, PRODUCTION, RELEASES, by_version
from deploy.doctor.fit import Verdict, judge
from deploy.doctor.situation import CardState, Library, Model, Overlay, Situation

PE8, PE4 = "DPUCVDX8H_ISA1_F2W2_8PE", "DPUCVDX8H_ISA1_F2W4_4PE"
DWC, OLD = "DPUCVDX8H_ISA1_F2W4_6PE_aieDWC", "DPUCVDX8H_ISA1_F2W2"
XDMA, QDMA = "xilinx_vck5000_gen3x16_xdma_base_1", "xilinx_vck5000_gen4x8_qdma_base_2"


def _whole(version: str, target: str | None = None) -> Situation:
    """Everything of one release, and a model compiled with it."""
    release = by_version(version)
    assert release is not None
    overlay = release.overlay(target) if target else release.overlays[0]
    assert overlay is not None
    return Situation(
        CardState(release.card, release.shell, function="0000:86:00.0", satellite=release.satellite, link=release.link),
        release.xrt_build,
        Overlay(str(overlay.file), True),
        tuple(str(o.file) for o in release.overlays),
        f"{release.image[1]}0",
        False,
        Model("m.xmodel", "compiled", (overlay.target,), (), 8, f"{version}.0", True, "librt-engine.so"),
        Library("librt-engine.so", "/usr/lib/librt-engine.so", ("/usr/lib",)),
    )


def _named(verdict: Verdict) -> list[str]:
    return [mismatch.what for mismatch in verdict.mismatches]


@pytest.mark.parametrize(
    ("version", "target"), [(release.version, o.target) for release in RELEASES for o in release.overlays]
)
def test_what_is_of_one_release_fits(version: str, target: str) -> None:
    situation = _whole(version, target)
    if version == "1.4.1":
        assert situation.model is not None
        situation = replace(situation, model=replace(situation.model, compiler="1.4.1"))
    verdict = judge(situation)
    assert verdict.release is not None
    assert (verdict.release.version, verdict.variant, verdict.mismatches) == (version, target, ())


def test_an_engineering_sample_with_a_model_of_a_later_release() -> None:
    situation = Situation(
        CardState(ES1, "xilinx_vck5000-es1_gen3x16_base_2"), "2.11.648", container="2.5.0",
        model=Model("m.xmodel", "compiled", (PE8,), (0x0501000000140FEE,), 8, "2.5.0", True),
    )  # fmt: skip
    verdict = judge(situation)
    assert verdict.release is not None
    assert verdict.release.version == "1.4.1"
    assert _named(verdict) == ["container", "XLNX_VART_FIRMWARE", "model", "model's compiler"]
    container = verdict.mismatches[0]
    assert "cannot find or create target with fingerprint=0x0501000000000fee" in container.symptom
    assert "1.4.1." in container.remedy
    assert verdict.mismatches[2].remedy == f"unmask compile build/quantize --target {OLD} --backend vitis"


def test_compiled_with_2_and_run_with_2_5() -> None:
    situation = _whole("2.5")
    assert situation.model is not None
    found = judge(replace(situation, model=replace(situation.model, compiler="2.0.0")))
    assert found.release is not None
    assert found.release.version == "2.5"
    assert _named(found) == ["model's compiler"]
    assert "CU timeout" in found.mismatches[0].symptom
    assert not found.fits


def test_the_models_compiler_decides_between_releases_of_the_same_shell() -> None:
    situation = Situation(CardState(PRODUCTION, XDMA, link=(3, 16)), "2.12.427")
    assert judge(situation).release == by_version("2.5")
    model = Model("m.xmodel", "compiled", (PE8,), (), 8, "2.0.0", True)
    assert judge(replace(situation, model=model)).release == by_version("2.0")
    assert judge(replace(situation, model=replace(model, targets=(PE4,)))).release == by_version("2.5")


def test_the_overlay_of_another_variant() -> None:
    situation = _whole("3.0")
    release = by_version("3.0")
    assert release is not None
    other = release.overlay(DWC)
    assert other is not None
    verdict = judge(replace(situation, overlay=Overlay(str(other.file), True)))
    (mismatch,) = verdict.mismatches
    assert mismatch.found == f"{DWC} (0x0501000000160c2f)"
    assert mismatch.needed == f"{PE8} (0x0501000000140fee)"
    assert mismatch.symptom.startswith("CHECK fingerprint fail")
    assert "export XLNX_VART_FIRMWARE=" in mismatch.remedy
    assert f"--target {DWC}" in mismatch.remedy


@pytest.mark.parametrize(
    ("overlay", "found"),
    [
        (None, "not set"),
        (Overlay("/opt/none.xclbin", False), "/opt/none.xclbin, which is not there"),
        (Overlay(f"/x/dpu_DPUCVDX8H_8PE_350M_{XDMA}.xclbin", True), f"for the shell {XDMA}"),
        (Overlay("/x/my.xclbin", True), "/x/my.xclbin"),
    ],
)
def test_other_overlays_that_do_not_do(overlay: Overlay | None, found: str) -> None:
    verdict = judge(replace(_whole("3.0"), overlay=overlay))
    assert [m.found for m in verdict.mismatches] == [found]
    assert verdict.mismatches[0].what == "XLNX_VART_FIRMWARE"
    assert verdict.fits == (overlay is not None and "my.xclbin" in overlay.path)


def test_a_factory_image_is_flashed() -> None:
    state = CardState(PRODUCTION, "xilinx_vck5000_GOLDEN_8", golden=True, function="0000:86:00.0")
    verdict = judge(Situation(state, "2.14.354"))
    assert _named(verdict)[0] == "shell"
    assert f"sudo xbmgmt program --device 0000:86:00.0 --base --image {QDMA}; then reboot" == (
        verdict.mismatches[0].remedy
    )


def test_an_old_shell_and_a_new_xrt() -> None:
    verdict = judge(Situation(CardState(PRODUCTION, XDMA), "2.14.354", Overlay(str(_file("2.5")), True)))
    assert verdict.release == by_version("2.5")
    assert [(m.what, m.found, m.needed) for m in verdict.mismatches] == [("XRT", "2.14.354", "2.12.427")]


def _file(version: str) -> object:
    release = by_version(version)
    assert release is not None
    return release.overlays[0].file


def test_a_narrow_link_is_unwise_but_no_mistake() -> None:
    situation = _whole("3.0")
    assert situation.card is not None
    for link, count in (((3, 8), 1), ((4, 4), 1), ((4, 8), 0), ((3, 16), 0)):
        verdict = judge(replace(situation, card=replace(situation.card, link=link)))
        assert len(verdict.mismatches) == count
        assert verdict.fits


def test_a_model_without_machine_code() -> None:
    own = Model("own.xmodel", "compiled", (PE8,), (), 8, None, False, "librt-engine.so")
    verdict = judge(Situation(model=own))
    assert verdict.release == by_version("3.0")
    assert verdict.fits  # no card: the emulator runs it
    assert "holds no machine code" in verdict.mismatches[0].found
    assert not judge(replace(_whole("3.0"), model=own)).fits


def test_models_for_other_chips_and_without_a_dpu() -> None:
    other = Model("k.xmodel", "compiled", ("DPUCZDX8G_ISA1_B4096",), (0x0101000016010407,), 1, "2.5.0", True)
    verdict = judge(Situation(model=other))
    assert (verdict.release, verdict.variant) == (None, None)
    assert verdict.why == "k.xmodel is for DPUCZDX8G_ISA1_B4096, which is no VCK5000."
    assert not judge(replace(_whole("3.0"), model=other)).fits
    floats = judge(Situation(model=Model("f.xmodel", "quantized")))
    assert floats.mismatches[0].found == "f.xmodel is quantized, with no part for a DPU"
    assert floats.mismatches[0].remedy == f"unmask compile f.xmodel --target {PE8} --backend vitis"


def test_nothing_known() -> None:
    verdict = judge(Situation())
    assert verdict.release == by_version("3.0")
    assert verdict.why.startswith("It is the last release for the VCK5000")
    assert verdict.mismatches == ()


def test_a_missing_library_and_a_switched_off_check() -> None:
    missing = Library("librt-engine.so", None, ("/usr/lib", "/usr/local/lib"))
    verdict = judge(replace(_whole("3.0"), library=missing, unchecked=True))
    assert _named(verdict) == ["fingerprint check", "runtime library"]
    assert verdict.mismatches[1].found == "librt-engine.so is in none of /usr/lib, /usr/local/lib"
