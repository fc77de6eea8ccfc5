"""Read a `torch.export` program from a file of unknown origin, without running code that the file may carry."""

from __future__ import annotations

import io
import json
import logging
import math
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from quantize.capture import scope
from xmodel.errors import ArtifactError, UsageError

MAX_BYTES = 4 << 30
_MAX_DEPTH = 200  # of nested JSON; a program's own has about 15
# Loading turns these strings into identifiers of generated code and evaluates size expressions, so that
# anything beyond plain names, the known operator libraries and plain arithmetic is code in disguise.
_NAME = re.compile(r"[A-Za-z_]\w*(\.\w+)*|")
_TARGET = re.compile(r"torch\.ops\.\w+(\.\w+)+|_operator\.\w+|math\.\w+|torch\.sym_\w+")
_SYMBOL = re.compile(r"Symbol\('\w{1,40}'")
_SIZE = re.compile(r"[\w\s,()=+\-/*]*")
_WORDS = frozenset({
    "Symbol", "Integer", "Add", "Mul", "Max", "Min", "FloorDiv", "CeilDiv", "CleanDiv", "Mod", "PythonMod",
    "True", "False", "None", "positive", "integer", "negative", "nonnegative", "real", "finite",
})  # fmt: skip
_HINT = "Save it with torch.export.save of PyTorch 2.6 or later, from a model made of plain tensors."


def read_program(path: Path) -> ExportedProgram:
    """The program that `torch.export.save` wrote to `path`.

    `torch.export.load` alone would run code hidden in a file: pickled objects, compiled libraries, size
    expressions that are evaluated. Such files are refused before it sees them. Raises `UsageError` where
    there is no such file and `ArtifactError` where it is damaged or carries more than a program and tensors.
    """
    try:
        data = _read(path)
        with silenced(), zipfile.ZipFile(io.BytesIO(data)) as archive:
            _vet(_members(archive, len(data)), len(data))
            return torch.export.load(io.BytesIO(data))
    except UsageError:
        raise
    except ArtifactError as error:
        raise ArtifactError(error.what, where=str(path), hint=error.hint or _HINT) from error
    except zipfile.BadZipFile as error:
        raise ArtifactError(
            "This is no torch.export program, or it is cut off.", where=str(path), hint=_HINT
        ) from error
    except Exception as error:  # damaged bytes lead the readers to any exception
        raise ArtifactError(
            f"This torch.export program cannot be read: {_first_line(error)}", where=str(path), hint=_HINT
        ) from error


def class_name(program: ExportedProgram) -> str | None:
    """The class of the module that was exported, or None where the program does not say."""
    stacks = (scope(node) for node in program.graph.nodes if node.op == "call_function")
    return next((stack[0][0] for stack in stacks if stack), None)


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ArtifactError(f"This file of {size} bytes is too large for a program; at most {MAX_BYTES} are read.")
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"Cannot read this program: {error.strerror}.", where=str(path)) from error


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, bytes]:
    """Every entry, its common top folder taken off."""
    entries = archive.infolist()
    # torch.export.save stores without compression, so anything that unpacks to more is no program.
    if sum(entry.file_size for entry in entries) > size:
        raise ArtifactError("This archive unpacks to more than its own size.")
    if len({entry.filename for entry in entries}) != len(entries):
        raise ArtifactError("This archive holds two entries of one name.")
    tops = {entry.filename.partition("/")[0] for entry in entries}
    prefix = f"{tops.pop()}/" if len(tops) == 1 else ""
    return {entry.filename.removeprefix(prefix): archive.read(entry) for entry in entries}


def _vet(members: Mapping[str, bytes], size: int) -> None:
    """Raise `ArtifactError` unless `members` are one program of plain tensors."""
    if "serialized_exported_program.json" in members:
        raise ArtifactError("This program has the format of PyTorch 2.7 and earlier, which keeps it in pickles.")
    if "models/model.json" not in members:
        raise ArtifactError("There is no torch.export program named 'model' in this archive.")
    compiled = next((name for name in members if name.startswith("data/aotinductor/")), None)
    if compiled is not None:
        raise ArtifactError(f"This archive carries compiled code ({compiled}), which is not loaded.")
    pickled = [name for name in members if name.endswith(".pt") and members[name]]
    for name in pickled:
        _vet_pickle(name, members[name])
    for kind in ("weights", "constants"):
        name = f"data/{kind}/model_{kind}_config.json"
        if name not in members:
            raise ArtifactError(f"{name} is missing from this archive.")
        _vet_tensors(name, json.loads(members[name]), members, size)
    _vet_model(json.loads(members["models/model.json"]))


def _vet_pickle(name: str, content: bytes) -> None:
    try:
        torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        # Its text is not passed on: it advises to load without `weights_only`, which runs code from the file.
        raise ArtifactError(f"{name} in this archive holds pickled objects other than tensors.") from error


def _vet_tensors(name: str, content: Any, members: Mapping[str, bytes], size: int) -> None:
    """Every entry is a plain tensor, whose values are in the archive and not larger than it."""
    for key, entry in content["config"].items():
        record, meta = str(entry["path_name"]), entry["tensor_meta"]
        if entry["use_pickle"] or not re.fullmatch(r"(weight|tensor)_\d+", record):
            raise ArtifactError(f"{key!r} in {name} is a pickled object, which is not loaded.")
        if f"{name.rpartition('/')[0]}/{record}" not in members:
            raise ArtifactError(f"The values of {key!r} are missing from this archive.")
        if math.prod(int(dimension["as_int"]) for dimension in meta["sizes"]) > size:
            raise ArtifactError(f"{key!r} would be larger than the whole archive.")


def _vet_model(content: Any) -> None:
    for key, text in _strings(content, ""):
        if key in ("target", "as_operator"):
            if not _TARGET.fullmatch(text):
                raise ArtifactError(f"This program calls {text[:80]!r}, which is no operator of PyTorch.")
        elif key == "expr_str":
            _vet_size(text)
        elif key in ("name", "as_name", "forward_arg_names", "field_names", "(key)") and not _NAME.fullmatch(text):
            raise ArtifactError(f"This program holds the name {text[:80]!r}, which is no identifier.")


def _vet_size(text: str) -> None:
    plain = _SYMBOL.sub("Symbol(", text)
    words = set(re.findall(r"[A-Za-z_]\w*", plain))
    strange = [word for word in words if word not in _WORDS and not re.fullmatch(r"[suz]\w{0,3}\d+", word)]
    if len(text) > 1000 or "**" in plain or not _SIZE.fullmatch(plain) or strange:
        raise ArtifactError(f"This program has the dynamic size {text[:80]!r}, which is not understood.")


def _strings(value: Any, key: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Every string of a JSON value that loading may use as code, with its key; "(key)" for keys of tables of values."""
    if depth > _MAX_DEPTH:
        raise ArtifactError("This program is nested too deeply.")
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item, key, depth + 1)
    elif isinstance(value, dict):
        for name, item in value.items():
            if key.endswith("_values") or key == "treespec_namedtuple_fields":
                yield "(key)", name
            if name != "metadata":  # comments: source lines and module paths
                yield from _strings(item, name, depth + 1)


@contextmanager
def silenced() -> Iterator[None]:
    """Keep what torch.export logs for those who maintain PyTorch off the user's screen."""
    log = logging.getLogger("torch")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__
