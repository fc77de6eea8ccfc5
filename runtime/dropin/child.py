"""Processes that an application starts by itself, afresh (multiprocessing's spawn): they run the same files."""

from __future__ import annotations

import importlib
import os
import sys
from typing import get_args

from runtime.dropin.session import Session
from runtime.emulator.program import KernelChoice

VARIABLE = "UNMASK_EXEC_KERNELS"


def announce(kernels: KernelChoice) -> None:
    """Tell processes that this one starts what to run with. `sys.path` reaches them through multiprocessing."""
    os.environ[VARIABLE] = kernels


def inherited() -> Session | None:
    """A session like that of the process that started this one; None where no application did."""
    kernels = os.environ.get(VARIABLE)
    if kernels not in get_args(KernelChoice):
        return None
    import runtime.dropin.runner  # noqa: F401 - loaded while the names are ours
    from runtime.dropin.launch import OURS, ROOT, withdraw

    own = {name: module for name, module in sys.modules.items() if name.split(".")[0] in OURS and _foreign(name)}
    for name in own:
        del sys.modules[name]
    sys.path.insert(0, str(ROOT))
    try:
        # By name: the command knows the parts that this package may not, such as reading the vendor's parameters.
        session: Session = importlib.import_module("deploy.application").session(kernels, _say)
    finally:
        sys.path.remove(str(ROOT))
        withdraw()
        sys.modules.update(own)
    return session


def _foreign(name: str) -> bool:
    """Whether a module that has one of our names is the application's."""
    from runtime.dropin.launch import ROOT

    return not str(getattr(sys.modules[name], "__file__", None)).startswith(f"{ROOT}{os.sep}")


def _say(text: str) -> None:
    print(text, file=sys.stderr)
