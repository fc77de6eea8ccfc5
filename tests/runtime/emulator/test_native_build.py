"""The native library: built once, found by its sources, never loaded damaged; without it everything runs on torch."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from runtime.emulator.native import build, library, native_selftest
from runtime.emulator.native.library import Isa, Library, NotBuiltError
from runtime.emulator.program import Program
from tests.runtime.emulator.native import needs_compiler
from tests.runtime.emulator.networks import Builder
from xmodel.errors import UnavailableError, UsageError
from xmodel.graph import Graph


def small() -> Graph:
    net = Builder("small")
    net.conv(net.data(4, 4, 3), 5)
    return net.graph()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder in which the library is looked for."""
    monkeypatch.setenv("UNMASK_NATIVE", str(tmp_path))
    native_selftest._verified.cache_clear()
    yield tmp_path
    native_selftest._verified.cache_clear()


def copy_library(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("UNMASK_NATIVE")
    built = build.build()
    monkeypatch.setenv("UNMASK_NATIVE", str(folder))
    shutil.copy(built.with_suffix(".sha256"), folder)
    return Path(shutil.copy(built, folder))


@needs_compiler
def test_auto_takes_the_native_kernels_where_they_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = copy_library(folder, monkeypatch)
    assert build.find() == path and build.build() == path
    program = Program(small(), "auto")
    assert program.kernels == "native" and program.notes == ()


def test_auto_takes_torch_without_a_word_where_nothing_was_built(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert Program(small(), "auto").kernels == "torch" and not caplog.text
    with pytest.raises(NotBuiltError, match="not built"):
        library.load(Isa.AMX)
    with pytest.raises(UnavailableError, match=r"native kernels cannot be used.*not built.*make setup"):
        Program(small(), "native")


@needs_compiler
@pytest.mark.parametrize("damage", ["cut", "changed", "no hash"])
def test_a_damaged_library_is_told_of_and_never_loaded(
    damage: str, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = copy_library(folder, monkeypatch)
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "changed":
        path.write_bytes(content[:5000] + b"\xff" + content[5001:])
    else:
        path.with_suffix(".sha256").unlink()
    program = Program(small(), "auto")
    assert program.kernels == "torch"
    assert "is damaged" in program.notes[0] and "passed over" in caplog.text
    with pytest.raises(UnavailableError, match="is damaged"):
        Program(small(), "native")


@needs_compiler
def test_an_inexact_library_is_passed_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    copy_library(folder, monkeypatch)
    monkeypatch.setattr(Library, "concat", lambda self, axis, shifts, inputs: np.concatenate(inputs, axis))
    program = Program(small(), "auto")
    assert program.kernels == "torch" and "are not exact on this machine" in program.notes[0]


@needs_compiler
@pytest.mark.parametrize(("name", "isa"), [("portable", Isa.PORTABLE), ("AVX2", Isa.AVX2), ("", Isa.AMX)])
def test_the_instruction_set_can_be_capped(name: str, isa: Isa, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy_library(folder, monkeypatch)
    monkeypatch.setenv("UNMASK_ISA", name)
    assert native_selftest.verified().isa <= isa


def test_an_instruction_set_that_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNMASK_ISA", "sse9")
    with pytest.raises(UsageError, match=r"UNMASK_ISA names no instruction set: 'sse9'\. Known are portable, avx2"):
        library.limit()


def test_without_a_compiler_it_says_so_in_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("PATH", str(folder))
    assert build.main() == 0
    said = capsys.readouterr().out
    assert said.startswith("Native kernels: There is no C++ compiler here") and said.count("\n") == 1


def test_what_the_compiler_says_against_it_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = folder / "c++"
    compiler.write_text("#!/bin/sh\necho 'x.cpp:1: error: no such thing' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    with pytest.raises(UnavailableError, match=r"could not be compiled by .*x\.cpp:1: error: no such thing"):
        build.build()
    assert not list(folder.glob("*.so"))


def test_a_compiler_that_makes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "true")
    with pytest.raises(UnavailableError, match="it said nothing"):
        build.build()


def test_other_flags_make_another_library() -> None:
    assert build.key() != build.key(build.MODEL)


@needs_compiler
def test_a_file_that_is_no_library(tmp_path: Path) -> None:
    path = tmp_path / "native.so"
    path.write_bytes(b"not a library")
    with pytest.raises(UnavailableError, match="cannot be loaded"):
        Library(path)
