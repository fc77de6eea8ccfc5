"""Which cards there are, from saved output and from a made-up machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.card import live
from deploy.card.known import Known, known, summary
from tests.deploy.card import fakes, samples
from tests.shared import SHARED, needs_shared

XBUTIL = SHARED / "samples/xbutil"


def _live(root: Path) -> Known:
    readout = live.identify(fakes.machinery(root))
    return summary(readout.evidence, readout.missing)


def test_a_card_with_working_tools(tmp_path: Path) -> None:
    fakes.production(tmp_path)
    answers = {"host": samples.host(), "platform": samples.device(**samples.platform())}
    fakes.working(tmp_path, answers)
    found = _live(tmp_path)
    (card,) = found.cards
    assert (card.slot, card.user, card.management) == ("0000:21:00", "0000:21:00.1", "0000:21:00.0")
    assert (card.vbnv, card.sc, card.sc_expected, card.device_id) == (samples.GEN4, "4.4.35", "4.4.35", 0x5049)
    assert (card.kind, card.ready, card.golden, card.uuid) == ("VCK5000", True, False, samples.UUID)
    assert (found.xrt, found.branch, found.missing, found.broken) == ("2.14.354", "2022.2", ("xbmgmt",), ())
    assert dict(found.drivers)["xocl"].startswith("2.14.354")


def test_nothing_here(tmp_path: Path) -> None:
    found = _live(tmp_path)
    assert found.cards == () and found.missing == ("xbutil", "xbmgmt") and found.xrt == ""


def test_debians_wrapper_is_broken_although_it_exits_with_0(tmp_path: Path) -> None:
    fakes.production(tmp_path)
    fakes.tool(tmp_path, "xbutil", fakes.DEBIAN)
    fakes.tool(tmp_path, "xbmgmt", fakes.DEBIAN_MGMT)
    found = _live(tmp_path)
    assert [c.device_id for c in found.cards] == [0x5049] and found.missing == () and len(found.broken) == 1


def test_saved_output(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(samples.host("2.12.427"))
    assert known(tmp_path).xrt == "2.12.427" and known(tmp_path).cards[0].vbnv == samples.GEN4
    (tmp_path / "x").write_text("nothing of a card tool")
    assert known(tmp_path) == Known((), looked=False)


@needs_shared
def test_three_cards_of_the_flash_scan() -> None:
    cards = known(XBUTIL / "vck5000_es1_xbmgmt_flash_scan.txt").cards
    assert [(c.slot, c.vbnv, c.sc, c.kind, c.golden) for c in cards] == [
        ("0000:02:00", "xilinx_vck5000-es1_g3x16_201921_1", "4.4", "VCK5000-ES1", False),
        ("0000:03:00", "xilinx_vck5000-es1_gen3x16_base_2", "4.4.6", "VCK5000-ES1", False),
        ("0000:08:00", "xilinx_vck5000", "INACTIVE", "VCK5000", True),
    ]
    assert cards[0].installed == ("xilinx_vck5000-es1_gen3x16_base_2",)


@needs_shared
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("vck5000_es1_lspci.txt", "VCK5000-ES1"), ("vck5000_es1_legacy_validate_pass_v1.4.1.txt", "VCK5000-ES1"),
        ("vck5000_es1_validate_xrt2.11_pcie_warn.txt", "VCK5000-ES1"),
        ("other_alveo_examine_legacy_electrical.txt", ""),
        ("simulated-card/healthy_gen4x8.examine_host.txt", "VCK5000"),
    ],
)  # fmt: skip
def test_which_card_it_is(name: str, kind: str) -> None:
    assert [card.kind for card in known(XBUTIL / name).cards] == [kind]
