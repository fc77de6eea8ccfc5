"""Where the vendor's tools may be installed: the active conda environment, and those called vitis-ai-*."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

ROOTS = ("/opt/vitis_ai/conda", "/opt/conda", "~/miniconda3", "~/anaconda3", "~/miniforge3", "~/mambaforge")


def prefixes() -> Iterator[Path]:
    """Environments to search: the active one, then `vitis-ai-*` of the usual conda roots, those for torch first."""
    active = os.environ.get("CONDA_PREFIX")
    if active:
        yield Path(active)
    for root in _roots():
        yield from sorted((root / "envs").glob("vitis-ai-*"), key=lambda path: ("torch" not in path.name, path))


def _roots() -> Iterator[Path]:
    executable = os.environ.get("CONDA_EXE")
    if executable:
        yield Path(executable).parent.parent
    prefix = os.environ.get("MAMBA_ROOT_PREFIX")
    if prefix:
        yield Path(prefix)
    yield from (Path(root).expanduser() for root in ROOTS)


def entered(program: Path) -> dict[str, str]:
    """This process's environment, as far as it suits `program`; the conda environment it lies in is entered."""
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "VIRTUAL_ENV")}
    prefix = program.parent.parent
    if (prefix / "conda-meta").is_dir():
        env |= {"CONDA_PREFIX": str(prefix), "PATH": f"{program.parent}{os.pathsep}{env.get('PATH', '')}"}
    return env
