"""Hypothesis strategies that every kernel set is tried on: layers and inputs that tie and saturate."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st

from runtime.emulator.layer import Layer
from runtime.emulator.spec import Activation, Convolution, Window
from xmodel.graph import Array

quick = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
ACTIVATIONS = [
    Activation(),
    Activation("RELU"),
    Activation("RELU6"),
    Activation("RELU6", None),
    Activation("LEAKYRELU"),
    Activation("HSIGMOID", hsigmoid_in=3, shift_hsigmoid=10),
    Activation("HSWISH", hsigmoid_in=4, shift_hsigmoid=11, shift_hswish=8),
]


def integers(draw: Any, shape: tuple[int, ...], low: int) -> Array:
    """int8 values: all over the range, only its ends, or only small ones, which tie."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["uniform", "ends", "small"]))
    if kind == "ends":
        return random.choice(np.array([low, 127], np.int8), shape)
    top = 128 if kind == "uniform" else 3
    return random.integers(max(low, -top), top, shape).astype(np.int8)


@st.composite
def layers(draw: Any) -> tuple[Layer, Array]:
    transposed, depthwise = draw(st.booleans()), draw(st.sampled_from([False, False, True]))
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    if transposed and draw(st.booleans()):
        stride, pad, dilation = kernel, (0, 0, 0, 0), (1, 1)
    else:
        stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
        dilation = (1, 1) if transposed else draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
        pad = draw(st.tuples(*(st.integers(0, kernel[i // 2] - 1) for i in range(4))))
        if draw(st.booleans()):
            pad = (pad[0], pad[0], pad[2], pad[2])
    window = Window(kernel, stride, dilation, pad)
    height, width, made, given_ = (draw(st.integers(1, n)) for n in (9, 9, 40, 20))
    if transposed:
        sizes = [
            (size - 1) * stride[a] + kernel[a] - pad[2 * a] - pad[2 * a + 1] for a, size in enumerate((width, height))
        ]
    else:
        sizes = [window.outputs(axis, size) for axis, size in enumerate((width, height))]
    assume(min(sizes) > 0)
    start, stop = sorted(draw(st.tuples(st.integers(0, made), st.integers(0, made))))
    x = integers(draw, (draw(st.integers(1, 2)), height, width, made), -128)
    x[..., :start] &= 127
    x[..., stop:] &= 127
    shape = (1, kernel[1], kernel[0], made) if depthwise else (given_, kernel[1], kernel[0], made)
    weights = integers(draw, shape, -128)
    bias = integers(draw, (made if depthwise else given_,), -128) if draw(st.booleans()) else None
    spec = Convolution(
        window, depthwise, transposed, (sizes[1], sizes[0]), draw(st.integers(-9, 12)), draw(st.integers(-4, 16)),
        draw(st.sampled_from(ACTIVATIONS)),
    )  # fmt: skip
    return Layer(spec, weights, bias, height, width, slice(start, stop)), x
