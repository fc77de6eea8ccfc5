"""Ops of an application's own: a class in `vart_op_imp/<type>.py`, as the vendor's custom op flow has it for Python.

The class takes the op (`xir.Op`) and has `calculate(output, input)`: tensor buffers, a list for each argument.
"""

from __future__ import annotations

import importlib
import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from runtime.dropin.op import Op
from runtime.dropin.tensor_buffer import TensorBuffer
from xmodel.errors import ArtifactError
from xmodel.graph import Array

CustomOp = Callable[[Mapping[str, Sequence[Array]], Array], None]
_PACKAGE = "vart_op_imp"


def custom(op: Op) -> CustomOp:
    """The application's implementation of `op`. Raises `ArtifactError` where it has none."""
    kind = op.get_type()
    try:
        made = getattr(importlib.import_module(f"{_PACKAGE}.{kind}"), kind)(op)
    except ModuleNotFoundError as error:
        if error.name not in (_PACKAGE, f"{_PACKAGE}.{kind}"):
            raise
        raise ArtifactError(
            f"Op {op.get_name()!r} has type {kind!r}, which the emulator does not know.",
            hint=f"Put a class {kind} with calculate(output, input) into {_PACKAGE}/{kind}.py beside the application, "
            "or run the DPU subgraphs alone.",
        ) from None

    lock = threading.Lock()  # the application's class need not expect several jobs at a time

    def run(inputs: Mapping[str, Sequence[Array]], output: Array) -> None:
        def buffer(tensor: Any, array: Array) -> TensorBuffer:
            return TensorBuffer.over(tensor, array)

        given = {
            name: [buffer(t, array) for t, array in zip(op.get_input_tensors_by_name(name), arrays, strict=True)]
            for name, arrays in inputs.items()
        }
        with lock:
            _call(made.calculate, buffer(op.get_output_tensor(), output), given)

    return run


def _call(calculate: Callable[..., object], output: TensorBuffer, given: Mapping[str, list[TensorBuffer]]) -> None:
    """By name, as the arguments may be in any order; by place where the application names them otherwise."""
    try:
        inspect.signature(calculate).bind(output=output, **given)
    except TypeError:
        calculate(output, *given.values())
    else:
        calculate(output=output, **given)
