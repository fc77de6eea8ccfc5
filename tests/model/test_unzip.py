from __future__ import annotations

import stat
import struct
import zipfile
from pathlib import Path

import pytest

from model.unzip import Limits, unzip
from xmodel.errors import ArtifactError, UnavailableError


def _zip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name) if not name.endswith("/") else name, data, compression)
    return path


def _names(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_unpacks_files_and_folders(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", {"crops/": b"", "crops/x_0_0.png": b"one", "metadata.json": b"{}"})
    folder = unzip(archive, tmp_path / "data")
    assert _names(folder) == ["crops/x_0_0.png", "metadata.json"]
    assert (folder / "crops/x_0_0.png").read_bytes() == b"one"


def test_a_top_level_folder_of_the_same_name_is_taken_off(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", {"data/": b"", "data/crops/x.png": b"one", "data/y.png": b"two"})
    assert _names(unzip(archive, tmp_path / "data")) == ["crops/x.png", "y.png"]
    assert _names(unzip(archive, tmp_path / "other")) == ["data/crops/x.png", "data/y.png"]


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "..\\evil", "C:evil"])
def test_paths_outside_are_refused(tmp_path: Path, name: str) -> None:
    archive = _zip(tmp_path / "a.zip", {"good": b"1", name: b"2"})
    with pytest.raises(ArtifactError, match="points outside the folder"):
        unzip(archive, tmp_path / "in" / "data")
    assert not (tmp_path / "in" / "data").exists()
    assert not list(tmp_path.rglob("evil"))


def test_links_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(ArtifactError, match="'link' is a link or a device"):
        unzip(tmp_path / "a.zip", tmp_path / "data")


def test_a_bomb_is_refused_by_its_ratio(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", {"bomb": bytes(8 << 20)})
    with pytest.raises(ArtifactError, match="unpacks to more than 200 times its size"):
        unzip(archive, tmp_path / "data")


def test_too_many_or_too_large_members_are_refused(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", {f"{k}.png": b"12345" for k in range(5)}, zipfile.ZIP_STORED)
    with pytest.raises(ArtifactError, match="it has 5 members, at most 4"):
        unzip(archive, tmp_path / "data", Limits(members=4))
    with pytest.raises(ArtifactError, match="it unpacks to 25 bytes, at most 24"):
        unzip(archive, tmp_path / "data", Limits(total=24))
    assert len(_names(unzip(archive, tmp_path / "data", Limits(members=5, total=25)))) == 5


def test_a_member_that_unpacks_to_more_than_it_says_is_refused(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", {"liar": bytes(100_000)})
    data = bytearray(archive.read_bytes())
    central = data.rindex(b"PK\x01\x02")
    struct.pack_into("<I", data, central + 24, 10)  # uncompressed size in the central directory
    struct.pack_into("<I", data, 22, 10)  # and in the local header
    archive.write_bytes(data)
    with pytest.raises(ArtifactError, match="not a zip archive that can be read"):
        unzip(archive, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_twice_the_same_name_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("a", "1")
        archive.writestr("a", "2")
    with pytest.raises(ArtifactError, match="'a' is there twice"):
        unzip(tmp_path / "a.zip", tmp_path / "data")


def test_damaged_archives_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    good = _zip(tmp_path / "a.zip", {"a": b"x" * 500}, zipfile.ZIP_STORED).read_bytes()
    for number, data in enumerate([b"", b"<html>quota</html>", good[:-30], good.replace(b"xxx", b"xyx", 1)]):
        bad = tmp_path / f"{number}.zip"
        bad.write_bytes(data)
        with pytest.raises(ArtifactError):
            unzip(bad, tmp_path / "data")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.zip", "1.zip", "2.zip", "3.zip", "a.zip"]


def test_a_file_where_a_folder_must_be(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", {"a": b"1", "a/b": b"2"})
    with pytest.raises(UnavailableError, match="Cannot unpack into this folder"):
        unzip(archive, tmp_path / "data")
    assert not (tmp_path / "data").exists()
