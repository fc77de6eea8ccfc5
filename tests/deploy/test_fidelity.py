"""Float against quantized outputs: the ratio, the largest error, and who is right."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploy.fidelity import fidelity, read_class_labels
from xmodel.errors import ArtifactError, UsageError
from xmodel.graph import Graph, Op, Tensor, attrs


def _graph(*ops: tuple[str, dict[str, Any]], shape: tuple[int, ...] = (1, 4)) -> Graph:
    """A chain of one-operand ops on an input of `shape`."""
    chain = [Op("x", "data", {}, {}, Tensor("x", shape))]
    for index, (kind, values) in enumerate(ops):
        name = f"y{index}"
        chain.append(Op(name, kind, {"input": (chain[-1].name,)}, attrs(**values), Tensor(name, shape)))
    return Graph("Net", tuple(chain)).with_attrs(return_ops=[chain[-1].name])


FIX = ("fix", {"fix_point": 0, "bit_width": 8, "round_mode": "DPU_ROUND", "if_signed": True})
RELU: tuple[str, dict[str, Any]] = ("relu", {})


def _images(*rows: list[float]) -> list[tuple[int, Any]]:
    return [(index, np.array([row], np.float32)) for index, row in enumerate(rows)]


def test_ratio_and_largest_error() -> None:
    found = fidelity(_graph(RELU), _graph(RELU, FIX), _images([1.25, 0, 0, 0], [0, 2.5, 0, 3]))
    (output,) = found["outputs"]
    signal, noise = 1.25**2 + 2.5**2 + 3**2, 0.25**2 + 0.5**2
    assert output["sqnr"] == pytest.approx(10 * math.log10(signal / noise))
    assert (output["name"], output["max_error"], found["images"], found["top1"]) == ("y0", 0.5, 2, None)


def test_equal_outputs_have_no_ratio() -> None:
    assert fidelity(_graph(RELU), _graph(RELU, FIX), _images([1, 0, 0, 2]))["outputs"][0]["sqnr"] is None


def test_who_is_right() -> None:
    images = _images([0, 0.25, 0.125, 0], [3, 0, 0, 1], [1, 0, 0, 5])
    top1 = fidelity(_graph(RELU), _graph(RELU, FIX), images, [1, 0, None])["top1"]
    assert top1 == {"float": 1.0, "quantized": 0.5, "same": 0.5, "images": 2}  # 0.25 is rounded away
    assert fidelity(_graph(RELU), _graph(RELU, FIX), images, [None] * 3)["top1"] is None


def test_a_single_score_says_yes_or_no() -> None:
    logit, sigmoid = _graph(RELU, shape=(1, 1)), _graph(("sigmoid", {}), shape=(1, 1))
    for graph, right in ((logit, 1.0), (sigmoid, 1.0)):
        top1 = fidelity(graph, graph, _images([0.5], [-3.0]), [1, 0])["top1"]
        assert top1["float"] == right and top1["images"] == 2


def test_labels_without_scores() -> None:
    graph = _graph(RELU, shape=(1, 2, 2, 3))
    with pytest.raises(UsageError, match=r"one row of class scores an image; the network gives \[1, 2, 2, 3\]"):
        fidelity(graph, graph, [], [1])


def test_class_labels(tmp_path: Path) -> None:
    path = tmp_path / "labels.npy"
    np.save(path, np.array([[2], [0], [-1], [7]], np.int16))
    assert read_class_labels(path, 3) == [2, 0, None]
    with pytest.raises(UsageError, match="There are 4 labels for 5 images"):
        read_class_labels(path, 5)
    np.save(path, np.zeros(4, np.float32))
    with pytest.raises(ArtifactError, match="These labels are float32"):
        read_class_labels(path, 4)
