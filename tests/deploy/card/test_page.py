"""The page: complete, escaped, and in words that its reader needs first."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.card.evidence import from_files
from deploy.card.judge import judged
from deploy.card.page import view, write_page
from tests.deploy.card import samples


def _page(path: Path, files: dict[str, bytes]) -> str:
    write_page(path, judged(from_files(files.items())))
    return path.read_text(encoding="utf-8")


def test_a_healthy_card(tmp_path: Path) -> None:
    text = _page(tmp_path / "x.html", samples.folder())
    assert '<h1 class="good">Healthy</h1>' in text and "What to do" not in text and "<script" not in text
    assert "52 °C" in text and "Gen4 x8" in text and samples.GEN4 in text


def test_a_faulty_card_says_first_what_to_do(tmp_path: Path) -> None:
    hot = samples.device(**samples.thermals(device=98))
    text = _page(tmp_path / "x.html", samples.folder(thermal=hot, pcie=samples.device(**samples.pcie(3, 4))))
    assert "Not healthy: 1 check failed" in text
    assert text.index("Stop the load now") < text.index("Use a slot with all lanes") < text.index("Power and heat")


def test_what_the_tools_print_cannot_become_markup(tmp_path: Path) -> None:
    files = samples.folder(host=samples.host(vbnv="xilinx_vck5000<script>alert(1)</script>"))
    text = _page(tmp_path / "x.html", files)
    assert "<script" not in text and "&lt;script&gt;" in text


@pytest.mark.parametrize(
    ("files", "headline"),
    [
        ({}, "No usable card"), (samples.folder(pcie=samples.device(**samples.pcie(3, 8))), "Healthy, with warnings"),
        ({"a": b"{\"logical_devices\": [{"}, "Not healthy: 1 check failed"),
    ],
)  # fmt: skip
def test_headlines(files: dict[str, bytes], headline: str) -> None:
    assert view(judged(from_files(files.items())))["headline"] == headline
