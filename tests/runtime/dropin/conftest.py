"""The vendor's names for tests, and applications run in this process as `unmask exec` runs them."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploy import application
from runtime.dropin import child, session
from runtime.dropin.launch import MODULES

APPS = Path(__file__).parent / "apps"
Run = Callable[..., int]


@dataclass
class Names:
    """The drop-in modules, untyped as an application sees them."""

    xir: Any
    vart: Any
    library: Any


@contextmanager
def _interpreter() -> Iterator[None]:
    """Put back what an application changes of the interpreter."""
    before, modules, hook = session.current(), dict(sys.modules), threading.excepthook
    path, argv, folder, numpy = list(sys.path), list(sys.argv), Path.cwd(), set(vars(np))
    told = os.environ.pop(child.VARIABLE, None)
    try:
        yield
    finally:
        os.chdir(folder)
        session.use(before)
        sys.path[:], sys.argv[:] = path, argv
        threading.excepthook = hook
        os.environ.pop(child.VARIABLE, None)
        os.environ.update({} if told is None else {child.VARIABLE: told})
        for name in set(vars(np)) & {"bool", "complex", "float", "int", "object", "str"} - numpy:
            delattr(np, name)
        for name in set(sys.modules) - set(modules):
            origin = str(getattr(sys.modules[name], "__file__", "") or "")
            if name.split(".")[0] in ("xir", "vart", "vitis_ai_library", "vart_op_imp") or "/test_" in origin:
                del sys.modules[name]
        sys.modules.update(modules)


@pytest.fixture
def names() -> Iterator[Names]:
    """`xir`, `vart` and `vitis_ai_library` by their names, on the reference kernels."""
    with _interpreter():
        session.use(application.session("reference", lambda text: None))
        sys.path.insert(0, str(MODULES))
        yield Names(*(importlib.import_module(name) for name in ("xir", "vart", "vitis_ai_library")))


@pytest.fixture
def run() -> Run:
    """`run(app, *arguments, notes=[])`: the exit code of an application in `apps` or anywhere else."""

    def run_(app: str | Path, *arguments: object, kernels: Any = "auto", notes: list[str] | None = None) -> int:
        with _interpreter():
            note = (notes if notes is not None else []).append
            return application.run(APPS / app, [str(a) for a in arguments], kernels, note)

    return run_
