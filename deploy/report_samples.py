"""What the quantization report measures on: which crops, and how their results are judged."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deploy.batches import Reader
from deploy.crops import Crop
from deploy.fidelity import class_output, winner
from deploy.judge import Judge
from deploy.predictions import Prediction
from deploy.roles import Roles, roles
from model import metrics
from runtime.preprocess import to_float
from xmodel.errors import ArtifactError
from xmodel.graph import Array, Graph
from xmodel.preprocess import Preprocessing

if TYPE_CHECKING:
    from quantize.sensitivity import Metric

LAYER_IMAGES = 4  # over which ranges and ratios are taken: every layer's tensors of two networks, one image at a time


@dataclass(frozen=True, slots=True)
class Samples:
    """What the report measures on: NHWC float32 (1, ...) images, of which the first `LAYER_IMAGES` give the layers'
    statistics and the first `ranked` the ranking (0: none); `metric` judges outputs, None: by their noise alone."""

    images: Sequence[Array]
    ranked: int
    metric: Metric | None = None


def from_crops(crops: Sequence[Crop], graph: Graph, judge: Judge, ranked: int) -> Samples:
    """Samples from readable `crops`, taken evenly from every class that `judge` knows a label for."""
    spec = Preprocessing.load(graph)
    chosen = Reader(choose(crops, judge, max(ranked, LAYER_IMAGES)), spec)
    read = [(taken[0], to_float(batch, spec)) for taken, batch in chosen.batches(1)]
    images = [image for _, image in read]
    try:
        found = roles(graph)
    except ArtifactError:  # no detector with a mask: its outputs are compared as numbers
        return Samples(images, ranked)
    metric = DetectorMetric(graph, found, judge, tuple(crop for crop, _ in read))
    return Samples(images, ranked, metric if metric.known() else None)


def from_images(
    images: Iterable[tuple[int, NDArray[np.float32]]], graph: Graph, labels: Sequence[int | None] | None, ranked: int
) -> Samples:
    """Samples from (index, NCHW float32 (1, ...)) images of any network, with class `labels` by index."""
    taken = list(images)
    arrays = [image.transpose(0, 2, 3, 1) if image.ndim == 4 else image for _, image in taken]
    if labels is None:
        return Samples(arrays, ranked)
    known = tuple(labels[index] for index, _ in taken)
    return Samples(arrays, ranked, ClassMetric(graph, class_output(graph), known))


def choose(crops: Sequence[Crop], judge: Judge, count: int) -> list[Crop]:
    """At most `count` of `crops`: the classes take turns, each spread evenly over its crops."""
    groups: dict[int | None, list[Crop]] = defaultdict(list)
    for crop in crops:
        groups[judge.labels.of(crop) if judge.labels else None].append(crop)
    share = max(1, -(-count // max(1, len(groups))))
    spread = [group[:: max(1, -(-len(group) // share))] for _, group in sorted(groups.items(), key=lambda g: str(g[0]))]
    turns = [group[turn] for turn in range(max(map(len, spread), default=0)) for group in spread if turn < len(group)]
    return turns[:count]


@dataclass(frozen=True, slots=True)
class DetectorMetric:
    """Accuracy, AUC and mask IoU of a detector over `crops`, as far as `judge` knows labels and true masks."""

    graph: Graph
    roles: Roles
    judge: Judge
    crops: tuple[Crop, ...]

    def known(self) -> bool:
        """Whether there is anything to score with."""
        return self.judge.masks is not None or self.judge.labels is not None

    def record(self, index: int, outputs: Sequence[Array]) -> Prediction:
        """The prediction for crop `index`."""
        named = dict(zip((op.name for op in self.graph.outputs), outputs, strict=True))
        p_real = self.roles.p_real(named[self.roles.score.name])
        return self.judge.judge(self.crops[index], named[self.roles.mask.name][0], float(p_real[0]))[0]

    def score(self, records: Sequence[Prediction]) -> dict[str, float | None]:
        """Accuracy, AUC and the mean IoU over forged crops; None where no crop tells."""
        known = [p for p in records if p.label is not None]
        truth = np.array([p.label for p in known], np.int64)
        ious = [p.iou for p in records if p.iou is not None and p.marked]
        both = len(np.unique(truth)) > 1
        return {
            "accuracy": metrics.accuracy(truth, [p.verdict for p in known]) if known else None,
            "AUC": metrics.auc(truth, [p.p_real for p in known]) if both else None,
            "mask IoU": float(np.mean(ious)) if ious else None,
        }


@dataclass(frozen=True, slots=True)
class ClassMetric:
    """Top-1 accuracy of output number `output` against class indices, None for an unknown one."""

    graph: Graph
    output: int
    labels: tuple[int | None, ...]

    def record(self, index: int, outputs: Sequence[Array]) -> bool | None:
        """Whether image `index` got the right class."""
        label = self.labels[index]
        return None if label is None else winner(outputs[self.output], self.graph, self.output) == label

    def score(self, records: Sequence[bool | None]) -> dict[str, float | None]:
        """The share of right classes."""
        known = [record for record in records if record is not None]
        return {"top-1": float(np.mean(known)) if known else None}


def noise(quantized: Graph, float_graph: Graph, crops: Sequence[Crop]) -> list[dict[str, Any]]:
    """Per quantized tensor, over the first `LAYER_IMAGES` crops: fix point, SQNR in dB (None: no noise or no
    signal), share of the int8 range in use, share of saturated values."""
    from quantize.analyze import analyze

    reader = Reader(crops[:LAYER_IMAGES], Preprocessing.load(quantized))
    images = (to_float(batch, reader.spec) for _, batch in reader.batches(1))
    return [
        {
            "name": layer.name,
            "type": layer.type,
            "source": layer.source,
            "fix_point": layer.fix_point,
            "sqnr": layer.sqnr_db if math.isfinite(layer.sqnr_db) else None,
            "used": layer.used,
            "saturated": layer.saturated / layer.count,
        }
        for layer in analyze(quantized, float_graph, images)
    ]
