"""Where `vai_c_xir` is looked for: this machine, conda environments, container images."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from xmodel.conda import ROOTS, entered, prefixes
from xmodel.errors import UnavailableError, UsageError

NAME = "vai_c_xir"
_IMAGES = ("xilinx/vitis-ai", "amdih/vitis-ai")
_ASKED = 10.0  # seconds that a container engine has to list its images
# Inside the vendor's images the compiler lies in a conda environment that only a login shell enters.
_ENTER = (
    f'for d in /opt/vitis_ai/conda/envs/*/bin; do if [ -x "$d/{NAME}" ]; then PATH="$d:$PATH"; '
    f'export PATH CONDA_PREFIX="${{d%/bin}}"; break; fi; done; exec {NAME} "$@"'
)


@dataclass(frozen=True, slots=True)
class Compiler:
    """A compiler to run: a `program` here, or with `image` inside a container that the engine `program` starts."""

    program: Path
    image: str = ""

    def __str__(self) -> str:
        return f"{NAME} in the image {self.image} ({self.program})" if self.image else str(self.program)

    def command(self, arguments: list[str], folder: Path, name: str) -> list[str]:
        """What to run. A container `name` sees `folder` under its own path, `folder`/tmp as /tmp, and no network."""
        if not self.image:
            return [str(self.program), *arguments]
        return [
            str(self.program), "run", "--rm", "--init", "--name", name, "--network", "none",
            "--user", f"{os.getuid()}:{os.getgid()}", "--env", "HOME=/tmp", "--volume", f"{folder}:{folder}",
            "--volume", f"{folder}/tmp:/tmp", "--workdir", str(folder), "--entrypoint", "/bin/bash",
            self.image, "-c", _ENTER, NAME, *arguments,
        ]  # fmt: skip

    def environment(self) -> Mapping[str, str]:
        """For the process; a conda environment is entered."""
        return os.environ if self.image else entered(self.program)

    def remove(self, name: str) -> None:
        """End the container `name`, which outlives an engine that was killed."""
        if self.image:
            with suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run([self.program, "rm", "--force", name], capture_output=True, timeout=30)


def find(given: str | None = None) -> Compiler:
    """The compiler `given` (a program, a folder that holds it, or "docker:IMAGE"), or the first of `candidates`.

    Raises `UsageError` for one that is not there, `UnavailableError` that says where was looked.
    """
    if given is not None:
        return _given(given)
    found = next(candidates(), None)
    if found is None:
        raise UnavailableError(
            f"The vendor's compiler ({NAME}) was not found: not on the PATH, not in the active conda environment, not "
            f"in an environment vitis-ai-* under {', '.join(ROOTS)}, not in an image of docker or podman.",
            hint="Name it with --vitis-compiler PATH (or docker:IMAGE), run inside the vendor's container, or use "
            "--backend unmask, which needs nothing and compiles for the emulator.",
        )
    return found


def candidates() -> Iterator[Compiler]:
    """Compilers in order: on the PATH (a container's own is there), in conda environments, in images of containers."""
    path = shutil.which(NAME)
    if path:
        yield Compiler(Path(path).absolute())
    for prefix in prefixes():
        program = prefix / "bin" / NAME
        if os.access(program, os.X_OK) and program.is_file():
            yield Compiler(program)
    for engine in _engines():
        yield from (Compiler(Path(engine), image) for image in _images(engine))


def _given(text: str) -> Compiler:
    engine, colon, image = text.partition(":")
    if colon and engine in ("docker", "podman"):
        program = shutil.which(engine)
        if program is None or not image or image.startswith("-"):
            raise UsageError(f"{text!r} cannot be run: there is no {engine} here, or it names no image.")
        return Compiler(Path(program), image)
    path = Path(text).expanduser()
    found = shutil.which(str(path / NAME if path.is_dir() else path))
    if found is None:
        raise UsageError(
            f"There is no program {text!r}.", hint=f"Give the path of {NAME}, its folder, or docker:IMAGE."
        )
    return Compiler(Path(found).absolute())


def _engines() -> list[str]:
    return [path for name in ("docker", "podman") if (path := shutil.which(name))]


def _images(engine: str) -> list[str]:
    """The vendor's images that this engine lists, those for torch first; none where it does not answer."""
    command = [engine, "image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_ASKED, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return []
    lines = done.stdout.decode(errors="replace").split() if done.returncode == 0 else []
    known = [line for line in lines if any(part in line for part in _IMAGES) and not line.startswith("-")]
    return sorted(known, key=lambda line: "pytorch" not in line)
