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
from model.faces import Photo, cut, random_box
from model.selfblend import Image, Mask, self_blend

Batch = tuple[Tensor, Tensor, Tensor, Tensor]
Sample = tuple[Image, Mask]


@dataclass(frozen=True, slots=True)
class Stage:
    """What the batches of one stretch of the training are made of.

    `count` crops of `size` pixels a side; `difficulty` is that of the hardest self-blends, and crops
    are changed as a whole the more often the higher it is; `labelled` says whether labelled fakes
    take part.
    """

    size: int
    count: int
    difficulty: float
    labelled: bool

    @property
    def augmented(self) -> float:
        """The share of crops that are changed as a whole."""
        return 0.2 + 0.5 * self.difficulty

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
        chosen = np.resize(rng.permutation(len(self.real)), max(genuine, blends))
        pairs = [self._pair(self.real[int(i)], rng) for i in chosen]
        samples = [pair[0] for pair in pairs[:genuine]] + [pair[1] for pair in pairs[:blends]]
        if fakes:
            samples += [self._pair(self.fake[int(i)], rng)[0] for i in rng.integers(len(self.fake), size=fakes)]
        return (
            torch.from_numpy(np.stack([image for image, _ in samples])).permute(0, 3, 1, 2),
            torch.from_numpy(np.stack([mask for _, mask in samples]).astype(np.int64)),
            (torch.arange(len(samples)) < genuine).float().unsqueeze(1),
            torch.arange(len(samples)) < genuine + blends,
        )

    def _pair(self, photo: Photo, rng: np.random.Generator) -> tuple[Sample, Sample]:
        stage = self.stage
        return random_pair(photo, stage.size, stage.difficulty * float(rng.random()), rng, stage.augmented)


def random_pair(
    photo: Photo, size: int, difficulty: float, rng: np.random.Generator, augmented: float = 0.0
) -> tuple[Sample, Sample]:
    """A random crop of `photo`, and the same crop self-blended: each (size, size, 3) uint8 with its mask.

    All that differs between the two is what is to be found. They are forged at the photograph's own
    resolution and resampled afterwards, as real forgeries are; half of those that are enlarged the
    other way round. A share of `augmented` is then changed as a whole, both crops alike.
    """
    box = random_box(photo, rng)
    native = int(np.clip(round(box.side), 64, 2 * size))
    if native < size and rng.random() < 0.5:
        native = size
    plain, face = cut(photo, box, native, flip=bool(rng.random() < 0.5))
    forged, mask = self_blend(plain, rng, difficulty, face)
    if native != size:
        how = cv2.INTER_AREA if native > size else cv2.INTER_LINEAR
        plain, forged = (np.asarray(cv2.resize(x, (size, size), interpolation=how), np.uint8) for x in (plain, forged))
        mask = resize_mask(mask, size)
    seed = int(rng.integers(1 << 62))
    plain, forged = (augment(image, np.random.default_rng(seed), augmented) for image in (plain, forged))
    return (plain, np.zeros_like(mask)), (forged, mask)


def resize_mask(mask: Mask, size: int) -> Mask:
    """A {0, 1} mask at another size: 1 where at least half of a pixel was."""
    soft = cv2.resize(mask.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR)
    return np.asarray(soft >= 0.5, np.uint8)
