"""The import directions that docs/design.md promises, read from its table."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DESIGN = (ROOT / "docs/design.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(\w+)/` \| .+ \| (.+) \|$", DESIGN, flags=re.MULTILINE)
MAY_IMPORT = {folder: set(re.findall(r"\w+", allowed)) for folder, allowed in ROWS}
TORCH = ("model/", "quantize/", "runtime/emulator/torch_")


def _modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def _imports(node: ast.AST) -> Iterator[str]:
    """Absolute names imported anywhere in `node`, function bodies included, type-checking blocks excluded."""
    if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
        yield node.module
    for child in ast.iter_child_nodes(node):
        yield from _imports(child)


def _imported_packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in _imports(ast.parse(path.read_text(encoding="utf-8")))}


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_table_names_every_package() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert set(MAY_IMPORT) == packages == {"arch", "xmodel", "model", "quantize", "compile", "runtime", "deploy"}


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_follow_the_table(folder: str) -> None:
    forbidden = (set(MAY_IMPORT) | {"tests", "benchmarks"}) - MAY_IMPORT[folder] - {folder}
    for path in _modules(folder):
        assert not _imported_packages(path) & forbidden, path.relative_to(ROOT)


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_torch_is_imported_only_where_allowed(folder: str) -> None:
    for path in _modules(folder):
        if "torch" in _imported_packages(path):
            assert path.relative_to(ROOT).as_posix().startswith(TORCH), path.relative_to(ROOT)


def test_the_command_starts_without_torch() -> None:
    _run("import sys, deploy.command; assert 'torch' not in sys.modules")


def test_what_is_not_built_on_torch_works_where_it_is_missing() -> None:
    paths = [path for folder in ("arch", "xmodel", "compile", "runtime") for path in _modules(folder)]
    names = [_name(path) for path in paths if not path.name.startswith("torch_")]
    assert len(names) > 10
    _run(f"import importlib, sys; sys.modules['torch'] = None\nfor name in {names}: importlib.import_module(name)")
