"""How good the face detector of `unmask video` is: face crops pasted into scenes without faces, at several sizes.

    python benchmarks/face_detector.py CROPS [--truth FILE] [--count 100] [--face-model FILE] [--json FILE]

CROPS is a folder of square face crops, or of folders of them. FILE of `--truth` says where the faces are:
{"name of a crop below CROPS": [[x, y, side], …], …}, squares from brow to chin in pixels of the crop, the main face
first; without it the face is taken to be in the middle, 0.52 of the crop's side. The scenes are photographs and
textures that scikit-image ships, 1280x720, searched at the size at which `unmask video` searches.

Per size of the face, as a share of the scene's height: how many main faces are found (overlap 0.4 or more), the
overlap of those, detections that overlap no face, and milliseconds; then the same for the search near a known place
(the true one, off by up to 10 % of the face). Then clips of 4 s in which the crop moves: the share of frames that get
a box, how good it is, and how many get a wrong one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from deploy.video.clip import Frame
from deploy.video.faces import Cascade, Detector, YuNet, overlap
from deploy.video.track import SIDE, Follow
from model.selfblend import FaceBox
from xmodel.artifact import write_json

Pixels = NDArray[np.uint8]
WIDTH, HEIGHT = 1280, 720
SIZES = (0.08, 0.12, 0.16, 0.25, 0.4, 0.6)  # of the face, in scene heights
SCENES = ("coffee", "chelsea", "rocket", "brick", "grass", "gravel", "coins", "page", "hubble_deep_field", "moon")
FOUND, NONE = 0.4, 0.1  # overlap from which on a face is found, below which a detection is none
FRAMES, RATE = 100, 25


@dataclass(frozen=True, slots=True)
class Crop:
    """A crop's pixels, square, and the faces in it, the main one first."""

    pixels: Pixels
    faces: Sequence[FaceBox]


@dataclass(slots=True)
class Score:
    """Counts over scenes or frames."""

    looks: int = 0
    found: int = 0
    false: int = 0
    overlaps: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def add(self, faces: Sequence[FaceBox], boxes: Sequence[FaceBox], seconds: float) -> None:
        """What was found in a scene that shows `faces`."""
        best = max((overlap(box, faces[0]) for box in boxes), default=0.0) if faces else 0.0
        self.looks += 1
        self.found += best >= FOUND
        self.overlaps += [best] if best >= FOUND else []
        self.false += sum(max((overlap(box, face) for face in faces), default=0.0) < NONE for box in boxes)
        self.seconds.append(seconds)

    def summary(self) -> dict[str, float]:
        """Rates in looks; milliseconds are the median."""
        return {
            "found": self.found / max(1, self.looks),
            "overlap": statistics.fmean(self.overlaps) if self.overlaps else 0.0,
            "false_per_scene": self.false / max(1, self.looks),
            "ms": 1000 * statistics.median(self.seconds),
        }


def read_crops(folder: Path, truth: Mapping[str, Any] | None, count: int) -> list[Crop]:
    """At most `count` crops, evenly taken from all those whose faces are known."""
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if truth is not None:
        paths = [p for p in paths if truth.get(p.relative_to(folder).as_posix())]
    crops = []
    for path in (paths[int(place)] for place in np.linspace(0, len(paths) - 1, min(count, len(paths)))):
        pixels = np.asarray(cv2.imread(str(path)), np.uint8)[..., ::-1]
        side = pixels.shape[0]
        known = truth[path.relative_to(folder).as_posix()] if truth is not None else [[side / 2, side / 2, 0.52 * side]]
        crops.append(Crop(pixels, [FaceBox(*(float(v) for v in face)) for face in known]))
    return crops


def scenes() -> list[Pixels]:
    """Pictures without a face, RGB, WIDTH x HEIGHT."""
    import skimage.data

    found = []
    for name in SCENES:
        picture = np.asarray(getattr(skimage.data, name)(), np.uint8)
        picture = np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else picture[..., :3]
        found.append(np.asarray(cv2.resize(picture, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA), np.uint8))
    return found


def paste(scene: Pixels, crop: Crop, size: float, x: float, y: float) -> tuple[Pixels, list[FaceBox]]:
    """The crop in a scene, its main face `size` scene heights large, at `x`, `y` in [0, 1] of the room there is."""
    scale = size * HEIGHT / crop.faces[0].side
    side = min(round(scale * crop.pixels.shape[0]), HEIGHT)
    scale = side / crop.pixels.shape[0]
    left, top = round(x * (WIDTH - side)), round(y * (HEIGHT - side))
    shown = scene.copy()
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    shown[top : top + side, left : left + side] = cv2.resize(crop.pixels, (side, side), interpolation=how)
    return shown, [FaceBox(left + f.x * scale, top + f.y * scale, f.side * scale) for f in crop.faces]


def small(scene: Pixels) -> tuple[Pixels, float]:
    """The scene as the detector gets it, and its scale."""
    scale = SIDE / HEIGHT
    shape = (round(WIDTH * scale), SIDE)
    return np.asarray(cv2.resize(scene, shape, interpolation=cv2.INTER_AREA), np.uint8), scale


def scaled(box: FaceBox, factor: float) -> FaceBox:
    """A box in other pixels."""
    return FaceBox(box.x * factor, box.y * factor, box.side * factor)


def timed(find: Callable[[], list[FaceBox]]) -> tuple[list[FaceBox], float]:
    """Boxes, and the CPU seconds of this thread that they took."""
    start = time.thread_time()
    return find(), time.thread_time() - start


def pictures(detector: Detector, crops: Sequence[Crop], grounds: Sequence[Pixels], size: float) -> dict[str, Any]:
    """Searches of whole scenes and near the face, one scene a crop."""
    random = np.random.default_rng(7)
    whole, near = Score(), Score()
    for crop in crops:
        scene, faces = paste(grounds[int(random.integers(len(grounds)))], crop, size, *random.random(2))
        image, scale = small(scene)
        known = [scaled(face, scale) for face in faces]
        whole.add(known, *timed(lambda image=image: detector.find(image)))  # type: ignore[misc]
        main, (dx, dy, ds) = known[0], random.uniform(-0.1, 0.1, 3)
        about = FaceBox(main.x + dx * main.side, main.y + dy * main.side, main.side * (1 + ds))
        near.add(known, *timed(lambda image=image, about=about: detector.find(image, about)))  # type: ignore[misc]
    return {"whole": whole.summary(), "near": near.summary()}


def empty(detector: Detector, grounds: Sequence[Pixels]) -> dict[str, float]:
    """False detections in scenes without a face, each also mirrored and upside down."""
    score = Score()
    for ground in grounds:
        for scene in (ground, ground[:, ::-1], ground[::-1]):
            image, _ = small(np.ascontiguousarray(scene))
            score.add([], *timed(lambda image=image: detector.find(image)))  # type: ignore[misc]
    return score.summary()


@dataclass(slots=True)
class Moving:
    """A clip: the crop goes evenly from one place to another while it grows by a quarter."""

    ground: Pixels
    crop: Crop
    size: float
    start: NDArray[np.float64]
    end: NDArray[np.float64]

    def scene(self, index: int) -> tuple[Pixels, list[FaceBox]]:
        """Frame `index` and the faces in it."""
        share = index / FRAMES
        x, y = self.start + (self.end - self.start) * share
        return paste(self.ground, self.crop, self.size * (1 + share / 4), float(x), float(y))

    def small(self, frame: Frame, side: int) -> tuple[Pixels, float]:
        """For the tracker."""
        return small(self.scene(frame.index)[0])


def clips(detector: Detector, crops: Sequence[Crop], grounds: Sequence[Pixels], size: float) -> dict[str, float]:
    """Following the face through clips, one a crop: shares of all frames."""
    random = np.random.default_rng(11)
    boxed, wrong, overlaps, without = 0, 0, [], 0
    for crop in crops:
        ground = grounds[int(random.integers(len(grounds)))]
        start = random.random(2)
        clip = Moving(ground, crop, size, start, np.clip(start + random.uniform(-0.3, 0.3, 2), 0, 1))
        frames: Iterator[tuple[Frame, float]] = ((Frame(i, i, None), i / RATE) for i in range(FRAMES))
        before = boxed
        for frame, box in Follow(detector, clip).boxes(frames):
            if box is None:
                continue
            faces = clip.scene(frame.index)[1]
            best = max(overlap(box, face) for face in faces)
            boxed += best >= FOUND
            wrong += best < NONE
            overlaps += [best] if best >= FOUND else []
        without += boxed == before
    total = FRAMES * len(crops)
    return {
        "frames_boxed": boxed / total,
        "overlap": statistics.fmean(overlaps) if overlaps else 0.0,
        "frames_wrong": wrong / total,
        "clips_without": without / len(crops),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("crops", type=Path)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--face-model", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    detector: Detector = YuNet(options.face_model) if options.face_model else Cascade()
    truth = json.loads(options.truth.read_text()) if options.truth else None
    crops, grounds = read_crops(options.crops, truth, options.count), scenes()
    print(f"{detector.name}, {len(crops)} crops")
    print("face / scene height: found, overlap, false a scene, ms | near: found, overlap, false a scene, ms")
    result: dict[str, Any] = {"detector": detector.name, "crops": len(crops), "sizes": {}}
    for size in SIZES:
        made = result["sizes"][str(size)] = pictures(detector, crops, grounds, size)
        print(f"{size:5.0%} {_line(made['whole'])} | {_line(made['near'])}", flush=True)
    result["empty"] = empty(detector, grounds)
    print(f"no face: {result['empty']['false_per_scene']:.2f} false a scene, {result['empty']['ms']:.0f} ms")
    result["clips"] = clips(detector, crops[:: max(1, len(crops) // 40)], grounds, 0.3)
    print("clips: " + ", ".join(f"{name} {value:.3f}" for name, value in result["clips"].items()))
    if options.json:
        write_json(options.json, result)


def _line(made: Mapping[str, float]) -> str:
    return f"{made['found']:5.0%} {made['overlap']:.2f} {made['false_per_scene']:.2f} {made['ms']:4.0f}"


if __name__ == "__main__":
    main()
