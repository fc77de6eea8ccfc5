"""Compressed, emptied, beheaded and re-wrapped files: read where they can be, and never passed over."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.card import evidence
from deploy.card.evidence import from_files, from_folder
from deploy.card.facts import Evidence, Firewall, Link, PciFunction, Shell, Temperature, Trial, Unreadable
from deploy.card.judge import judged
from deploy.card.packed import unpacked
from tests.deploy.card import samples
from xmodel.errors import UsageError

VALIDATION = samples.validation_text(outcomes={3: "FAILED"}).encode()


def _of(name: str, data: bytes | str) -> Evidence:
    return from_files([(name, data if isinstance(data, bytes) else data.encode())])


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)])
def test_compressed_output_is_read(tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]) -> None:
    (tmp_path / "v.txt").write_bytes(samples.validation_text().encode())
    (tmp_path / f"v.txt{suffix}").write_bytes(pack(VALIDATION))
    found = from_folder(tmp_path)
    assert found.files == ("v.txt", f"v.txt{suffix}") and int(judged(found).exit_code) == 1
    assert "FAILED" in [t.outcome for t in found.all(Trial)]
    assert unpacked(f"a{suffix}", pack(VALIDATION), 1 << 20) == ("a", VALIDATION)


def test_what_is_not_whole_stays_packed_and_counts() -> None:
    packed = gzip.compress(VALIDATION)
    for data in (packed[:-20], packed + packed, b"PK\x03\x04"):
        name, kept = unpacked("v.gz", data, 1 << 20)
        assert kept == data and _of(name, kept).all(Unreadable)
    assert len(unpacked("v.gz", gzip.compress(bytes(1 << 20)), 1000)[1]) == 1000


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("validate.json", b"\0" * 4096, True), ("xbutil_examine.txt", b"\n", True), ("lspci", b"\x81\xfa" * 99, True),
        ("xbutil.stderr", b"", False), ("photo", b"\0" * 4096, False), ("validation-notes.md", b"to do", False),
    ],
)  # fmt: skip
def test_a_file_that_by_its_name_held_output(name: str, data: bytes, told: bool) -> None:
    assert bool(_of(name, data).all(Unreadable)) is told


def test_a_missing_beginning_is_noticed() -> None:
    text = samples.examine_text({"device": 98})
    tail = text[text.index("  PCB") :]
    assert _of("x", tail).all(Unreadable)
    document = samples.device(**samples.thermals()).decode()
    assert _of("x", document[document.index('"location_id"') - 20 :]).all(Unreadable)


def test_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "MOST_FILES", 1)
    for name in "ab":
        (tmp_path / name).write_text("x")
    with pytest.raises(UsageError, match="holds 2 files"):
        from_folder(tmp_path)


def test_a_terminal_of_80_columns() -> None:
    row = f"[{samples.BDF}]  :  xilinx_vck5000_gen4x8_qdma_base_2  {samples.UUID}  user(inst=128)  "
    for ready in ("Yes", "No"):
        for at in (80, len(row), len(row) - 1, len(row) - 6):
            text = f"Devices present\n{(row + ready)[:at].rstrip()}\n{(row + ready)[at:]}\n"
            assert [s.ready for s in _of("x", text).all(Shell)] == [ready == "Yes"], (at, text)


def test_messages_of_the_kernel() -> None:
    noise = "[ 12.5] xocl 0000:65:00.1: OPEN 1\nDec 01 10:00:03 node7 kernel: audit: denied\n"
    text = f"65:00.1 Processing accelerators: Xilinx Corporation Device 5049\n{noise}\tKernel driver in use: xocl\n"
    assert [f.driver for f in _of("x", text).all(PciFunction)] == ["xocl"]
    tripped = "[ 9.1] xocl 0000:65:00.1: firewall.u.1: check_firewall: AXI Firewall 2\n tripped, status: 0x80000\n"
    assert [(f.bdf, f.level, f.tripped) for f in _of("x", tripped).all(Firewall)] == [("0000:65:00.1", "2", True)]


def test_pasted_text_without_indentation() -> None:
    text = "\n".join(line.strip() for line in samples.validation_text().split("\n"))
    assert [(t.name, t.outcome, t.text) for t in _of("x", text).all(Trial)] == [
        (t.name, t.outcome, t.text) for t in _of("x", samples.validation_text()).all(Trial)
    ]
    assert not _of("x", text).all(Temperature)
    scan = "65:00.1 Processing accelerators: Xilinx Corporation Device 5049\nLnkSta:\tSpeed 2.5GT/s, Width x1\n"
    found = _of("x", f"{scan}Kernel driver in use: vfio-pci\n")
    assert [f.driver for f in found.all(PciFunction)] == ["vfio-pci"]
    assert [(x.generation, x.lanes) for x in found.all(Link)] == [(1, 1)]
