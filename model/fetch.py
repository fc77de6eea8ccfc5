"""The published weights and data, and a face model: fetched once from where they are kept, verified ever after."""

from __future__ import annotations

import socket
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from model.unzip import unzip
from xmodel.artifact import output_folder, read_json, sha256, write_bytes, write_json
from xmodel.errors import ArtifactError, UnavailableError, UnmaskError, UsageError

LOCK_FILE = "fetched.json"
HOST = "drive.google.com"
PROBE_SECONDS = 3.0
PARTIAL = ".partial"
LARGEST = 16 << 20  # bytes of a file that comes from an address


@dataclass(frozen=True, slots=True)
class Item:
    """One published file: its Google Drive id or its address, its name here, the folder it unpacks to (zip files),
    and its sha256 where that is known before the first fetch."""

    drive_id: str
    file: str
    folder: str = ""
    sha256: str = ""

    @property
    def place(self) -> str:
        """Where it comes from, in words."""
        return self.drive_id if self.host != HOST else f"Google Drive id {self.drive_id}"

    @property
    def host(self) -> str:
        """The host that serves it."""
        return urllib.parse.urlsplit(self.drive_id).hostname or HOST


@dataclass(frozen=True, slots=True)
class Fetched:
    """What is in place: the file, or the folder it was unpacked to; `new` when this call brought it."""

    name: str
    path: Path
    new: bool


ITEMS: Mapping[str, Item] = MappingProxyType(
    {
        "weights": Item("1pmXnmlShfY9eIOAqmx8H_iBIOTNnNbw3", "checkpoint_epoch_224x224_35.pth"),
        "calib": Item("15nZtiX05VepLW0DGgB79iySGC1HsfXJd", "fyp_data.zip", "fyp_data"),
        "unseen": Item("1l6Z1DuO3uGyBdz_-XS4yJKe7wSpMaj15", "unseen_data.zip", "unseen_data"),
        # YuNet (MIT licence), for `unmask video --face-model`.
        "face-model": Item(
            "https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/face_detection_yunet_2023mar.onnx",
            "face_detection_yunet_2023mar.onnx",
            sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
        ),
    }
)
PUBLISHED = ("weights", "calib", "unseen")  # what is meant when nothing is named

Downloader = Callable[[str, Path], None]
"""Brings the file of a Google Drive id or of an address to a path; what it leaves in its folder lets it resume."""


def fetch(
    what: Collection[str],
    out: Path,
    download: Downloader | None = None,
    probe: Callable[[], None] | None = None,
) -> list[Fetched]:
    """Bring the items of `ITEMS` named by `what` (`PUBLISHED` when empty) into `out`, and verify those already there.

    A file's size and sha256 are recorded in `out/fetched.json` the first time it is seen and compared
    ever after. A download cut short is resumed by the next call. `download` and `probe` default to
    gdown and a connection test of a few seconds. Raises `UsageError` for an unknown name,
    `UnavailableError` without network, gdown or disk space, and `ArtifactError` when a file is not the
    recorded one or no zip archive where it should be.
    """
    names = list(dict.fromkeys(what or PUBLISHED))
    for name in names:
        if name not in ITEMS:
            raise UsageError(f"There is nothing to fetch called {name!r}.", hint=f"Known: {', '.join(ITEMS)}.")
    output_folder(out)
    missing = [name for name in names if not _present(ITEMS[name], out)]
    if missing:
        try:
            for host in dict.fromkeys(ITEMS[name].host for name in missing):
                probe() if probe else connect(host)
        except OSError as error:
            raise _offline(missing, out, error) from error
    return [_bring(name, out, download or bring) for name in names]


def connect(host: str = HOST) -> None:
    """Prove within seconds that `host`, or the proxy in front of it, answers. Raises `OSError`."""
    proxy = urllib.request.getproxies().get("https")
    parts = urllib.parse.urlsplit(proxy if proxy and "//" in proxy else f"//{proxy or host}")
    address = (parts.hostname or host, parts.port or (80 if proxy else 443))
    failures: list[OSError] = [TimeoutError(f"no answer from {address[0]} in {PROBE_SECONDS:g} s")]

    def attempt() -> None:
        try:
            socket.create_connection(address, timeout=PROBE_SECONDS).close()
            failures.clear()
        except OSError as error:
            failures.append(error)

    # A name server that does not answer blocks longer than any socket timeout, hence the thread.
    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    if failures:
        raise failures[-1]


def bring(drive_id: str, path: Path) -> None:
    """Download from Google Drive or, what is an address, from there."""
    (http if "//" in drive_id else gdown)(drive_id, path)


def http(address: str, path: Path) -> None:
    """Download a file of at most `LARGEST` bytes. Raises `OSError` and `ArtifactError`."""
    with urllib.request.urlopen(address, timeout=30) as answer:
        data = answer.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ArtifactError(f"This file is larger than {LARGEST} bytes and is not kept.", where=address)
    write_bytes(path, data)


def gdown(drive_id: str, path: Path) -> None:
    """Download a Google Drive file with gdown, resuming what an earlier call left beside `path`."""
    try:
        from gdown import download
    except ImportError as error:
        raise UnavailableError(
            "Fetching needs the package gdown, which is not installed.", hint="Install it: pip install 'unmask[fetch]'."
        ) from error
    download(id=drive_id, output=str(path), resume=True, use_cookies=False, timeout=30.0, retries=3)


def _present(item: Item, out: Path) -> bool:
    return (out / item.file).is_file() or (bool(item.folder) and (out / item.folder).is_dir())


def _bring(name: str, out: Path, download: Downloader) -> Fetched:
    item = ITEMS[name]
    file, folder = out / item.file, out / item.folder
    new = not _present(item, out)
    entry: dict[str, object] | None = None
    if new:
        arrived = _download(name, item, out, download)
        try:
            entry = _verify(name, item, arrived, out)
        except ArtifactError:
            if item.sha256:
                arrived.unlink()
            raise
        arrived.replace(file)
    elif file.is_file():
        entry = _verify(name, item, file, out)
    if item.folder and not folder.is_dir():
        unzip(file, folder)
    if entry is not None:
        _record(name, entry, out)
    return Fetched(name, folder if item.folder else file, new)


def _download(name: str, item: Item, out: Path, download: Downloader) -> Path:
    target = output_folder(out / PARTIAL) / item.file
    try:
        download(item.drive_id, target)
    except UnmaskError:
        raise
    except Exception as error:
        raise UnavailableError(
            f"Fetching {name!r} stopped: {error or type(error).__name__}.",
            where=str(target),
            hint="Run the command again to resume; if that keeps failing, delete that folder, or put the file "
            f"({item.place}) in place by hand as {out / item.file}.",
        ) from error
    if not target.is_file() or not target.stat().st_size:
        raise UnavailableError(f"Fetching {name!r} brought no data.", where=str(target), hint="Try again later.")
    return target


def _verify(name: str, item: Item, file: Path, out: Path) -> dict[str, object]:
    """Size and sha256 of `file`, equal to what the lock file has if it has anything."""
    recorded = _lock(out).get(name)
    found: dict[str, object] = {
        "drive_id": item.drive_id,
        "file": item.file,
        "size": file.stat().st_size,
        "sha256": sha256(file),
    }
    if item.sha256 and found["sha256"] != item.sha256:
        raise ArtifactError(
            f"This is not the published {item.file}: its sha256 is {found['sha256']}, not {item.sha256}.",
            where=str(file),
            hint="Delete the file and fetch again, or put the published one in place by hand.",
        )
    if recorded is not None and recorded != found:
        raise ArtifactError(
            f"This file is not the one recorded for {name!r} in {out / LOCK_FILE}: it has {found['size']} bytes "
            f"and sha256 {found['sha256']}, recorded are {recorded.get('size')} bytes "
            f"and {recorded.get('sha256')}.",
            where=str(file),
            hint="Delete the file and fetch again, or delete its entry there if the publisher has changed it.",
        )
    return found


def _record(name: str, entry: dict[str, object], out: Path) -> None:
    lock = _lock(out)
    if name not in lock:
        write_json(out / LOCK_FILE, {**lock, name: entry})


def _lock(out: Path) -> dict[str, dict[str, object]]:
    path = out / LOCK_FILE
    lock = read_json(path) if path.exists() else {}
    if not isinstance(lock, dict) or not all(isinstance(entry, dict) for entry in lock.values()):
        raise ArtifactError("This lock file is damaged.", where=str(path), hint="Delete it and fetch again.")
    return lock


def _offline(missing: list[str], out: Path, error: OSError) -> UnavailableError:
    files = ", ".join(f"{out / ITEMS[name].file} ({ITEMS[name].place})" for name in missing)
    hosts = " and ".join(dict.fromkeys(ITEMS[name].host for name in missing))
    return UnavailableError(
        f"Cannot reach {hosts} to fetch {', '.join(missing)}: {error}.",
        hint=f"Work offline with the demonstration set (`unmask samples`), or put in place by hand: {files}.",
    )
