"""Artifacts: written beside and renamed, with a `run.json` that says what made them."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from xmodel.errors import ArtifactError, UnavailableError, UsageError

RUN_FILE = "run.json"
_PRIME = 2654435761  # sets the numbers of different processes far apart
_numbers = itertools.count()


def sha256(path: Path) -> str:
    """Hex digest of a file's content; a folder's is taken over its sorted relative names and contents."""
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    for file in files:
        if file != path:
            digest.update(os.fsencode(file.relative_to(path).as_posix()) + b"\0")
        try:
            with file.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise UsageError(f"Cannot read this file: {error.strerror}.", where=str(file)) from error
    return digest.hexdigest()


def output_folder(path: Path) -> Path:
    """Create `path` and prove that a file can be written there, before any work is done."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UnavailableError(
            f"Cannot write to this output folder: {error.strerror}.",
            where=str(path),
            hint="Choose another folder with --out (make: OUT=...).",
        ) from error
    return path


@contextmanager
def atomic(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path`; rename it to `path` when the block ends well.

    On any exception, Ctrl-C included, the temporary file is removed and `path` is as it was.
    Raises `UnavailableError` when the disk is full or read-only.
    """
    encoding = None if "b" in mode else "utf-8"
    with _replacing(path) as handle, os.fdopen(handle, mode, encoding=encoding, closefd=False) as stream:
        yield stream


@contextmanager
def _replacing(path: Path) -> Iterator[int]:
    """The descriptor of a temporary file beside `path` that becomes `path` when the block ends well."""
    temporary: Path | None = None
    with storage(path):
        try:
            handle, temporary = _beside(path)
            try:
                os.fchmod(handle, 0o644)  # whatever the umask
                yield handle
            finally:
                os.close(handle)
            temporary.replace(path)
        except BaseException:
            if temporary is not None:
                with suppress(OSError):
                    temporary.unlink()
            raise


def _beside(path: Path) -> tuple[int, Path]:
    """A new file `.<name>.<8 digits>.part` in the folder of `path`, which is made where it is missing: its descriptor
    and its path. Cheaper than `tempfile`, because `unmask infer` writes a file a crop."""
    while True:
        number = (os.getpid() * _PRIME + next(_numbers)) % 16**8
        temporary = path.parent / f".{path.name}.{number:08x}.part"
        try:
            return os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), temporary
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError:  # of another process, or left by one that was killed
            continue


@contextmanager
def storage(path: Path) -> Iterator[None]:
    """Turn what a full or read-only disk raises while `path` is written into `UnavailableError`."""
    try:
        yield
    except OSError as error:
        if error.errno not in (
            errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.EDQUOT, errno.ENOTDIR, errno.EEXIST,
            errno.EISDIR, errno.ENAMETOOLONG,
        ):  # fmt: skip
            raise
        raise UnavailableError(
            f"Cannot write this file: {error.strerror}.",
            where=str(path),
            hint="Free some space or choose another folder with --out (make: OUT=...).",
        ) from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with _replacing(path) as handle:
        left = memoryview(data)
        while left:
            left = left[os.write(handle, left) :]


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically, in UTF-8; bytes of a file name that are no text become escapes."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; floats that are not finite become null."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """`value` as indented JSON with a final newline; floats that are not finite become null."""
    return json.dumps(_finite(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value


def read_json(path: Path, limit: int = 64 << 20) -> Any:
    """Parse a JSON file of at most `limit` bytes. Raises `UsageError` or `ArtifactError`."""
    try:
        with path.open("rb") as stream:
            content = stream.read(limit + 1)  # what a device or a pipe holds, its size does not tell
        if len(content) > limit:
            raise ArtifactError(
                f"This JSON file has more than {limit} bytes; at most {limit} are read.", where=str(path)
            )
        return json.loads(content.decode())
    except OSError as error:
        raise UsageError(f"Cannot read this file: {error.strerror}.", where=str(path)) from error
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"This is not valid JSON: {error}.", where=str(path)) from error


def record(stage: str, inputs: Mapping[str, str], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The part of `run.json` that decides whether a stage is up to date."""
    return {"stage": stage, "inputs": dict(inputs), "arguments": dict(arguments), "versions": versions()}


def versions() -> dict[str, str]:
    """Versions that can change a result."""
    found = {"python": platform.python_version()}
    for name in ("unmask", "numpy", "torch", "opencv-python-headless", "pillow"):
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def up_to_date(folder: Path, wanted: Mapping[str, Any]) -> bool:
    """True when `folder/run.json` records `wanted` and every output it lists is there, unchanged."""
    try:
        done = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
        outputs = done["outputs"]
        same = all(done.get(key) == value for key, value in json.loads(json.dumps(wanted)).items())
        return same and bool(outputs) and all(sha256(folder / name) == digest for name, digest in outputs.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, UsageError):
        return False


def finish(folder: Path, wanted: Mapping[str, Any], outputs: list[str], extra: Mapping[str, Any] | None = None) -> None:
    """Write `run.json`, the last file of a stage: `wanted` and the sha256 of every output."""
    digests = {name: sha256(folder / name) for name in outputs}
    write_json(folder / RUN_FILE, {**wanted, "outputs": digests, **(extra or {})})


def run_stage(folder: Path, wanted: Mapping[str, Any], work: Callable[[], list[str]]) -> bool:
    """Run `work` unless `folder` is up to date; `work` returns its outputs. True when it ran.

    What an earlier run left there and this one did not make again is removed, so that a folder never
    holds the results of two runs. `run.json` records the `seconds` that `work` took.
    """
    output_folder(folder)
    if up_to_date(folder, wanted):
        return False
    earlier = outputs_of(folder)
    with suppress(FileNotFoundError):
        (folder / RUN_FILE).unlink()
    start = time.perf_counter()
    outputs = work()
    took = round(time.perf_counter() - start, 3)
    remove(folder, earlier - set(outputs))
    finish(folder, wanted, outputs, {"seconds": took})
    return True


def remove(folder: Path, names: Iterable[str]) -> None:
    """Delete files in `folder`; a name that leads out of it, or to nothing, is passed over."""
    for name in names:
        with suppress(OSError):
            if (folder / name).resolve().is_relative_to(folder.resolve()):
                (folder / name).unlink()


def seconds(folder: Path) -> float | None:
    """How long the stage that filled `folder` ran, or None when its `run.json` does not say."""
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        return float(json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))["seconds"])
    return None


def outputs_of(folder: Path) -> set[str]:
    """The outputs that `folder/run.json` lists; none without one."""
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        return set(json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))["outputs"])
    return set()
