"""Preprocessing is part of the model: its description, carried in a graph's attributes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from xmodel.errors import ArtifactError
from xmodel.graph import Attr, Graph

_PREFIX = "preprocess_"
MAX_SIDE = 8192


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a decoded 8-bit image becomes the network's real-valued input.

    real = (pixel / 255 - mean) * scale, per channel in `color_order`; `width` and `height` in
    pixels; `interpolation` is "bilinear" (OpenCV INTER_LINEAR, half-pixel centres).
    """

    width: int
    height: int
    color_order: Literal["RGB", "BGR"] = "RGB"
    interpolation: Literal["bilinear"] = "bilinear"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def store(self, graph: Graph) -> Graph:
        """`graph` with this description in its attributes."""
        values: dict[str, Any] = {
            "width": self.width,
            "height": self.height,
            "color_order": self.color_order,
            "interpolation": self.interpolation,
            "mean": [float(v) for v in self.mean],
            "scale": [float(v) for v in self.scale],
        }
        return graph.with_attrs(**{_PREFIX + key: value for key, value in values.items()})

    @staticmethod
    def load(graph: Graph) -> Preprocessing:
        """Read it back; a graph without it is taken to be plain RGB in [0, 1] at the input's size.

        Raises `ArtifactError` for values that make no sense.
        """
        found: Mapping[str, Attr] = {
            name.removeprefix(_PREFIX): attr for name, attr in graph.attrs.items() if name.startswith(_PREFIX)
        }
        shape = graph.inputs[0].output.shape if graph.inputs else ()
        if len(shape) != 4 or shape[3] != 3:
            raise ArtifactError(f"Graph {graph.name!r} takes no 3-channel NHWC image: its input is {list(shape)}.")
        try:
            value = Preprocessing(
                width=int(found["width"].value) if "width" in found else shape[2],
                height=int(found["height"].value) if "height" in found else shape[1],
                color_order=cast(Any, str(found["color_order"].value) if "color_order" in found else "RGB"),
                interpolation=cast(Any, str(found["interpolation"].value) if "interpolation" in found else "bilinear"),
                mean=_three(found.get("mean"), 0.0),
                scale=_three(found.get("scale"), 1.0),
            )
        except (TypeError, ValueError) as error:
            raise ArtifactError(f"Graph {graph.name!r} carries damaged preprocessing attributes: {error}.") from error
        if (value.height, value.width) != tuple(shape[1:3]) or not 0 < max(shape[1:3]) <= MAX_SIDE:
            raise ArtifactError(
                f"Graph {graph.name!r} asks for {value.width}x{value.height} images but its input is {list(shape)}."
            )
        if value.color_order not in ("RGB", "BGR") or value.interpolation != "bilinear":
            raise ArtifactError(
                f"Graph {graph.name!r} asks for colour order {value.color_order!r} and "
                f"interpolation {value.interpolation!r}, which are not known."
            )
        return value


def _three(attr: Attr | None, default: float) -> tuple[float, float, float]:
    if attr is None:
        return (default, default, default)
    a, b, c = (float(v) for v in attr.value)
    if not all(v - v == 0 for v in (a, b, c)):
        raise ValueError("mean and scale must be finite")
    return (a, b, c)
