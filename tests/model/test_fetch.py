from __future__ import annotations

import hashlib
import io
import json
import socket
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest

from model import fetch
from xmodel.errors import ArtifactError, UnavailableError, UsageError

WEIGHTS = b"weights" * 100


def _archive(top: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"{top}/crops/abc_0_0.png", "png")
    return buffer.getvalue()


CONTENT = {
    fetch.ITEMS["weights"].drive_id: WEIGHTS,
    fetch.ITEMS["calib"].drive_id: _archive("fyp_data"),
    fetch.ITEMS["unseen"].drive_id: _archive("unseen_data"),
}


class Drive:
    """Stands in for the network: serves CONTENT, in pieces that can be cut short once."""

    def __init__(self, cut: bool = False) -> None:
        self.cut = cut
        self.asked: list[str] = []
        self.resumed_at: list[int] = []

    def __call__(self, drive_id: str, path: Path) -> None:
        self.asked.append(drive_id)
        part = path.with_name(path.name + ".part")
        have = part.read_bytes() if part.exists() else b""
        self.resumed_at.append(len(have))
        data = CONTENT[drive_id]
        if self.cut:
            self.cut = False
            part.write_bytes(data[:50])
            raise ConnectionError("connection reset")
        part.write_bytes(have + data[len(have) :])
        part.rename(path)


def _online() -> None:
    return None


def _offline() -> None:
    raise OSError("no route to host")


def test_everything_arrives_and_is_recorded(tmp_path: Path) -> None:
    drive = Drive()
    found = fetch.fetch([], tmp_path, drive, _online)
    assert [(item.name, item.path.relative_to(tmp_path).as_posix(), item.new) for item in found] == [
        ("weights", "checkpoint_epoch_224x224_35.pth", True),
        ("calib", "fyp_data", True),
        ("unseen", "unseen_data", True),
    ]
    assert (tmp_path / "checkpoint_epoch_224x224_35.pth").read_bytes() == WEIGHTS
    assert (tmp_path / "fyp_data/crops/abc_0_0.png").read_bytes() == b"png"
    lock = json.loads((tmp_path / fetch.LOCK_FILE).read_text())
    assert lock["weights"]["size"] == 700
    assert lock["weights"]["sha256"] == hashlib.sha256(WEIGHTS).hexdigest()


def test_what_is_there_is_not_fetched_again_and_needs_no_network(tmp_path: Path) -> None:
    fetch.fetch([], tmp_path, Drive(), _online)
    drive = Drive()
    assert [item.new for item in fetch.fetch([], tmp_path, drive, _offline)] == [False, False, False]
    assert not drive.asked


def test_files_put_in_place_by_hand_are_recorded(tmp_path: Path) -> None:
    (tmp_path / "checkpoint_epoch_224x224_35.pth").write_bytes(b"mine")
    (tmp_path / "fyp_data").mkdir()
    found = fetch.fetch(["weights", "calib"], tmp_path, Drive(), _offline)
    assert [item.new for item in found] == [False, False]
    assert json.loads((tmp_path / fetch.LOCK_FILE).read_text())["weights"]["size"] == 4


def test_a_changed_file_is_told(tmp_path: Path) -> None:
    fetch.fetch(["weights"], tmp_path, Drive(), _online)
    (tmp_path / "checkpoint_epoch_224x224_35.pth").write_bytes(WEIGHTS[:-1] + b"!")
    with pytest.raises(ArtifactError, match="not the one recorded for 'weights'") as caught:
        fetch.fetch(["weights"], tmp_path, Drive(), _online)
    assert "Delete the file" in caught.value.hint


def test_a_download_that_is_not_the_recorded_file_never_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch.fetch(["weights"], tmp_path, Drive(), _online)
    (tmp_path / "checkpoint_epoch_224x224_35.pth").unlink()
    monkeypatch.setitem(CONTENT, fetch.ITEMS["weights"].drive_id, b"other")
    with pytest.raises(ArtifactError, match="it has 5 bytes"):
        fetch.fetch(["weights"], tmp_path, Drive(), _online)
    assert not (tmp_path / "checkpoint_epoch_224x224_35.pth").exists()


def test_a_download_cut_short_is_resumed(tmp_path: Path) -> None:
    drive = Drive(cut=True)
    with pytest.raises(UnavailableError, match="Fetching 'weights' stopped: connection reset") as caught:
        fetch.fetch(["weights"], tmp_path, drive, _online)
    assert "again to resume" in caught.value.hint
    assert not (tmp_path / "checkpoint_epoch_224x224_35.pth").exists()
    fetch.fetch(["weights"], tmp_path, drive, _online)
    assert drive.resumed_at == [0, 50]
    assert (tmp_path / "checkpoint_epoch_224x224_35.pth").read_bytes() == WEIGHTS


def test_a_page_instead_of_an_archive_is_refused_and_not_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CONTENT, fetch.ITEMS["calib"].drive_id, b"<html>quota exceeded</html>")
    with pytest.raises(ArtifactError, match="not a zip archive"):
        fetch.fetch(["calib"], tmp_path, Drive(), _online)
    assert not (tmp_path / "fyp_data").exists()
    assert not (tmp_path / fetch.LOCK_FILE).exists()


def test_offline_says_what_to_do_instead(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no route to host") as caught:
        fetch.fetch(["weights"], tmp_path, Drive(), _offline)
    assert "`unmask samples`" in caught.value.hint
    assert str(tmp_path / "checkpoint_epoch_224x224_35.pth") in caught.value.hint


def test_a_download_that_brings_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="brought no data"):
        fetch.fetch(["weights"], tmp_path, lambda _id, _path: None, _online)


def test_unknown_names_are_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="called 'wieghts'") as caught:
        fetch.fetch(["wieghts"], tmp_path, Drive(), _online)
    assert caught.value.hint == "Known: weights, calib, unseen, face-model."


def _face_model(served: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Serve `served` as the face model, whose published content is `content`."""
    item = fetch.Item(served.as_uri(), "yunet.onnx", sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(fetch, "ITEMS", {**fetch.ITEMS, "face-model": item})


def test_a_file_from_an_address_is_checked_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, out = tmp_path / "served", tmp_path / "out"
    _face_model(served, monkeypatch, b"layers")
    served.write_bytes(b"<html>moved</html>")
    with pytest.raises(ArtifactError, match=r"This is not the published yunet\.onnx: its sha256 is "):
        fetch.fetch(["face-model"], out, probe=_online)
    assert not [path for path in out.rglob("*") if path.is_file()]
    served.write_bytes(b"layers")
    assert fetch.fetch(["face-model"], out, probe=_online) == [fetch.Fetched("face-model", out / "yunet.onnx", True)]
    assert (out / "yunet.onnx").read_bytes() == b"layers"
    served.unlink()
    assert not fetch.fetch(["face-model"], out, probe=_offline)[0].new
    (out / "yunet.onnx").write_bytes(b"changed")
    with pytest.raises(ArtifactError, match=r"This is not the published yunet\.onnx"):
        fetch.fetch(["face-model"], out, probe=_offline)


def test_a_file_from_an_address_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "served").write_bytes(bytes(9))
    _face_model(tmp_path / "served", monkeypatch, bytes(9))
    monkeypatch.setattr(fetch, "LARGEST", 8)
    with pytest.raises(ArtifactError, match="larger than 8 bytes"):
        fetch.fetch(["face-model"], tmp_path / "out", probe=_online)
    with pytest.raises(UnavailableError, match=r"Cannot reach github\.com to fetch face-model") as caught:
        monkeypatch.undo()
        fetch.fetch(["face-model"], tmp_path / "out", probe=_offline)
    assert "(https://github.com/opencv/opencv_zoo/" in caught.value.hint


@pytest.mark.parametrize("text", ["[]", '{"weights": 3}', "{"])
def test_a_damaged_lock_file_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / fetch.LOCK_FILE).write_text(text)
    with pytest.raises(ArtifactError):
        fetch.fetch(["weights"], tmp_path, Drive(), _online)


def test_a_missing_gdown_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(UnavailableError, match="gdown, which is not installed"):
        fetch.fetch(["weights"], tmp_path, probe=_online)


def test_the_probe_ends_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(fetch, "PROBE_SECONDS", 0.2)
    answer = threading.Event()

    def silent(*_address: object, **_options: object) -> None:
        answer.wait(30)
        raise OSError("too late")

    monkeypatch.setattr(socket, "create_connection", silent)
    start = time.monotonic()
    with pytest.raises(OSError, match=r"no answer from drive.google.com in 0.2 s"):
        fetch.connect()
    assert time.monotonic() - start < 20
    answer.set()


def test_the_probe_asks_the_proxy_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{server.getsockname()[1]}")
        fetch.connect()
