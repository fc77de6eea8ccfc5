"""Self-blends: exact masks, reproducible, varied, and as hard as asked."""

from __future__ import annotations

import numpy as np
import pytest

from model.metrics import best_constant_mask
from model.selfblend import FaceBox, jpeg, random_region, self_blend
from tests.model.pictures import picture
from xmodel.errors import UsageError


def test_same_generator_state_gives_the_same_bytes() -> None:
    image = picture(1)
    before = image.copy()
    first, again = (self_blend(image, np.random.default_rng(5), 0.5) for _ in range(2))
    assert np.array_equal(image, before)
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], self_blend(image, np.random.default_rng(6), 0.5)[0])


@pytest.mark.parametrize("difficulty", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(32, 32, 3), (224, 224, 3), (90, 131, 3)])
def test_shapes_and_values(shape: tuple[int, int, int], difficulty: float) -> None:
    image = np.full(shape, 128, np.uint8)
    for seed in range(20):
        forged, mask = self_blend(image, np.random.default_rng(seed), difficulty)
        assert forged.shape == shape
        assert forged.dtype == mask.dtype == np.uint8
        assert mask.shape == shape[:2]
        assert set(np.unique(mask)) <= {0, 1}
        assert mask.any()


def contrast(difficulty: float) -> list[float]:
    """The difference between the two sides of the seam on images of one colour, for 40 draws."""
    image = np.full((128, 128, 3), (180, 120, 90), np.uint8)
    found = []
    for seed in range(40):
        forged, mask = self_blend(image, np.random.default_rng(seed), difficulty)
        found.append(float(np.abs(forged[mask == 1].mean(axis=0) - forged[mask == 0].mean(axis=0)).max()))
    return found


def test_the_two_sides_of_the_seam_differ() -> None:
    assert np.quantile(contrast(0.0), 0.1) > 8


def test_difficulty_makes_it_subtle() -> None:
    easy, medium, hard = (float(np.median(contrast(difficulty))) for difficulty in (0.0, 0.5, 1.0))
    assert easy > 1.3 * medium > 1.69 * hard > 0


def test_no_constant_mask_fits() -> None:
    image = np.full((56, 56, 3), 128, np.uint8)
    masks = np.stack([self_blend(image, np.random.default_rng(seed), 0.5)[1] for seed in range(150)])
    _, overlap = best_constant_mask(masks)
    assert overlap < 0.45
    shares = masks.mean(axis=(1, 2))
    assert np.quantile(shares, 0.1) < 0.06 < 0.25 < np.quantile(shares, 0.9)


def test_region_follows_the_face_box() -> None:
    for seed in range(30):
        region = random_region(200, 200, FaceBox(50, 150, 60), np.random.default_rng(seed))
        rows, columns = np.nonzero(region)
        assert abs(columns.mean() - 50) < 50
        assert abs(rows.mean() - 150) < 50


def test_a_face_outside_the_image_still_gives_a_mask() -> None:
    region = random_region(64, 64, FaceBox(-500, -500, 20), np.random.default_rng(0))
    assert 0.1 < region.mean() < 0.5


@pytest.mark.parametrize(
    "image",
    [np.zeros((224, 224), np.uint8), np.zeros((224, 224, 3), np.float32), np.zeros((20, 224, 3), np.uint8)],
)
def test_other_arrays_are_refused(image: np.ndarray) -> None:
    with pytest.raises(UsageError, match="Cannot self-blend an array of shape"):
        self_blend(image, np.random.default_rng(0), 0.5)


def test_jpeg_keeps_colour_order() -> None:
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    out = jpeg(red, 95).astype(int)
    assert np.abs(out - red).max() < 8
