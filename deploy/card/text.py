"""Bytes of unknown origin as clean text, and numbers as tools and languages write them."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

MOST_BYTES = 2 << 20  # of one file; card tools write some kilobytes
MOST_LINES = 40_000
_LONGEST = 4000  # characters of a line
_BEGINNING = 5000  # characters of a broken JSON document
_MOST_DOCUMENTS = 200  # JSON documents in one file
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]{0,500}(?:\x07|\x1b\\)?|[()][0-9A-Za-z]|[=>78cDEHMN])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_JSON_START = re.compile(r"^[ \t]*\{(?=\s*[\"}])", re.MULTILINE)
_NUMBER = re.compile(
    r"\s*([-+]?(?:\d{1,3}(?:[' \u00a0\u202f]\d{3}){1,4}|\d{1,16})?(?:[.,]\d{0,16}){0,5}(?:[eE][-+]?\d{1,3})?)"
    r"\s*([^\d\s.,].{0,20})?\s*"
)


def decoded(data: bytes) -> str | None:
    """`data` as text with \\n line ends and without escape sequences, whatever encoding it has; None for binary.

    Knows UTF-8 and UTF-16 with and without their marks. Bytes that fit no encoding become U+FFFD.
    """
    encoding = _encoding(data[:4096])
    if encoding is None:
        return None
    text = _ESCAPES.sub("", data.decode(encoding, "replace").replace("\ufeff", ""))
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\u0085", "\n")
    return _CONTROLS.sub("", text)


def _encoding(head: bytes) -> str | None:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    even, odd = head[0::2].count(0), head[1::2].count(0)
    half = max(1, len(head) // 2)
    if even + odd == 0:
        return "utf-8"
    if odd > 0.6 * half and even < 0.1 * half:
        return "utf-16-le"
    if even > 0.6 * half and odd < 0.1 * half:
        return "utf-16-be"
    return "utf-8" if even + odd < 0.02 * len(head) else None


@dataclass(frozen=True, slots=True)
class Parts:
    """One file taken apart: its JSON documents, its lines of text, and what looked like JSON and is not whole."""

    documents: tuple[Any, ...]
    lines: tuple[str, ...]
    broken: tuple[tuple[str, str], ...]  # why, and how it begins
    cut: bool = False  # there are more lines than are read


def parts(text: str) -> Parts:
    """Split a file into JSON documents and text, in any order and number."""
    documents: list[Any] = []
    broken: list[tuple[str, str]] = []
    rest: list[str] = []
    at = 0
    for start, end, value in _objects(text):
        if start < at:
            continue
        rest.append(text[at:start])
        at = end
        if isinstance(value, _Broken):
            broken.append((value.reason, text[start : start + _BEGINNING]))
            rest.append(text[start:end])
        else:
            documents.append(value)
    rest.append(text[at:])
    lines = "\n".join(rest).split("\n", MOST_LINES)
    cut = len(lines) > MOST_LINES
    kept = tuple(line[:_LONGEST].rstrip() for line in lines[:MOST_LINES])
    return Parts(tuple(documents), kept, tuple(broken), cut)


@dataclass(frozen=True, slots=True)
class _Broken:
    reason: str


def _objects(text: str) -> Iterator[tuple[int, int, Any]]:
    decoder = json.JSONDecoder(object_pairs_hook=_pairs, strict=False)
    at = 0
    for _ in range(_MOST_DOCUMENTS):
        found = _JSON_START.search(text, at)
        if found is None:
            return
        start = found.end() - 1
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            # What follows cannot be told from the broken document: all of it is read as text.
            reason = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
            yield start, len(text), _Broken(f"its JSON is not whole: {reason}")
            return
        yield start, end, value
        at = end


class Twice(list[Any]):
    """All values of a name that a JSON object has more than once."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        found[name] = Twice([found[name], value]) if name in found else value
    return found


def number(value: object, unit: str = "") -> float | None:
    """A number as a tool wrote it: "12.061", "12,061", "45 C", "48Watts", 45; None for anything else.

    `unit`: letters that what follows the number must begin with, if anything follows; "" allows nothing to follow.

    >>> number("12,061 V", "V"), number("98"), number("9,140.5"), number("NA"), number("45 C", "W")
    (12.061, 98.0, 9140.5, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if not isinstance(value, str):
        return float(value) if abs(value) < 1e15 else None
    found = _NUMBER.fullmatch(value) if len(value) < 60 else None
    if found is None:
        return None
    digits, after = found.groups()
    after = (after or "").strip().lstrip("°º\ufffd").lower()
    if after and not (unit and after.startswith(unit.lower())):
        return None
    return _float(digits)


def _float(digits: str) -> float | None:
    digits = re.sub(r"[' \u00a0\u202f]", "", digits)
    last = max(digits.rfind("."), digits.rfind(","))
    if digits.count(".") + digits.count(",") > 1:
        mark = digits[last]
        if digits.count(mark) > 1:  # 1.234.567: a mark that is there twice groups digits
            digits = digits.replace(mark, "")
        else:
            digits = digits[:last].replace(".", "").replace(",", "") + "." + digits[last + 1 :]
    try:
        value = float(digits.replace(",", "."))
    except ValueError:
        return None
    return value if abs(value) < 1e15 else None


def whole(value: object) -> int | None:
    """A whole number, decimal or 0x hexadecimal; None for anything else.

    >>> whole("0x5049"), whole("8"), whole("8.5"), whole("")
    (20553, 8, None, None)
    """
    if isinstance(value, str) and re.fullmatch(r"\s*0[xX][0-9a-fA-F]{1,16}\s*", value):
        return int(value, 16)
    found = number(value)
    return int(found) if found is not None and found == int(found) else None


def flag(value: object) -> bool | None:
    """Yes or no as tools write it; None for anything else.

    >>> flag("true"), flag("No"), flag("maybe")
    (True, False, None)
    """
    word = str(value).strip().lower()
    if word in ("true", "yes", "1", "on"):
        return True
    return False if word in ("false", "no", "0", "off") else None
