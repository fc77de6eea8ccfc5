"""Builds the native kernels: `python -m runtime.emulator.native.build`. Without a C++ compiler there are none.

The library lies in the environment's prefix (in a cache folder of the user where that cannot be written), under a name
made of a hash of its sources: a library of other sources is never loaded. Beside it lies its own hash, written first,
so that a damaged file is noticed before it is loaded.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from xmodel.errors import UnavailableError

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # not a Unix
    fcntl = None

SOURCES = Path(__file__).parent / "src"
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-shared", "-pthread", "-fvisibility=hidden", "-Wall", "-Wextra")
MODEL = ("-O1", "-DUNMASK_SOFTWARE_MODEL")  # AVX512 and AMX as plain C++, to test their kernels anywhere
SECONDS = 600


def key(extra: tuple[str, ...] = ()) -> str:
    """A hash of sources, flags and kind of machine."""
    digest = hashlib.sha256(repr((FLAGS, extra, platform.machine(), sys.platform)).encode())
    for path in sorted(SOURCES.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:24]


def folders() -> tuple[Path, ...]:
    """Where a library may lie, best first; UNMASK_NATIVE names the only one."""
    if chosen := os.environ.get("UNMASK_NATIVE"):
        return (Path(chosen),)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(sys.prefix) / "lib" / "unmask", cache / "unmask"


def compiler() -> list[str] | None:
    """The C++ compiler's command: CXX, or the first of the usual names; None when there is none."""
    named = shlex.split(os.environ.get("CXX", ""))
    return next(([found, *rest] for name, *rest in ([named] if named else [["c++"], ["g++"], ["clang++"]])
                 if (found := shutil.which(name))), None)  # fmt: skip


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def intact(path: Path) -> bool:
    """Whether `path` is a library and the very one that was built."""
    recorded = path.with_suffix(".sha256")
    try:
        return recorded.read_text(encoding="ascii").strip() == sha256(path)
    except (OSError, ValueError):
        return False


def find(extra: tuple[str, ...] = ()) -> Path | None:
    """The library of these sources, None where it was not built or is damaged."""
    return next((path for path in candidates(extra) if intact(path)), None)


def candidates(extra: tuple[str, ...] = ()) -> tuple[Path, ...]:
    """Files that should be the library of these sources."""
    name = f"native-{key(extra)}.so"
    return tuple(folder / name for folder in folders() if (folder / name).is_file())


def build(extra: tuple[str, ...] = ()) -> Path:
    """Compile unless that was done; the library's path. Raises `UnavailableError`."""
    if (found := find(extra)) is not None:
        return found
    command = compiler()
    if command is None:
        raise UnavailableError(
            "There is no C++ compiler here, so the native kernels are not built.",
            hint="Install one, for example g++, or name it: CXX=…. The torch kernels work without.",
        )
    folder = _writable()
    with _alone(folder):  # others that waited find it built
        return find(extra) or _compile(command, extra, folder)


def _compile(command: list[str], extra: tuple[str, ...], folder: Path) -> Path:
    target = folder / f"native-{key(extra)}.so"
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = Path(scratch) / "native.so"
        sources = sorted(str(path) for path in SOURCES.glob("*.cpp"))
        whole = [*command, *FLAGS, *extra, "-o", str(made), *sources]
        try:
            done = subprocess.run(whole, capture_output=True, text=True, timeout=SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UnavailableError(f"The native kernels could not be compiled: {error}.") from error
        if done.returncode or not made.is_file():
            raise UnavailableError(
                f"The native kernels could not be compiled by {command[0]}: {_first_error(done.stderr)}.",
                hint="The torch kernels work without them. C++17 is needed: GCC 9, clang 9 or newer.",
            )
        recorded = Path(scratch) / "sha256"
        recorded.write_text(sha256(made), encoding="ascii")
        recorded.replace(target.with_suffix(".sha256"))
        made.replace(target)
    return target


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One build at a time in a folder, where the system has such locks."""
    if fcntl is None:
        yield
        return
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _first_error(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line.lower()), lines[0] if lines else "it said nothing")[:300]


def _writable() -> Path:
    for folder in folders():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    raise UnavailableError(
        f"The native kernels have no folder to be written to: tried {', '.join(map(str, folders()))}.",
        hint="Name one: UNMASK_NATIVE=FOLDER, when building and when running.",
    )


def main() -> int:
    """Build and say so in one line; 0 also where it cannot be done, for nothing needs these kernels."""
    try:
        print(f"Native kernels: {build()}")
    except UnavailableError as error:
        print(f"Native kernels: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
