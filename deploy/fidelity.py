"""How close a quantized network's outputs are to the float one's, whatever they mean; top-1 where labels are known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deploy.arrays import load_array
from xmodel.errors import ArtifactError, UsageError
from xmodel.graph import Graph

if TYPE_CHECKING:
    from quantize.execute import Executor


@dataclass(slots=True)
class _Output:
    """Sums over all images of one output."""

    name: str
    signal: float = 0.0
    noise: float = 0.0
    largest: float = 0.0

    def add(self, real: NDArray[Any], fake: NDArray[Any]) -> None:
        difference = fake.astype(np.float64) - real
        self.signal += float(np.square(real, dtype=np.float64).sum())
        self.noise += float(np.square(difference).sum())
        self.largest = max(self.largest, float(np.abs(difference).max(initial=0.0)))

    def data(self) -> dict[str, Any]:
        known = self.noise > 0 and self.signal > 0
        sqnr = 10 * float(np.log10(self.signal / self.noise)) if known else None
        return {"name": self.name, "sqnr": sqnr, "max_error": self.largest}


@dataclass(slots=True)
class _Top1:
    """How often the right class wins, over all labelled images."""

    graph: Graph
    output: int
    images: int = 0
    float_right: int = 0
    quantized_right: int = 0
    same: int = 0

    def add(self, label: int, real: Sequence[NDArray[Any]], fake: Sequence[NDArray[Any]]) -> None:
        a, b = (winner(results[self.output], self.graph, self.output) for results in (real, fake))
        self.images += 1
        self.float_right += a == label
        self.quantized_right += b == label
        self.same += a == b

    def data(self) -> dict[str, Any]:
        n = self.images
        return {
            "float": self.float_right / n,
            "quantized": self.quantized_right / n,
            "same": self.same / n,
            "images": n,
        }


def fidelity(
    float_graph: Graph,
    quantized: Graph,
    images: Iterable[tuple[int, NDArray[np.float32]]],
    labels: Sequence[int | None] | None = None,
) -> dict[str, Any]:
    """Run both graphs on (index, NCHW float32) batches of one image.

    Per output: `sqnr` in dB (None without noise or without signal) and the largest absolute error. With
    `labels`, by index, `top1` has the share of right classes of both. Raises `UsageError` for labels that no
    output can be compared with.
    """
    from quantize.execute import Executor

    forms = Executor(float_graph), Executor(quantized)
    outputs = [_Output(op.name) for op in float_graph.outputs]
    top1 = None if labels is None else _Top1(float_graph, class_output(float_graph))
    seen = 0
    for index, image in images:
        laid = image.transpose(0, 2, 3, 1) if image.ndim == 4 else image
        real, fake = (_outputs(form, laid) for form in forms)
        for output, a, b in zip(outputs, real, fake, strict=True):
            output.add(a, b)
        seen += 1
        label = labels[index] if labels is not None else None
        if top1 is not None and label is not None:
            top1.add(label, real, fake)
    found = top1.data() if top1 is not None and top1.images else None
    return {"images": seen, "outputs": [output.data() for output in outputs], "top1": found}


def _outputs(form: Executor, image: NDArray[np.float32]) -> list[NDArray[Any]]:
    results = form.run(image)
    return [results[op.name] for op in form.graph.outputs]


def class_output(graph: Graph) -> int:
    """The output that holds class scores: the first with one row an image."""
    for index, op in enumerate(graph.outputs):
        if len(op.output.shape) == 2:
            return index
    shapes = ", ".join(str(list(op.output.shape)) for op in graph.outputs)
    raise UsageError(
        f"Labels need an output with one row of class scores an image; the network gives {shapes}.",
        hint="Leave --labels out: the outputs are then compared as numbers.",
    )


def winner(row: NDArray[Any], graph: Graph, index: int) -> int:
    """The class of one image: the largest score, or of a single one whether it says yes."""
    values = row.reshape(-1)
    if len(values) > 1:
        return int(values.argmax())
    return int(values[0] > (0.5 if graph.outputs[index].type in ("sigmoid", "hard-sigmoid") else 0.0))


def read_class_labels(path: Path, count: int) -> list[int | None]:
    """Class indices, one an image, from a `.npy` file of whole numbers (n,) or (n, 1); a negative one is unknown.

    Raises `ArtifactError` for another kind of array and `UsageError` when there are not `count` of them or more.
    """
    array = load_array(path)
    flat = array.reshape(-1) if array.ndim == 2 and array.shape[1] == 1 else array
    if flat.ndim != 1 or flat.dtype.kind not in "iu":
        raise ArtifactError(
            f"These labels are {array.dtype} {array.shape}; whole numbers of shape (images,) are needed.",
            where=str(path),
            hint="Save class indices: numpy.save(path, labels.astype(numpy.int64)).",
        )
    if len(flat) < count:
        raise UsageError(f"There are {len(flat)} labels for {count} images.", where=str(path))
    return [None if value < 0 else int(value) for value in flat[:count]]
