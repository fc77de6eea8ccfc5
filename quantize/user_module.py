"""A network from a Python file of the user's: `file.py:Class`, run in a namespace of its own."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from quantize.program import silenced
from xmodel.errors import UnmaskError, UsageError


def split(text: str) -> tuple[Path, str]:
    """("net.py", "Net") of "net.py:Net". Raises `UsageError`."""
    path, separator, name = text.rpartition(":")
    if not separator or not path or not name.isidentifier():
        raise UsageError(f"{text!r} does not name a class in a file.", hint="Write --module net.py:Net.")
    return Path(path), name


@contextmanager
def beside(path: Path) -> Iterator[None]:
    """Let the user's file import its neighbours, as `python file.py` would, and tell where in it an error arose.

    An exception that the user's file raised becomes a `UsageError` with the file and line; a `UsageError`
    without a place gets it. All others pass.
    """
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        with silenced(), redirect_stdout(sys.stderr):  # what the user's file prints is no result
            yield
    except UsageError as error:
        line = _line(error.__cause__, path) if error.__cause__ else ""
        raise UsageError(error.what, where=error.where or line or str(path), hint=error.hint) from error
    except UnmaskError:
        raise
    except (Exception, SystemExit) as error:
        line = _line(error, path)
        if not line:
            raise
        raise UsageError(f"Your file raised {type(error).__name__}: {error}".rstrip(": ") + ".", where=line) from error
    finally:
        sys.path.remove(folder)


def load_module(path: Path, name: str, seed: int = 0) -> nn.Module:
    """Run the file and make its class (or call its function) `name`: a module in evaluation mode.

    Random initial weights are those of `seed`. Call it inside `beside`. Raises `UsageError` for a file,
    class or constructor that does not do; whatever the file itself raises passes through.
    """
    namespace = _run(path)
    found = getattr(namespace, name, None)
    if found is None or not callable(found) or (inspect.isclass(found) and not issubclass(found, nn.Module)):
        what = "is no torch.nn.Module" if found is not None else "is not there"
        raise UsageError(f"The class {name!r} {what}.", where=str(path), hint=_choices(namespace))
    needed = _required(found)
    if needed:
        raise UsageError(
            f"{name!r} needs the arguments {', '.join(needed)}, which cannot be given here.",
            where=str(path),
            hint=f"Add a function that makes it, such as: def make(): return {name}({needed[0]}=...) "
            f"and name that: --module {path.name}:make.",
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = found()
    if not isinstance(module, nn.Module):
        raise UsageError(f"{name!r} gave a {type(module).__name__}, not a torch.nn.Module.", where=str(path))
    return module.eval()


def _run(path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError("There is no such Python file.", where=str(path))
    name = f"unmask_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise UsageError("This is not a Python file: its name must end in .py.", where=str(path))
    namespace = importlib.util.module_from_spec(spec)
    sys.modules[name] = namespace  # dataclasses and torch.export look the module of a class up here
    try:
        code = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except OSError as error:
        raise UsageError(f"Cannot read this file: {error.strerror}.", where=str(path)) from error
    except (SyntaxError, ValueError) as error:
        line = f":{error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        text = error.msg if isinstance(error, SyntaxError) else str(error)
        raise UsageError(f"This file is not valid Python: {text}.", where=f"{path}{line}") from error
    exec(code, vars(namespace))
    return namespace


def _choices(namespace: ModuleType) -> str:
    own = [
        name
        for name, value in vars(namespace).items()
        if inspect.isclass(value) and issubclass(value, nn.Module) and value.__module__ == namespace.__name__
    ]
    return f"The file defines: {', '.join(own)}." if own else "The file defines no torch.nn.Module."


def _required(function: Any) -> list[str]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def _line(error: BaseException, path: Path) -> str:
    """The last line of the user's file that `error` passed through, as "net.py:12"."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == path.resolve()]
    return f"{path}:{lines[-1]}" if lines else ""
