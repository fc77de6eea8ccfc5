"""Unpacking an archive from outside: bounded in size, confined to its folder, whole or not at all."""

from __future__ import annotations

import shutil
import stat
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from xmodel.errors import ArtifactError, UnavailableError

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What an archive may ask for: members, unpacked bytes, and unpacked/packed size of one member."""

    members: int = 200_000
    total: int = 32 << 30
    ratio: float = 200.0  # text and flat images compress 10 to 100 times; bombs 1000 times


def unzip(archive: Path, folder: Path, limits: Limits | None = None) -> Path:
    """Unpack `archive` into the new `folder`, which appears only when everything is there.

    A single top-level folder of the same name is taken off, so `data.zip` with `data/crops/..` gives
    `data/crops/..` either way. Raises `ArtifactError` for what is not a zip file, is damaged, names a
    path outside the folder, a link or a device, is encrypted or exceeds `limits`;
    `UnavailableError` when it cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(archive) as opened:
            members = _members(opened, archive, limits or Limits())
            work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
            try:
                _extract(opened, members, work, folder.name)
                work.chmod(0o755)
                work.rename(folder)
            finally:
                shutil.rmtree(work, ignore_errors=True)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        raise ArtifactError(
            f"This is not a zip archive that can be read: {error}.", where=str(archive), hint="Delete it, fetch again."
        ) from error
    except OSError as error:
        raise UnavailableError(f"Cannot unpack into this folder: {error.strerror}.", where=str(folder)) from error
    return folder


def _members(opened: zipfile.ZipFile, archive: Path, limits: Limits) -> dict[PurePosixPath, zipfile.ZipInfo]:
    def refuse(reason: str) -> ArtifactError:
        return ArtifactError(f"This archive is refused: {reason}.", where=str(archive))

    infos = opened.infolist()
    if len(infos) > limits.members:
        raise refuse(f"it has {len(infos)} members, at most {limits.members} are unpacked")
    total = sum(info.file_size for info in infos)
    if total > limits.total:
        raise refuse(f"it unpacks to {total} bytes, at most {limits.total} are allowed")
    members: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for info in infos:
        path = PurePosixPath(info.filename)
        if path.is_absolute() or ".." in path.parts or "\\" in info.filename or ":" in info.filename:
            raise refuse(f"the member {info.filename!r} points outside the folder")
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise refuse(f"the member {info.filename!r} is a link or a device")
        if info.flag_bits & 1:
            raise refuse(f"the member {info.filename!r} is encrypted")
        if info.file_size > _BLOCK and info.file_size > limits.ratio * info.compress_size:
            raise refuse(f"the member {info.filename!r} unpacks to more than {limits.ratio:g} times its size")
        if info.is_dir():
            continue
        if path in members or not path.parts:
            raise refuse(f"the member {info.filename!r} is there twice or has no name")
        members[path] = info
    return members


def _extract(
    opened: zipfile.ZipFile, members: dict[PurePosixPath, zipfile.ZipInfo], work: Path, top_level: str
) -> None:
    strip = all(len(path.parts) > 1 and path.parts[0] == top_level for path in members)
    for path, info in members.items():
        target = work.joinpath(*path.parts[1 if strip else 0 :])
        target.parent.mkdir(parents=True, exist_ok=True)
        with opened.open(info) as source, target.open("xb") as sink:  # reads at most the checked file_size
            shutil.copyfileobj(source, sink, _BLOCK)
        target.chmod(0o644)  # not the archive's permission bits
