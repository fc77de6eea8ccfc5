"""Evaluation on held-out people: the numbers are those of known answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from model.evaluate import evaluate
from model.faces import FAKE, REAL, Photo
from model.heldout import answer, crops, mask_iou, real_auc
from model.uynet import UNet
from tests.model.pictures import photos
from xmodel.errors import UsageError


class Oracle(UNet):
    """Calls a crop forged, and its left half manipulated, when it is none of the `genuine` ones."""

    def __init__(self, genuine: list[bytes], size: int) -> None:
        super().__init__(2, size)
        self.genuine = genuine

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pixels = (x * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
        real = torch.tensor([[float(image.tobytes() in self.genuine)] for image in pixels])
        mask = torch.zeros(len(x), 2, *x.shape[2:])
        mask[:, 0] = 1
        mask[:, 1, :, : x.shape[3] // 2] = 2 * (1 - real)[:, :, None]
        return mask, real


@pytest.fixture(scope="module")
def people() -> list[Photo]:
    return photos(40, REAL) + photos(40, FAKE)


def test_crops_are_always_the_same(people: list[Photo]) -> None:
    first, again = (crops(people[:3], 64, forge=True) for _ in range(2))
    assert np.array_equal(first.images, again.images)
    assert first.masks.any(axis=(1, 2)).all()
    assert not crops(people[:3], 64).masks.any()
    assert not np.array_equal(first.masks, crops(people[:3], 64, forge=True, variant=1).masks)


def test_answers_do_not_depend_on_the_batch(people: list[Photo]) -> None:
    torch.manual_seed(0)
    net = UNet(2, 64).eval()
    images = crops(people[:5], 64).images
    one, all_at_once = answer(net, images, batch=1), answer(net, images, batch=5)
    np.testing.assert_allclose(one.real, all_at_once.real, rtol=1e-5)
    np.testing.assert_allclose(one.mask, all_at_once.mask, rtol=1e-4, atol=1e-5)
    assert one.mask.shape == (5, 64, 64)


def test_a_perfect_verdict(people: list[Photo]) -> None:
    genuine = [
        image.tobytes() for scale in (1.4, 2.2) for image in crops([p for p in people if p.label], 64, scale).images
    ]
    report = evaluate(Oracle(genuine, 64), people, split="train", baselines=False)
    for part in (report["tight"], report["loose"]):
        for key in ("self_blend_auc", "self_blend_auc_at_1", "fake_auc", "self_blend_accuracy", "genuine_called_real"):
            assert part[key] == {"value": 1.0, "low": 1.0, "high": 1.0}
        assert part["fired_on_genuine"]["value"] == 0.0
        assert part["mask_iou"]["low"] <= part["mask_iou"]["value"] <= part["mask_iou"]["high"]
        assert 0 < part["mask_iou"]["value"] < part["constant_mask_iou"] + 0.1
        assert "baselines" not in part


def test_mask_iou_of_half_the_picture(people: list[Photo]) -> None:
    forged = crops(people[:4], 64, forge=True)
    answers = answer(Oracle([], 64), forged.images)
    assert answers.fired[:, :, :32].all()
    assert not answers.fired[:, :, 32:].any()
    half = np.zeros((64, 64), bool)
    half[:, :32] = True
    expected = [(half & (m > 0)).sum() / (half | (m > 0)).sum() for m in forged.masks]
    assert mask_iou(forged.masks, answers) == pytest.approx(float(np.mean(expected)))
    assert real_auc(answers, answers) == 0.5


def test_baselines_see_framing(people: list[Photo]) -> None:
    """Fakes all framed by a black bar: the baselines find it, with and without the face."""
    pytest.importorskip("sklearn")
    confounded = []
    for photo in people:
        image = photo.image.copy()
        if photo.label == FAKE:
            image[:24] = 0
        confounded.append(Photo(photo.name, photo.label, image, photo.face))
    report = evaluate(UNet(2, 64), confounded, split="test")
    baselines = report["loose"]["baselines"]
    assert baselines["hog_svm_auc"]["value"] > 0.9
    assert baselines["hog_svm_face_blanked_auc"]["value"] > 0.9


def test_nobody_held_out(people: list[Photo]) -> None:
    with pytest.raises(UsageError, match="The test part holds no genuine photograph"):
        evaluate(UNet(2, 64), [p for p in people if p.split == "train"])
