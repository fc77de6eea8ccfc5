"""Folders of saved output: any names, any order, and what the reference samples say."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.card import complaints
from deploy.card.evidence import from_files, from_folder
from deploy.card.facts import Complaint, Host, Link, PciFunction, Temperature, Trial, Unreadable
from deploy.card.text import MOST_BYTES
from tests.deploy.card import samples
from tests.shared import SHARED, needs_shared
from xmodel.errors import UsageError

XBUTIL = SHARED / "samples/xbutil"


def test_names_do_not_matter_and_other_files_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/a.bin").write_bytes(samples.device(**samples.thermals()))
    (tmp_path / "b").write_bytes(samples.examine_text().encode("utf-16"))
    (tmp_path / "photo.json").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR")
    (tmp_path / "notes.txt").write_text("The card: found in rack 7\n")
    found = from_folder(tmp_path)
    assert found.unrecognised == ("notes.txt", "photo.json") and found.slots == ("0000:21:00",)
    assert {t.source.file for t in found.all(Temperature)} == {"deep/a.bin", "b"}


def test_json_after_text_in_one_file() -> None:
    data = samples.examine_text().encode() + samples.validation() + b"\n$ lspci -d 10ee:\n65:00.1 1200: 10ee:5049\n"
    found = from_files([("log", data)])
    assert len(found.all(Trial)) == 6 and len(found.all(Temperature)) == 3 and len(found.all(PciFunction)) == 1


def test_a_cut_document_is_told_once() -> None:
    found = from_files([("a", samples.validation()[:-40]), ("b", b'{"name": "package", ')])
    assert [u.source.file for u in found.all(Unreadable)] == ["a"]


def test_a_file_without_end_is_read_to_a_bound() -> None:
    data = samples.examine_text().encode() + b"x\n" * MOST_BYTES
    (unreadable,) = from_files([("a", data)]).all(Unreadable)
    assert unreadable.reason.startswith("the file is longer than 2 MiB")
    assert from_files([("a", b"x\n" * MOST_BYTES)]).unrecognised == ("a",)


def test_one_file_is_enough_and_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(samples.host())
    assert from_folder(tmp_path / "x").all(Host)[0].source.file == "x"
    with pytest.raises(UsageError, match="no such folder of saved output"):
        from_folder(tmp_path / "absent")


@needs_shared
@pytest.mark.parametrize("path", sorted((XBUTIL / "no-card-debian-wrapper").glob("*")), ids=lambda p: p.name)
def test_debians_wrapper(path: Path) -> None:
    found = from_folder(path)
    assert {c.kind for c in found.all(Complaint)} == {complaints.BROKEN} and not found.slots


@needs_shared
@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("examine.txt", {complaints.NO_DEVICES}), ("examine_json.txt", {complaints.NO_DEVICES}),
        ("examine.json", set()), ("version.txt", set()), ("examine_all.txt", {complaints.REFUSED}),
        ("examine_dev.txt", {complaints.NO_DEVICES}), ("examine_json_again.txt", {complaints.REFUSED}),
        ("examine_thermal.txt", {complaints.REFUSED}), ("validate.txt", {complaints.REFUSED}),
        ("validate_dev.txt", {complaints.NO_DEVICES}), ("validate_json.txt", {complaints.NO_DEVICES}),
        ("bogus.txt", {complaints.REFUSED}), ("help.txt", set()), ("examine_help.txt", set()),
        ("validate_help.txt", set()),
    ],
)  # fmt: skip
def test_working_tools_without_a_card(name: str, kinds: set[str]) -> None:
    found = from_folder(XBUTIL / "no-card-xrt-2.14" / name)
    assert {c.kind for c in found.all(Complaint)} == kinds and not found.slots and not found.all(Unreadable)


@needs_shared
def test_the_degraded_card() -> None:
    folder = XBUTIL / "simulated-card"
    files = [(p.name, p.read_bytes()) for p in sorted(folder.glob("degraded*"))]
    found = from_files(files)
    assert found.slots == ("0000:65:00",) and not found.unrecognised and not found.all(Unreadable)
    assert sorted({(t.sensor, t.celsius) for t in found.all(Temperature)}) == [
        ("PCB", 38.0), ("device", 98.0), ("vccint", 47.0),
    ]  # fmt: skip
    assert {(x.generation, x.lanes) for x in found.all(Link)} == {(3, 4)}


def test_any_bytes_are_survived() -> None:
    import random

    whole = samples.examine_text().encode() + samples.validation() + samples.legacy_text().encode()
    chance = random.Random(7)
    for _ in range(200):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 40)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        from_files([("x", bytes(data))])


def test_wrong_types_everywhere_are_survived() -> None:
    import json

    values: list[Any] = [None, [], {}, "", 3, True, [[]], [{}], {"a": []}, "x"]
    whole = json.loads(
        samples.device(**samples.thermals(), **samples.electrical(), **samples.pcie(), **samples.platform())
    )
    whole["system"] = json.loads(samples.host())["system"]
    whole["logical_devices"] = json.loads(samples.validation())["logical_devices"]

    def visit(node: Any) -> None:
        for key in list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            kept = node[key]
            for value in values:
                node[key] = value
                from_files([("x", json.dumps(whole).encode())])
            node[key] = kept

    visit(whole)
    visit(whole["devices"][0])
    visit(whole["devices"][0]["thermals"][0])
    visit(whole["devices"][0]["electrical"])
    visit(whole["devices"][0]["platforms"][0])
    visit(whole["logical_devices"][0])
    visit(whole["system"]["host"])


def test_a_folder_that_cannot_be_listed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rglob(_path: Path, _pattern: str) -> Iterator[Path]:
        raise OSError(errno.ENAMETOOLONG, "File name too long")

    monkeypatch.setattr(Path, "rglob", rglob)
    with pytest.raises(UsageError, match="Cannot list this folder: File name too long"):
        from_folder(tmp_path)
