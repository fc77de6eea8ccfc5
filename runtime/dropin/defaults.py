"""Attributes that an op has without being given them: XIR fills optional ones in (spec: its op definitions)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from xmodel.definitions import definitions
from xmodel.graph import Attr

_EVERYWHERE: dict[str, Any] = {
    "align_corners": False, "alpha": 1.0, "aspect_ratio": (), "axis": (), "constant_values": (),
    "count_include_invalid": True, "count_include_pad": True, "dilation": (1, 1), "epsilon": 1e-12, "global": False,
    "half_pixel_centers": False, "hsigmoid_in": -128, "max_sizes": (), "nonlinear": "", "pad": (0, 0, 0, 0),
    "scale": (), "seed": 0, "seed2": 0, "shape": (0,), "shift_hsigmoid": -128, "shift_hswish": -128, "type": "ADD",
}  # fmt: skip
_OF_TYPE: dict[tuple[str, str], Any] = {
    ("depthwise-fix", "type"): "MUL",
    ("eltwise-fix", "nonlinear"): "NONE",
    ("pad-fix", "constant_values"): b"",
    ("scale", "axis"): -1,
}


@cache
def defaults(kind: str) -> Mapping[str, Attr]:
    """The optional attributes of op type `kind` with their values; none for a type that XIR does not define."""
    definition = definitions().get(kind)
    known = definition.attributes if definition is not None else ()
    found = {a.name: Attr(a.kind, _value(kind, a.name)) for a in known if a.optional}
    return MappingProxyType(found)


def _value(kind: str, name: str) -> Any:
    if "3d" in kind and name in ("pad", "dilation"):
        return (0,) * 6 if name == "pad" else (1,) * 3
    return _OF_TYPE.get((kind, name), _EVERYWHERE[name])
