"""Training batches, each a function of the seed and its step alone: a resumed run sees what it would have seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from model.augment import augment
from model.faces import REAL, Photo, cut, random_box
from model.selfblend import FaceBox, Image, Mask, random_region, self_blend

Batch = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Stage:
    """What the batches of one stretch of the training are made of.

    `size` pixels a side are fed, cut out of a crop of `frame` pixels (equal: the whole crop);
    `difficulty` is that of the hardest self-blends; `labelled` says whether labelled fakes take part.
    """

    size: int
    frame: int
    count: int
    difficulty: float
    labelled: bool

    @property
    def parts(self) -> tuple[int, int, int]:
        """(genuine, self-blended, labelled fakes) in a batch of `count`: never without the first two."""
        fakes = self.count // 4 if self.labelled else 0
        blends = (self.count - fakes + 1) // 2
        return self.count - fakes - blends, blends, fakes


class Batches(Dataset[Batch]):
    """Item k is the batch of step k.

    A batch is (images (N, 3, S, S) uint8, masks (N, S, S) int64 {0, 1}, labels (N, 1) float32 with
    1 = real, has_mask (N,) bool: False for labelled fakes, whose manipulated pixels are unknown).
    """

    def __init__(self, real: Sequence[Photo], fake: Sequence[Photo], stage: Stage, seed: int) -> None:
        self.real, self.fake, self.stage, self.seed = real, fake, stage, seed

    def __getitem__(self, step: int) -> Batch:
        cv2.setNumThreads(0)  # in a worker: training has the cores
        rng = np.random.default_rng([self.seed, step])
        genuine, blends, fakes = self.stage.parts
        chosen = rng.permutation(len(self.real))[: max(genuine, blends)]
        sources = [self.real[int(i)] for i in np.resize(chosen, max(genuine, blends))]
        items = [(photo, False) for photo in sources[:genuine]] + [(photo, True) for photo in sources[:blends]]
        if fakes and self.fake:
            items += [(self.fake[int(i)], False) for i in rng.integers(len(self.fake), size=fakes)]
        samples = [self._sample(photo, forge, rng) for photo, forge in items]
        labels = [float(photo.label == REAL and not forge) for photo, forge in items]
        return (
            torch.from_numpy(np.stack([image for image, _ in samples])).permute(0, 3, 1, 2),
            torch.from_numpy(np.stack([mask for _, mask in samples]).astype(np.int64)),
            torch.tensor(labels).unsqueeze(1),
            torch.tensor([photo.label == REAL for photo, _ in items]),
        )

    def _sample(self, photo: Photo, forge: bool, rng: np.random.Generator) -> tuple[Image, Mask]:
        stage = self.stage
        difficulty = stage.difficulty * float(rng.random())
        image, mask, face = random_frame(photo, stage.frame, difficulty if forge else None, rng)
        if stage.size == stage.frame:
            return image, mask
        place = mask if forge else random_region(stage.frame, stage.frame, face, rng)
        window = _window(place, stage.size, rng)
        return image[window], mask[window]


def random_frame(
    photo: Photo, size: int, difficulty: float | None, rng: np.random.Generator
) -> tuple[Image, Mask, FaceBox]:
    """A random crop of `photo`, (size, size, 3) uint8, its mask (size, size), and the face in it.

    Self-blended at `difficulty`, or left genuine where that is None. Half of the crops are forged
    at the photograph's own resolution and resampled afterwards, as real forgeries are, the other
    half the other way round; genuine crops are resampled in the same two ways.
    """
    box = random_box(photo, rng)
    native = max(64, round(box.side)) if rng.random() < 0.5 else size
    image, face = cut(photo, box, native, flip=bool(rng.random() < 0.5))
    mask = np.zeros((native, native), np.uint8)
    if difficulty is not None:
        image, mask = self_blend(image, rng, difficulty, face)
    if native != size:
        how = cv2.INTER_AREA if native > size else cv2.INTER_LINEAR
        image = np.asarray(cv2.resize(image, (size, size), interpolation=how), np.uint8)
        mask = resize_mask(mask, size)
        zoom = size / native
        face = FaceBox(face.x * zoom, face.y * zoom, face.side * zoom)
    return augment(image, rng), mask, face


def resize_mask(mask: Mask, size: int) -> Mask:
    """A {0, 1} mask at another size: 1 where at least half of a pixel was."""
    soft = cv2.resize(mask.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR)
    return np.asarray(soft >= 0.5, np.uint8)


def _window(place: Mask, size: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """A window of `size` pixels that holds a random pixel of `place` and, if it can, a good share of it."""
    rows, columns = np.nonzero(place)
    wanted = min(0.06 * size * size, 0.6 * len(rows))
    window = (slice(0, size), slice(0, size))
    for _ in range(8):
        pick = int(rng.integers(len(rows))) if len(rows) else None
        centre = (rows[pick], columns[pick]) if pick is not None else tuple(n // 2 for n in place.shape)
        starts = [
            int(np.clip(c - size / 2 + size * rng.uniform(-0.4, 0.4), 0, n - size))
            for c, n in zip(centre, place.shape, strict=True)
        ]
        window = (slice(starts[0], starts[0] + size), slice(starts[1], starts[1] + size))
        if place[window].sum() >= wanted:
            break
    return window
