"""Runs an application as Python would, with Unmask's modules where it looks for the vendor's."""

from __future__ import annotations

import os
import re
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType, TracebackType

import numpy as np

from runtime.dropin.child import announce
from runtime.dropin.session import current
from xmodel.errors import UnmaskError, UsageError

MODULES = Path(__file__).parent / "modules"
ROOT = Path(__file__).parents[2]
MOST_BYTES = 64 << 20  # of an application's main file
# Packages of this repository. An application's own modules of these names must come first, and it must not find
# `model`, for one, because Unmask has imported it. What runs the networks stays loaded under its full names.
OURS = ("arch", "benchmarks", "compile", "deploy", "model", "quantize", "runtime", "tests", "xmodel")
_UNUSED = ("benchmarks.", "deploy.", "model.", "quantize.", "tests.")

# Names that numpy had for Python's own types until 1.24: applications of that time use them.
_FORMER = {"bool": bool, "complex": complex, "float": float, "int": int, "object": object, "str": str}

# An import of what runs networks, wherever in the file: it may come after the graph was read.
_RUNS = re.compile(rb"^[ \t]*(?:import|from)[ \t][^#\n]*\b(?:vart|vitis_ai_library|pynq_dpu)\b", re.MULTILINE)


def launch(app: Path, arguments: Sequence[str]) -> int:
    """Run `app`, a Python file or a folder with `__main__.py`, as the main program; returns its exit code.

    The process is the application's from here on: `sys.argv`, `sys.path`, `sys.modules` and `__main__` are changed for
    good. Its own exceptions are printed as Python does, and give 1. Raises `UsageError` for a file that cannot be
    read, and the `UnmaskError` that ended the application, after printing where in it that happened; one that ended a
    thread of it is printed and gives its exit code when the application ends with 0.
    """
    main = app / "__main__.py" if app.is_dir() else app
    try:
        with main.open("rb") as stream:
            source = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"Cannot read this application: {error.strerror}.", where=str(main)) from error
    if len(source) > MOST_BYTES:
        raise UsageError(f"This is no Python program: it has more than {MOST_BYTES} bytes.", where=str(main))
    file = os.path.abspath(main)  # noqa: PTH100 - like Python's own: links stay in __file__, not in sys.path[0]
    died: list[UnmaskError] = []
    module = _become(app, file, arguments)
    _watch_threads(file, died)
    current().runs |= bool(_RUNS.search(source))
    code = _run(source, file, module)
    return code or next((int(error.exit_code) for error in died), 0)


def _become(app: Path, file: str, arguments: Sequence[str]) -> ModuleType:
    """The application's main module, with the interpreter's state as it expects it."""
    import runtime.dropin.runner  # noqa: F401 - loaded while the names are still ours

    withdraw()
    announce(current().kernels)
    sys.path[:0] = [str(Path(file).resolve().parent), str(MODULES)]
    if str(ROOT) not in sys.path:
        sys.path.append(str(ROOT))
    sys.argv = [str(app), *arguments]
    module = ModuleType("__main__")
    module.__dict__.update(__file__=file, __builtins__=__builtins__, __cached__=None)
    sys.modules["__main__"] = module
    return module


def withdraw() -> None:
    """Give our packages' names to the application, and numpy's former ones back; what is loaded stays so."""
    vars(np).update({name: kind for name, kind in _FORMER.items() if name not in vars(np)})
    for name in list(sys.modules):
        if name in OURS or name.startswith(_UNUSED):
            del sys.modules[name]


def _run(source: bytes, file: str, module: ModuleType) -> int:
    try:
        exec(compile(source, file, "exec", dont_inherit=True), module.__dict__)
    except SystemExit as end:
        return _code(end.code)
    except UnmaskError as error:
        print(_frames(error.__traceback__, file), file=sys.stderr, end="")
        raise
    except BaseException as error:
        error.__traceback__ = _within(error.__traceback__, file)
        sys.excepthook(type(error), error, error.__traceback__)
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _code(code: object) -> int:
    """What Python makes of `sys.exit(code)`: an int is passed through, anything else is printed."""
    if code is None or isinstance(code, int):
        return int(code or 0)
    print(code, file=sys.stderr)
    return 1


def _within(trace: TracebackType | None, file: str) -> TracebackType | None:
    """The traceback from the application's first frame on; all of it goes when there is none (a syntax error)."""
    while trace is not None and trace.tb_frame.f_code.co_filename != file:
        trace = trace.tb_next
    return trace


def _frames(trace: TracebackType | None, file: str) -> str:
    """Where in the application something happened, without Unmask's own frames."""
    ours = [str(ROOT / name) for name in ("arch", "compile", "runtime", "xmodel")]
    found = traceback.extract_tb(_within(trace, file) or trace)
    kept = [frame for frame in found if not frame.filename.startswith(tuple(f"{folder}/" for folder in ours))]
    return "".join(["Traceback (most recent call last):\n", *traceback.format_list(kept)])


def _watch_threads(file: str, died: list[UnmaskError]) -> None:
    """Note an `UnmaskError` that ends a thread of the application: on the card's software the process would end."""
    usual = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if isinstance(args.exc_value, UnmaskError):
            died.append(args.exc_value)
            name = args.thread.name if args.thread is not None else "a thread"
            shown = _frames(args.exc_traceback, file)
            print(f"Exception in thread {name}:\n{shown}Error: {args.exc_value}", file=sys.stderr)
        else:
            usual(args)

    threading.excepthook = hook
