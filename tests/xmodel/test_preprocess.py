from __future__ import annotations

from typing import Any

import pytest

from xmodel import file
from xmodel.errors import ArtifactError
from xmodel.graph import Graph, Op, Tensor, attrs
from xmodel.preprocess import Preprocessing


def _graph(shape: tuple[int, ...] = (1, 24, 32, 3)) -> Graph:
    values = attrs(shape=list(shape), data_type="FLOAT32")
    return Graph("net", (Op("input", "data", {}, values, Tensor("input", shape)),))


def test_it_survives_a_file() -> None:
    spec = Preprocessing(32, 24, color_order="BGR", mean=(0.5, 0.25, 0.0), scale=(2.0, 1.0, 0.5))
    assert Preprocessing.load(file.loads(file.dumps(spec.store(_graph())))) == spec


def test_a_graph_without_it_takes_plain_rgb_at_its_inputs_size() -> None:
    assert Preprocessing.load(_graph()) == Preprocessing(32, 24)


@pytest.mark.parametrize("graph", [Graph("empty", ()), _graph((1, 10)), _graph((1, 24, 32, 1))])
def test_a_graph_that_takes_no_image_is_refused(graph: Graph) -> None:
    with pytest.raises(ArtifactError, match="takes no 3-channel NHWC image"):
        Preprocessing.load(graph)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": 31}, r"asks for 31x24 images but its input is \[1, 24, 32, 3\]"),
        ({"color_order": "GRB"}, "colour order 'GRB'"),
        ({"interpolation": "cubic"}, "interpolation 'cubic'"),
        ({"mean": [0.0, 1.0]}, "damaged preprocessing"),
        ({"scale": [1.0, float("nan"), 1.0]}, "must be finite"),
        ({"width": "wide"}, "damaged preprocessing"),
        ({"mean": 1.0}, "damaged preprocessing"),
    ],
)
def test_values_that_make_no_sense_are_refused(values: dict[str, Any], message: str) -> None:
    graph = _graph().with_attrs(**{f"preprocess_{name}": value for name, value in values.items()})
    with pytest.raises(ArtifactError, match=message):
        Preprocessing.load(graph)


def test_an_image_size_has_a_limit() -> None:
    with pytest.raises(ArtifactError, match="asks for 9000x24"):
        Preprocessing.load(_graph((1, 24, 9000, 3)))
