"""Saved output of the card tools: files under any names, each recognised by what is in it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from deploy.card import (
    complaints,
    parse_examine,
    parse_flash,
    parse_json,
    parse_kernel,
    parse_legacy,
    parse_lspci,
    parse_query,
    parse_validate,
)
from deploy.card.facts import Evidence, Fact, Source, Unreadable, gathered
from deploy.card.packed import loss, unpacked
from deploy.card.text import MOST_BYTES, MOST_LINES, decoded, parts
from xmodel.errors import UsageError

MOST_FILES = 1000  # of a folder; support cases have dozens
# What every output of a card tool has somewhere; looking for it once spares the readers all other files.
_MARKS = re.compile(
    r"xbutil|xbmgmt|xilinx|10ee:|\"devices\"|logical_devices|schema_version|\bXRT\b|loader|Thermals|Electrical|"
    r"Pcie Info|Firewall|Platform|Validat|Devices present|devices found|ERROR: |[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]|"
    r"Found (?:total )?\d+ card|System Configuration|\"(?:temp_C|volts|amps|location_id|is_present)\"",
    re.IGNORECASE,
)
# A member of a JSON object outside of any, or a first line that belongs under another: the beginning is not there.
_MEMBER = re.compile(r"^\s*\"[\w-]{1,60}\"\s*:\s*[\"{\[]")
_INNER = re.compile(r"^\s+[^\s{\[].{0,60}?:\s")
_TEXT = (parse_lspci, parse_flash, parse_validate, parse_legacy, parse_query, parse_examine, parse_kernel, complaints)


def facts_of(data: bytes, file: str) -> list[Fact]:
    """Every fact in one file's bytes; [] when no card tool wrote it. Never raises for what is in it."""
    text = decoded(data[:MOST_BYTES])
    if text is None or not _MARKS.search(text):
        return []
    taken = parts(text)
    found = [fact for document in taken.documents for fact in parse_json.facts_of(document, file)]
    for reader in _TEXT:
        found += reader.facts_of(taken.lines, file)
    for reason, beginning in taken.broken:
        if parse_json.is_card_json(beginning):
            found.append(Unreadable(Source(file, "xbutil", "JSON"), "", reason))
    first = next((line for line in taken.lines if line.strip()), "")
    if (found and _INNER.match(first)) or (not taken.broken and any(map(_MEMBER.match, taken.lines))):
        found.append(Unreadable(Source(file, "xbutil"), "", "its beginning is missing"))
    if found and (taken.cut or len(data) > MOST_BYTES):
        limit = f"{MOST_BYTES >> 20} MiB or {MOST_LINES} lines"
        found.append(Unreadable(Source(file, "xbutil"), "", f"the file is longer than {limit}"))
    return found


def from_files(files: Iterable[tuple[str, bytes]]) -> Evidence:
    """The evidence in `files`, pairs of a name and the bytes."""
    facts: list[Fact] = []
    names: list[str] = []
    unrecognised: list[str] = []
    for name, data in files:
        found = facts_of(data, name)
        facts += found
        names.append(name)
        if not found and (why := loss(name, data)):
            facts.append(Unreadable(Source(name, "file"), "", why))
        elif not found:
            unrecognised.append(name)
    return gathered(facts, names, unrecognised)


def from_folder(path: Path) -> Evidence:
    """The evidence in a folder and the folders in it, or in one file. Raises `UsageError` when it cannot be read."""
    return from_files(files_of(path))


def files_of(path: Path) -> Iterator[tuple[str, bytes]]:
    """Names and bytes of the files in a folder, each up to a bound, or of one file. Raises `UsageError`."""
    if not path.exists():
        raise UsageError(
            "There is no such folder of saved output.",
            where=str(path),
            hint="`unmask card check --save FOLDER` on the machine with the card writes one.",
        )
    inside = _inside(path)
    if len(inside) > MOST_FILES:
        raise UsageError(
            f"This folder holds {len(inside)} files; no more than {MOST_FILES} are read.",
            where=str(path),
            hint="Give the folder of one card's saved output.",
        )
    names = [file.name if file == path else os.fspath(file.relative_to(path)) for file in inside]
    for file, name in zip(inside, names, strict=True):
        try:
            with file.open("rb") as stream:
                plain, data = unpacked(name, stream.read(MOST_BYTES + 1), MOST_BYTES + 1)
                yield name if plain in names else plain, data
        except OSError as error:
            raise UsageError(f"Cannot read this file: {error.strerror}.", where=str(file)) from error


def _inside(path: Path) -> list[Path]:
    """The files in the order of their names. Raises `UsageError` for folders that cannot be listed,
    such as one in another in another until their names are longer than the system takes."""
    try:
        return [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    except (OSError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or "folders too deep in each other"
        raise UsageError(f"Cannot list this folder: {reason}.", where=str(path)) from error
