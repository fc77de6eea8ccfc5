"""The file of face boxes: what it says, and every way in which it can be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deploy.video.boxes import read_boxes
from deploy.video.square import Square
from model.selfblend import FaceBox
from xmodel.errors import ArtifactError, UsageError


def boxes(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value))
    return path


def test_a_box_holds_until_the_next_entry(tmp_path: Path) -> None:
    entries = [{"frame": 2, "box": [10, 20, 30, 50]}, {"frame": 5, "box": None}, {"frame": 7, "box": [0, 0, 8, 8.5]}]
    found = read_boxes(boxes(tmp_path / "b.json", {"boxes": entries, "margin": 2}))
    first = FaceBox(20, 35, 30)
    assert [found.of(n) for n in (0, 1, 2, 4, 5, 6, 7, 10**9)] == [
        None, None, first, first, None, None, FaceBox(4, 4.25, 8.5), FaceBox(4, 4.25, 8.5)
    ]  # fmt: skip
    assert found.margin == 2


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([], 'It has no list "boxes"'),
        ({"boxes": {}}, 'It has no list "boxes"'),
        ({"boxes": []}, "It holds no box"),
        ({"boxes": [{"frame": 0, "box": None}]}, "It holds no box"),
        ({"boxes": [7]}, 'Entry 0 of its boxes has no "frame"'),
        ({"boxes": [{"frame": -1, "box": None}]}, 'Entry 0 of its boxes has no "frame"'),
        ({"boxes": [{"frame": True, "box": None}]}, 'Entry 0 of its boxes has no "frame"'),
        ({"boxes": [{"frame": 0}]}, 'or no "box"'),
        ({"boxes": [{"frame": 0, "box": [1, 2, 3]}]}, r"the box \[1, 2, 3\], not four numbers or null"),
        ({"boxes": [{"frame": 0, "box": [1, 2, 3, "x"]}]}, "not four numbers"),
        ({"boxes": [{"frame": 0, "box": [0, 0, 1e300, 1]}]}, "not four numbers"),
        ({"boxes": [{"frame": 0, "box": [5, 5, 5, 9]}]}, "must be greater"),
        ({"boxes": [{"frame": 3, "box": None}, {"frame": 3, "box": None}]}, "for frame 3, after one for frame 3"),
        ({"boxes": [{"frame": 0, "box": [0, 0, 9, 9]}], "margin": 0.2}, 'Its "margin" is 0.2'),
        ({"boxes": [{"frame": 0, "box": [0, 0, 9, 9]}], "margin": "wide"}, "Its \"margin\" is 'wide'"),
    ],
)
def test_what_is_wrong_is_told(value: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=told):
        read_boxes(boxes(tmp_path / "b.json", value))


def test_no_file_and_no_json(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Cannot read"):
        read_boxes(tmp_path / "none.json")
    (tmp_path / "b.json").write_bytes(b'{"boxes": [NaN')
    with pytest.raises(ArtifactError, match="not valid JSON"):
        read_boxes(tmp_path / "b.json")
    (tmp_path / "b.json").write_text('{"boxes": [{"frame": 0, "box": [0, 0, NaN, 3]}]}')
    with pytest.raises(ArtifactError, match="not four numbers"):
        read_boxes(tmp_path / "b.json")


def test_the_square_around_a_face() -> None:
    assert Square.around(FaceBox(100, 80, 50), 200, 150) == Square(65, 45, 70, 70)
    assert Square.around(FaceBox(100, 80, 500), 200, 150) == Square(25, 5, 150, 150)
    assert Square.around(FaceBox(0, 0, 50), 200, 150) == Square(-35, -35, 70, 70)
    assert Square.around(FaceBox(-1, 80, 50), 200, 150) is None
    assert Square.around(FaceBox(100, 150, 50), 200, 150) is None
    assert Square.around(FaceBox(100, 80, 5), 200, 150) is None
    assert Square.centre(200, 150) == Square(25, 0, 150, 150)


def test_what_sticks_out_of_the_frame_is_mirrored() -> None:
    import numpy as np

    frame = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    padded = np.pad(frame, ((2, 0), (0, 3), (0, 0)), "symmetric")
    np.testing.assert_array_equal(Square(5, -2, 6, 6).cut(frame), padded[:6, 5:11])
    np.testing.assert_array_equal(Square(1, 2, 4, 4).cut(frame), frame[2:6, 1:5])
    assert Square(5, -2, 6, 6).inside(8, 6) == (0, 5, 4, 8)
