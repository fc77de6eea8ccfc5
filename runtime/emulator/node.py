"""One op with its operands' tensors, and checked access to its attributes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from xmodel.errors import ArtifactError
from xmodel.graph import Op, Tensor

FIX_POINT_LIMIT = 32  # spec: fix positions are small; anything beyond is a damaged file
MAX_WINDOW = 512  # pixels along a side; real windows are below 128, images that are pooled whole below this
MAX_ELEMENTS = 1 << 28  # of one tensor and one image; a larger one is a damaged file, not a network


@dataclass(frozen=True, slots=True)
class Node:
    """`op` and, in operand order, the tensors it reads."""

    op: Op
    inputs: tuple[Tensor, ...]

    @property
    def output(self) -> Tensor:
        """The tensor that the op makes."""
        return self.op.output

    @property
    def image(self) -> tuple[int, int, int, int]:
        """N, H, W, C of the first input. Raises `ArtifactError` when it is no image."""
        shape = self.inputs[0].shape
        if len(shape) != 4:
            raise self.error(f"needs an NHWC input, but {self.inputs[0].name!r} is {list(shape)}")
        return (shape[0], shape[1], shape[2], shape[3])

    def error(self, what: str) -> ArtifactError:
        """An error that names the op: `raise node.error("has ...")`."""
        return ArtifactError(f"Op {self.op.name!r} of type {self.op.type!r} {what}.")

    def need(self, condition: bool, what: str) -> None:
        """Raise `ArtifactError` with `what` unless `condition` holds."""
        if not condition:
            raise self.error(what)

    def fix_point(self, index: int) -> int:
        """Fix position of input `index`."""
        return self._fix_point(self.inputs[index])

    @property
    def fix_out(self) -> int:
        """Fix position of the output."""
        return self._fix_point(self.output)

    def _fix_point(self, tensor: Tensor) -> int:
        value = tensor.get("fix_point")
        if not isinstance(value, int) or abs(value) > FIX_POINT_LIMIT:
            raise self.error(f"needs a fix_point within ±{FIX_POINT_LIMIT} on tensor {tensor.name!r}, not {value}")
        return value

    def ints(
        self, name: str, count: int, low: int, high: int, default: tuple[int, ...] | None = None
    ) -> tuple[int, ...]:
        """A vector attribute of `count` integers within [low, high]."""
        value = self.op.get(name, default)
        if (
            not isinstance(value, tuple | list)
            or len(value) != count
            or not all(isinstance(v, int) and low <= v <= high for v in value)
        ):
            raise self.error(f"needs {name!r} as {count} integers within [{low}, {high}], not {value!r}")
        return tuple(value)

    def integer(self, name: str, low: int, high: int, default: int | None = None) -> int:
        """An integer attribute within [low, high]."""
        value = self.op.get(name, default)
        if not isinstance(value, int) or not low <= value <= high:
            raise self.error(f"needs {name!r} as an integer within [{low}, {high}], not {value!r}")
        return int(value)

    def real(self, name: str, default: float | None = None) -> float:
        """A finite float attribute."""
        value = self.op.get(name, default)
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise self.error(f"needs {name!r} as a finite number, not {value!r}")
        return float(value)

    def choice(self, name: str, allowed: tuple[str, ...], default: str | None = None) -> str:
        """A string attribute, upper-cased, that is one of `allowed`."""
        value = str(self.op.get(name, default)).upper()
        if value not in allowed:
            raise self.error(f"has {name!r} {self.op.get(name, default)!r}; known are {', '.join(map(repr, allowed))}")
        return value

    def axis(self, name: str = "axis", default: int | None = None) -> int:
        """An axis of the output, counted from the front."""
        rank = max(len(self.output.shape), len(self.inputs[0].shape) if self.inputs else 0)
        return self.integer(name, -rank, rank - 1, default) % rank

    def shape_is(self, *dims: int) -> None:
        """Raise `ArtifactError` unless the output has this shape (batch aside)."""
        self.need(
            self.output.shape[1:] == dims[1:] and len(self.output.shape) == len(dims),
            f"computes {list(dims[1:])} an image, but its tensor says {list(self.output.shape)}",
        )


def broadcasts(node: Node) -> None:
    """Raise `ArtifactError` unless the inputs broadcast to the output's shape."""
    try:
        shape = np.broadcast_shapes(*(tensor.shape for tensor in node.inputs))
    except ValueError:
        shape = ()
    node.need(
        shape == node.output.shape,
        f"takes {[list(tensor.shape) for tensor in node.inputs]}, which do not make {list(node.output.shape)}",
    )


def fits(node: Node, *sides: int) -> None:
    """Raise `ArtifactError` when an intermediate image of these sides would be larger than any real one."""
    node.need(math.prod(sides) <= MAX_ELEMENTS, f"needs an intermediate image of {list(sides)}")


def flag(node: Node, name: str, default: bool = False) -> bool:
    """A boolean attribute."""
    value: Any = node.op.get(name, default)
    return bool(value)
