"""Where a stage finds its input files: a path named by the user, or the one file of a stage's folder."""

from __future__ import annotations

from pathlib import Path

from xmodel.errors import UsageError


def quantized_file(path: Path) -> Path:
    """`path` itself, or the only `*_int.xmodel` of that folder. Raises `UsageError`."""
    return _one(path, "*_int.xmodel", "quantize")


def compiled_file(path: Path) -> Path:
    """`path` itself, or the only `.xmodel` of that folder. Raises `UsageError`."""
    return _one(path, "*.xmodel", "compile")


def float_file(quantized: Path) -> Path:
    """Where the quantize stage keeps the float graph that belongs to `quantized`."""
    return quantized.with_name(quantized.name.removesuffix("_int.xmodel") + "_float.xmodel")


def _one(path: Path, pattern: str, stage: str) -> Path:
    if path.is_file():
        return path
    found = sorted(path.glob(pattern)) if path.is_dir() else []
    if len(found) == 1:
        return found[0]
    what = f"This folder holds {len(found)} files {pattern}" if path.is_dir() else "There is no such file"
    raise UsageError(f"{what}; one is needed.", where=str(path), hint=f"Name the file; `unmask {stage}` makes it.")


def existing(path: Path | None, what: str) -> Path | None:
    """`path` when it is None or exists. Raises `UsageError` naming `what` it should have been."""
    if path is not None and not path.exists():
        raise UsageError(f"There is no such {what}.", where=str(path))
    return path
