"""The offline sample set: crops of one portrait in the published layout, half of them forged.

It is a demonstration set of one person. It shows that the pipeline works and what its output looks
like; it proves nothing about accuracy on other people, other cameras or other forgeries.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from model.selfblend import self_blend
from xmodel.artifact import record, run_stage, write_bytes, write_json, write_text
from xmodel.errors import UnavailableError

Pixels = npt.NDArray[np.uint8]

SIDE = 224
FRAMES = 4
FRAME_STEP = 30
VIDEOS: Mapping[str, int] = MappingProxyType({"calib": 32, "unseen": 24})  # folder: videos, half of them forged
SPLITS: Mapping[str, str] = MappingProxyType({"calib": "train", "unseen": "test"})
DIFFICULTY = (0.2, 0.8)  # of the forgeries, from the first video of a folder to the last
FACE = (226.0, 131.0)  # centre of the face in the portrait, x and y in pixels
NOTICE = """\
This is a demonstration set of one person.

Its crops are made from the public-domain portrait of Eileen Collins (NASA) that scikit-image ships:
genuine ones by cropping, light, compression and mirroring, forged ones by blending the face with a
changed copy of itself, so that the true mask is known (masks/, 255 = manipulated). It shows that the
pipeline works. It proves nothing about accuracy on other people, cameras or forgeries.

calib/, unseen/   <video>_<frame>_0.png, 224x224
masks/            one mask a crop, 0 or 255
metadata.json     label, split and original of each video, as in DFDC
"""


@dataclass(frozen=True, slots=True)
class Camera:
    """How one video shows the portrait: framing in portrait pixels, light, and compression."""

    side: float
    shift: tuple[float, float]
    angle: float  # degrees
    mirrored: bool
    gain: float
    gamma: float
    tint: tuple[float, float, float]
    shade: tuple[float, float]  # relative change of light over the crop's width and height
    noise: float  # standard deviation in grey levels
    quality: int  # of JPEG


@dataclass(frozen=True, slots=True)
class Video:
    """A video of the set; `original` names the genuine video that a forged one was made from."""

    name: str
    folder: str
    original: str | None
    camera: Camera
    difficulty: float = 0.0

    @property
    def forged(self) -> bool:
        """True when its frames are forgeries."""
        return self.original is not None


def make_samples(out: Path, seed: int = 0) -> bool:
    """Write the sample set to `out`: `calib/`, `unseen/`, `masks/`, `metadata.json`, `README.txt`.

    128 calibration and 96 unseen crops, uint8 RGB 224x224, half of them forged, four a video; the
    two folders share no video. The same seed gives the same bytes. A demonstration set of one person:
    it proves nothing about accuracy on others. Returns False when `out` was up to date. Raises
    `UnavailableError` when `out` cannot be written or scikit-image carries no portrait.
    """
    portrait, digest = _portrait()

    def work() -> list[str]:
        videos = plan(seed)
        names = [name for number, video in enumerate(videos) for name in _write(video, portrait, [seed, number], out)]
        write_json(out / "metadata.json", {f"{video.name}.mp4": _label(video) for video in videos})
        write_text(out / "README.txt", NOTICE)
        return [*names, "metadata.json", "README.txt"]

    return run_stage(out, record("samples", {"portrait": digest}, {"seed": seed}), work)


def plan(seed: int) -> list[Video]:
    """The videos of the set, the forged ones each after the genuine one it was made from."""
    random = np.random.default_rng(seed)
    names = _names(random, sum(VIDEOS.values()))
    videos: list[Video] = []
    for folder, count in VIDEOS.items():
        for difficulty in np.linspace(*DIFFICULTY, count // 2):
            genuine = Video(next(names), folder, None, _camera(random))
            videos += [genuine, Video(next(names), folder, genuine.name, genuine.camera, float(difficulty))]
    return videos


def _names(random: np.random.Generator, count: int) -> Iterator[str]:
    found: dict[str, None] = {}
    while len(found) < count:
        found["".join(chr(ord("a") + letter) for letter in random.integers(0, 26, 10))] = None
    return iter(found)


def _camera(random: np.random.Generator) -> Camera:
    x, y, shade_x, shade_y = random.uniform(-1, 1, 4)
    return Camera(
        side=random.uniform(128, 168),
        shift=(6 * x, 6 * y),
        angle=random.uniform(-8, 8),
        mirrored=bool(random.random() < 0.5),
        gain=random.uniform(0.75, 1.1),
        gamma=random.uniform(0.8, 1.25),
        tint=(random.uniform(0.92, 1.08), random.uniform(0.97, 1.03), random.uniform(0.92, 1.08)),
        shade=(0.2 * shade_x, 0.2 * shade_y),
        noise=random.uniform(0, 3),
        quality=int(random.integers(70, 97)),
    )


def _write(video: Video, portrait: Pixels, seed: list[int], out: Path) -> list[str]:
    names: list[str] = []
    for index in range(FRAMES):
        random = np.random.default_rng([*seed, index])
        crop, mask = render(video, portrait, random)
        file = f"{video.name}_{index * FRAME_STEP}_0.png"
        for name, pixels in ((f"{video.folder}/{file}", crop), (f"masks/{file}", mask * np.uint8(255))):
            write_bytes(out / name, _png(pixels))
            names.append(name)
    return names


def render(video: Video, portrait: Pixels, random: np.random.Generator) -> tuple[Pixels, Pixels]:
    """One frame of `video`: crop uint8 (224, 224, 3) RGB and mask uint8 (224, 224), 1 = manipulated."""
    camera = video.camera
    crop = _light(_frame(camera, portrait, random), camera)
    mask = np.zeros(crop.shape[:2], np.uint8)
    if video.forged:
        crop, mask = self_blend(crop, random, video.difficulty)
    noisy = crop + random.normal(0, camera.noise, crop.shape)
    return _compress(_to_uint8(noisy), camera.quality), mask


def _frame(camera: Camera, portrait: Pixels, random: np.random.Generator) -> Pixels:
    """The portrait in the camera's framing, with the small movements between frames."""
    angle = camera.angle + random.normal(0, 1)
    scale = SIDE / (camera.side * random.uniform(0.97, 1.03))
    x, y = np.add(FACE, camera.shift) + random.normal(0, 1.5, 2)
    turn = cv2.getRotationMatrix2D((float(x), float(y)), angle, scale)
    turn[:, 2] += np.array([SIDE / 2 - x, SIDE / 2 - y])
    crop = cv2.warpAffine(portrait, turn, (SIDE, SIDE), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return np.ascontiguousarray(crop[:, ::-1] if camera.mirrored else crop, dtype=np.uint8)


def _light(crop: Pixels, camera: Camera) -> Pixels:
    ramp = np.linspace(-1, 1, SIDE)
    shade = 1 + camera.shade[0] * ramp[None, :, None] + camera.shade[1] * ramp[:, None, None]
    tone = 255 * camera.gain * (np.arange(256) / 255) ** camera.gamma
    return _to_uint8(tone[crop] * np.array(camera.tint) * shade)


def _compress(crop: Pixels, quality: int) -> Pixels:
    with io.BytesIO() as stream:
        Image.fromarray(crop).save(stream, "JPEG", quality=quality)
        return np.asarray(Image.open(stream).convert("RGB"))


def _to_uint8(values: npt.NDArray[Any]) -> Pixels:
    rounded: Pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded


def _png(pixels: Pixels) -> bytes:
    with io.BytesIO() as stream:
        Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
        return stream.getvalue()


def _label(video: Video) -> dict[str, str | None]:
    return {
        "label": "FAKE" if video.forged else "REAL",
        "split": SPLITS[video.folder],
        "original": f"{video.original}.mp4" if video.original else None,
    }


def _portrait() -> tuple[Pixels, str]:
    """The portrait, uint8 (512, 512, 3) RGB, and its file's sha256; read from the package, never downloaded."""
    file = resources.files("skimage.data").joinpath("astronaut.png")
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UnavailableError(
            "The installed scikit-image carries no portrait (data/astronaut.png).",
            where=str(file),
            hint="Reinstall it from the package index: pip install --force-reinstall scikit-image.",
        ) from error
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")), hashlib.sha256(data).hexdigest()
