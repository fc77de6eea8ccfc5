"""Graphs as Graphviz text, and as pictures where Graphviz's `dot` is installed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from xmodel import artifact
from xmodel.errors import UnavailableError, UsageError

if TYPE_CHECKING:
    from runtime.dropin.op import Op

_FORMATS = ("png", "svg", "pdf", "jpg", "gif")
_SECONDS = 600


def text(name: str, ops: Iterable[Op]) -> str:
    """One node an op, with its type and its output; one edge for each op it reads."""
    lines = [f"digraph {_quoted(name)} {{", "  node [shape=box];"]
    for op in ops:
        tensor = op.get_output_tensor()
        shown = f"{op.get_name()}\n{op.get_type()}\n{tensor.dtype} {tensor.dims}"
        lines.append(f"  {_quoted(op.get_name())} [label={_quoted(shown)}];")
        for argument, sources in op.get_input_ops().items():
            lines += (
                f"  {_quoted(source.get_name())} -> {_quoted(op.get_name())} [label={_quoted(argument)}];"
                for source in sources
            )
    return "\n".join([*lines, "}", ""])


def save(path: str | PathLike[str], content: str) -> None:
    """Write a Graphviz text."""
    artifact.write_text(Path(path), content)


def picture(path: str | PathLike[str], content: str, form: str) -> None:
    """Draw a Graphviz text. Raises `UnavailableError` without Graphviz, `UsageError` for a format there is not."""
    if form.lower() not in _FORMATS:
        raise UsageError(f"There is no picture format {form!r} here.", hint=f"Known are {', '.join(_FORMATS)}.")
    program = shutil.which("dot")
    if program is None:
        raise UnavailableError(
            "Drawing a graph takes Graphviz, whose program `dot` is not on the PATH.",
            hint="Install the package graphviz, or use save_as_dot.",
        )
    try:
        command = [program, f"-T{form.lower()}"]
        done = subprocess.run(command, input=content.encode(errors="replace"), capture_output=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"Graphviz did not draw the graph in {_SECONDS} s.", hint="Use save_as_dot.") from error
    if done.returncode:
        raise UnavailableError(f"Graphviz cannot draw the graph: {done.stderr.decode(errors='replace')[-200:]}")
    artifact.write_bytes(Path(path), done.stdout)


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
