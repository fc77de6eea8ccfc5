"""The vendor's `-e/--options`: a table of choices. Ours keeps what changes a result and says what does not."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from compile.edit import drop_unread
from xmodel.errors import UsageError
from xmodel.graph import Graph

# spec: UG1414 3.5, chapter 4
_CODE_ONLY = ("prefetch", "hd_opt", "mode")
KNOWN = ("input_shape", "output_ops", "plugins", *_CODE_ONLY)
_LONGEST = 1 << 16


def parse_options(text: str | None) -> dict[str, str]:
    """The table in `text`: JSON, or the Python spelling that the vendor's examples use. Raises `UsageError`.

    >>> parse_options("{'mode': 'debug'}")
    {'mode': 'debug'}
    """
    if not text:
        return {}
    value: object = None
    if len(text) <= _LONGEST:
        for read in (json.loads, ast.literal_eval):
            try:
                value = read(text)
                break
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
    if not isinstance(value, Mapping) or not all(isinstance(k, str) for k in value):
        raise UsageError(
            f"--options {text[:80]!r} is no JSON table.", hint='Example: -e \'{"input_shape": "1,224,224,3"}\'.'
        )
    if not all(isinstance(v, str | int | float | bool) for v in value.values()):
        raise UsageError(f"--options {text[:80]!r} holds values that are neither text nor numbers.")
    return {key: str(v).lower() if isinstance(v, bool) else str(v) for key, v in value.items()}


def apply_options(graph: Graph, options: Mapping[str, str]) -> tuple[Graph, list[str]]:
    """`graph` as `options` want it, and notes on what has no effect here.

    `input_shape` must be that of the graph; `output_ops` names the ops whose results leave it. Raises `UsageError`
    for options that are unknown, cannot be had here, or do not fit.
    """
    unknown = [key for key in options if key not in KNOWN]
    if unknown:
        raise UsageError(f"The option {unknown[0]!r} is not known.", hint=f"Known are {', '.join(KNOWN)}.")
    if "plugins" in options:
        raise UsageError(
            "Plug-ins of the vendor's compiler cannot be loaded here.", hint="Use --backend vitis, which has them."
        )
    notes = [
        f"Option {key} changes machine code alone, which is not made here." for key in _CODE_ONLY if key in options
    ]
    if "input_shape" in options:
        _check_shape(graph, options["input_shape"])
    if "output_ops" in options:
        graph = _cut(graph, [name.strip() for name in options["output_ops"].split(",") if name.strip()])
    return graph, notes


def _check_shape(graph: Graph, text: str) -> None:
    found = [list(op.output.shape) for op in graph.inputs]
    try:
        wanted = [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"input_shape {text!r} is no list of numbers.", hint="Example: 1,224,224,3.") from None
    if wanted not in found:
        raise UsageError(
            f"input_shape {text!r} is not the graph's, whose input is {found[0] if found else 'absent'}.",
            hint="A quantized graph has a fixed size: capture the network again for another one.",
        )


def _cut(graph: Graph, outputs: Sequence[str]) -> Graph:
    missing = [name for name in outputs if name not in graph.by_name]
    if missing or not outputs:
        raise UsageError(
            f"output_ops names {missing[0]!r}, which graph {graph.name!r} does not have."
            if missing
            else "output_ops names no op."
        )
    needed: set[str] = set()
    stack = list(outputs)
    while stack:
        name = stack.pop()
        if name not in needed:
            needed.add(name)
            stack += graph.op(name).input_names
    kept = replace(graph, root=None).with_ops(op for op in graph.ops if op.name in needed)
    return drop_unread(kept.with_attrs(return_ops=list(outputs)))
