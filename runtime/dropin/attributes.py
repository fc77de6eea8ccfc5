"""Attributes as XIR's Python interface shows them: plain values out, the owner's kinds in."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from xmodel.attributes import KINDS
from xmodel.errors import UsageError
from xmodel.file import OP_DEFS
from xmodel.graph import Attr

_HIDDEN = (OP_DEFS,)  # in a file it is no attribute
_UINT64 = ("dpu_fingerprint", "workload", "workload_on_arch")
_INTEGER_BITS = {"int32": (31, 1), "uint32": (32, 0), "int64": (63, 1), "uint64": (64, 0)}


class Attributed:
    """What graphs, subgraphs, ops and tensors share: attributes by name.

    Values are `bool`, `int`, `float`, `str`, `bytes`, lists of them, and dictionaries from `str`. A map to byte
    strings (`reg_id_to_parameter_value`) reads as None, as with the vendor's module.
    """

    def __init__(self, attrs: Mapping[str, Attr] | None = None) -> None:
        self._attrs: dict[str, Attr] = dict(attrs or {})

    def _title(self) -> str:
        """How an error names the owner."""
        return f"This {type(self).__name__.lower()}"

    def inline(self) -> str:
        """The same within a sentence."""
        title = self._title()
        return title[0].lower() + title[1:]

    def _changed(self) -> None:
        """Called after every change."""

    def _kind(self, name: str) -> str | None:
        """The kind that the owner's definition, or every file that a compiler wrote, prescribes for an attribute."""
        return "uint64" if name in _UINT64 else None

    def _defaults(self) -> Mapping[str, Attr]:
        """Attributes that the owner has although nobody set them."""
        return {}

    def _stored(self) -> dict[str, Attr]:
        """Every attribute that a file or an application set."""
        return {name: attr for name, attr in self._attrs.items() if name not in _HIDDEN}

    def stored_attrs(self) -> dict[str, Attr]:
        """What was set, with kinds, what applications do not see included."""
        return dict(self._attrs)

    def restore_attrs(self, attrs: Mapping[str, Attr]) -> None:
        """Replace all attributes by those of a file, kinds and all."""
        self._attrs = dict(attrs)

    def has_attr(self, name: str) -> bool:
        """Whether there is an attribute `name`."""
        return name in self._stored() or name in self._defaults()

    def get_attr(self, name: str) -> Any:
        """The value of attribute `name`. Raises `UsageError` where there is none (the vendor's module aborts)."""
        attr = self._stored().get(name) or self._defaults().get(name)
        if attr is None:
            known = sorted({**self._defaults(), **self._stored()})
            near = difflib.get_close_matches(str(name), known, n=1)
            raise UsageError(
                f"{self._title()} has no attribute {name!r}.",
                hint=(f"Did you mean {near[0]!r}? " if near else "")
                + f"Ask has_attr first; on the card's software this ends the process. It has {known}.",
            )
        return plain(attr)

    def get_attrs(self) -> dict[str, Any]:
        """All attributes by name."""
        return {name: plain(attr) for name, attr in {**self._defaults(), **self._stored()}.items()}

    def set_attr(self, name: str, value: Any) -> None:
        """Set attribute `name`: in the kind of its definition or of the value it replaces, else of the value's type.

        One whose name begins with "__" is not written to a file (format fact: libxir does the same).
        Raises `TypeError` for a value that XIR has no kind for, or whose kind is prescribed and another.
        """
        if not isinstance(name, str) or name in _HIDDEN:
            raise TypeError(f"{self._title()} cannot have an attribute called {name!r}.")
        kind = self._kind(name)
        try:
            if kind is None and name in self._attrs:
                self._attrs[name] = _like(value, self._attrs[name].kind)
            else:
                self._attrs[name] = typed(value, kind)
        except TypeError as error:
            raise TypeError(f"Attribute {name!r} of {self.inline()}: {error}") from None
        self._changed()

    def set_attrs(self, attrs: Mapping[str, Any]) -> None:
        """Replace all attributes."""
        for name in self._stored():
            del self._attrs[name]
        for name, value in attrs.items():
            self.set_attr(name, value)
        self._changed()


def plain(attr: Attr) -> Any:
    """The Python value of an attribute: lists for vectors, `bytes` for byte strings, None for maps to byte strings."""
    if attr.kind == "map_string_2_bytes":
        return None
    if isinstance(attr.value, Mapping):
        return {key: _item(value) for key, value in attr.value.items()}
    return _item(attr.value)


def _item(value: Any) -> Any:
    if isinstance(value, memoryview):
        return value.tobytes()
    return [_item(item) for item in value] if isinstance(value, tuple | list) else value


def _like(value: Any, kind: str) -> Attr:
    """In the kind that was there, where the value fits it."""
    try:
        return typed(value, kind)
    except TypeError:
        return typed(value)


def typed(value: Any, kind: str | None = None) -> Attr:
    """`value` as an attribute of `kind`, or of the kind that its type suggests. Raises `TypeError`."""
    if isinstance(value, Attr):
        return value
    value = _python(value, kind)
    chosen = kind or _suggested(value)
    try:
        if chosen not in KINDS:
            raise TypeError
        return Attr(chosen, _converted(value, chosen))
    except (TypeError, ValueError, OverflowError, AttributeError):
        wanted = f"an attribute of kind {kind}" if kind else "an XIR attribute"
        shown = f"{value!r:.80}" if isinstance(value, str | int | float | list | tuple | dict) else type(value).__name__
        raise TypeError(f"{shown} cannot be {wanted}.") from None


def _python(value: Any, kind: str | None) -> Any:
    """numpy's scalars and arrays, sets and byte arrays as Python's own types."""
    if isinstance(value, np.ndarray):
        return np.ascontiguousarray(value).tobytes() if kind == "bytes" else value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if isinstance(value, list | tuple):
        return [_python(item, None) for item in value]
    if isinstance(value, Mapping):
        return {key: _python(item, None) for key, item in value.items()}
    return value


def _suggested(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"map_string_2_{_common(list(value.values())) if value else 'string'}"
    if isinstance(value, list):
        return f"{_common(value)}_vec" if value else "int32_vec"
    return _common([value])


def _common(values: Sequence[Any]) -> str:
    """The kind that holds every one of `values`; "" when there is none."""
    if all(isinstance(value, list) for value in values):
        return f"{_common([item for value in values for item in value] or [0])}_vec"
    if all(isinstance(value, bool) for value in values):
        return "bool"
    if all(isinstance(value, int) for value in values):
        low, high = min(values), max(values)
        for kind in ("int32", "int64", "uint64"):
            bits, signed = _INTEGER_BITS[kind]
            if -signed << bits <= low and high < 1 << bits:
                return kind
        return ""
    for types, kind in (((int, float), "float"), ((str,), "string"), ((bytes,), "bytes")):
        if all(isinstance(value, types) for value in values):
            return kind
    return ""


def _converted(value: Any, kind: str) -> Any:
    """`value` checked to be of `kind`; raises whatever Python does where it is not."""
    if kind.startswith("map_string_2_"):
        inner = kind.removeprefix("map_string_2_")
        return {_converted(key, "string"): _converted(item, inner) for key, item in value.items()}
    if kind.endswith("_vec"):
        if not isinstance(value, list | tuple):
            raise TypeError
        return tuple(_converted(item, kind.removesuffix("_vec")) for item in value)
    if kind in _INTEGER_BITS:
        bits, signed = _INTEGER_BITS[kind]
        whole = int(value)
        if isinstance(value, str) or whole != value or not -signed << bits <= whole < 1 << bits:
            raise TypeError
        return whole
    types, convert = _PLAIN[kind]
    if not isinstance(value, types):
        raise TypeError
    return convert(value)


_PLAIN: dict[str, tuple[tuple[type, ...], Callable[[Any], Any]]] = {
    "bool": ((bool, int), bool),
    "float": ((int, float), float),
    "double": ((int, float), float),
    "string": ((str,), str),
    "bytes": ((bytes,), bytes),
}
