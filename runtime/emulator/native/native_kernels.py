"""The native kernel set: which ops the library takes, and with what numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from runtime.emulator import reference
from runtime.emulator.layer import constant_parameters, half_steps
from runtime.emulator.native.library import MOST_SOURCES, Library, PackedConvolution, limits
from runtime.emulator.node import Node
from runtime.emulator.operations import Function, Spec
from runtime.emulator.spec import Activation, Concat, Convolution, Eltwise, Pool
from xmodel.graph import Array

SIMPLE = ("NONE", "RELU", "RELU6")


def table(activation: Activation) -> Array | None:
    """int8 results of HSIGMOID and HSWISH by the rounded int8 that they take, from -128 on; None for others."""
    if activation.name not in ("HSIGMOID", "HSWISH"):
        return None
    return reference.activate(activation, np.arange(-128, 128, dtype=np.int64), 0)


def convolution(
    library: Library, spec: Convolution, size: tuple[int, int], weights: Array, bias: Array | None, negative: Array
) -> Function | None:
    """A function of NHWC int8 images of (height, width) `size`; None when its sums could leave 32 bits."""
    made = weights.shape[3] if spec.depthwise else weights.shape[0]
    steps = half_steps(spec, made, bias)
    return library.convolution(spec, *size, weights, steps, negative, table(spec.activation))


def pool(library: Library, spec: Pool) -> Function:
    """Any window."""
    return lambda x, *_: library.pool(spec, x)


def add(library: Library, spec: Eltwise) -> Function | None:
    """ADD of equal shapes with NONE, RELU or RELU6, else None."""
    if spec.product or spec.activation.name not in SIMPLE:
        return None
    coarsest = min(spec.fix_in)
    falls, shift = [fix_point - coarsest for fix_point in spec.fix_in], coarsest - spec.fix_out + 2
    low, high = limits(spec.activation)
    return lambda *inputs: library.add(falls, shift, low, high, inputs)


def concat(library: Library, spec: Concat) -> Function:
    """Along any axis."""
    return lambda *inputs: library.concat(spec.axis, spec.rescale, inputs)


class NativeKernels:
    """Native kernels for the ops that cost time; every other op is left to the reference."""

    name = "native"

    def __init__(self, library: Library, notes: tuple[str, ...] = ()) -> None:
        self.library = library
        self.notes = notes

    def prepare(
        self, node: Node, spec: Spec | None, constants: Sequence[Array | None], nonnegative: Sequence[Array]
    ) -> Function | None:
        """A function of the operands' arrays with the reference's bytes, or None."""
        match spec:
            case Convolution():
                parameters = constant_parameters(constants)
                if parameters is None:
                    return None
                _, height, width, _ = node.image
                return convolution(self.library, spec, (height, width), *parameters, ~nonnegative[0])
            case Pool():
                return pool(self.library, spec)
            case Eltwise():
                equal = len({tensor.shape for tensor in node.inputs}) == 1
                return add(self.library, spec) if equal else None
            case Concat():
                batched = all(math.prod(tensor.shape) > 0 for tensor in node.inputs)
                return concat(self.library, spec) if batched else None
        return None

    def join(self, concat: Concat, reader: Function) -> Function | None:
        """The reader of a concatenation's inputs: a convolution takes several images' channels side by side."""
        fits = concat.axis == 3 and len(concat.rescale) <= MOST_SOURCES
        if not fits or not isinstance(reader, PackedConvolution) or not reader.joins:
            return None
        return lambda *inputs: reader.joined(concat.rescale, inputs)

    def set_threads(self, count: int) -> None:
        """How many cores the calling thread's operators may use."""
        self.library.set_threads(count)
