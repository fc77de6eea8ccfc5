"""A quantized graph small enough to compute by hand: data > fix > relu > fix on four values."""

from __future__ import annotations

import numpy as np

from xmodel.graph import Array, Graph, Op, Tensor, attrs

VALUES = (0.3, 1.6, -2.0, 200.0)
SHAPE = (1, 1, 1, 4)
# What both fixes together give with the input at position 0 and the result at position -1.
QUANTIZED = (0.0, 2.0, 0.0, 128.0)


def image() -> Array:
    """NHWC (1, 1, 1, 4)."""
    return np.array(VALUES, np.float32).reshape(SHAPE)


def _op(name: str, type_: str, *sources: str, **values: int) -> Op:
    return Op(name, type_, {"input": sources} if sources else {}, attrs(**values), Tensor(name, SHAPE))


def float_form() -> Graph:
    """x > r."""
    return Graph("Hand", (_op("x", "data"), _op("r", "relu", "x"))).with_attrs(return_ops=["r"])


def quantized_form() -> Graph:
    """x > x_fix (position 0) > r > r_fix (position -1)."""
    ops = (
        _op("x", "data"),
        _op("x_fix", "fix", "x", fix_point=0),
        _op("r", "relu", "x_fix"),
        _op("r_fix", "fix", "r", fix_point=-1),
    )
    return Graph("Hand", ops).with_attrs(return_ops=["r_fix"])
