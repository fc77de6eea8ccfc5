"""Tiny clips: noise that changes from frame to frame, so that every frame is judged differently."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
BASE = Fraction(1, 1000)


def pictures(count: int, width: int = 48, height: int = 40, seed: int = 0) -> list[Pixels]:
    """Smooth coloured noise, RGB."""
    import cv2

    random = np.random.default_rng(seed)
    coarse = [random.integers(0, 256, (5, 6, 3), np.uint8) for _ in range(count)]
    return [np.asarray(cv2.resize(c, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8) for c in coarse]


def write(
    path: Path,
    frames: Sequence[Pixels],
    times: Sequence[int] | None = None,
    codec: str = "libx264",
    rotation: int | None = None,
    audio: str = "",
    gop: int = 4,
    aspect: Fraction | None = None,
) -> Path:
    """Encode `frames` at `times` in milliseconds (default: 40 apart), with a tone as sound where `audio` names its
    codec, `rotation` in degrees to the left in the display matrix, and a key frame every `gop` frames."""
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w") as container:
        options = {"preset": "ultrafast", "crf": "10"} if codec == "libx264" else {}
        video: Any = container.add_stream(codec, rate=25, options=options)
        video.width, video.height = width, height
        video.pix_fmt = {"mjpeg": "yuvj444p", "ffv1": "yuv444p"}.get(codec, "yuv420p")
        video.time_base = video.codec_context.time_base = BASE
        video.codec_context.gop_size, video.codec_context.max_b_frames = gop, 0
        if aspect is not None:
            video.codec_context.sample_aspect_ratio = aspect
        if rotation is not None:
            video.set_display_rotation(rotation)
        sound: Any = container.add_stream(audio, rate=8000) if audio else None
        if sound is not None:
            sound.layout = "mono"
        for number, (pixels, time) in enumerate(zip(frames, times or range(0, 40 * len(frames), 40), strict=True)):
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            picture.time_base, picture.pts = BASE, time
            container.mux(video.encode(picture))
            if sound is not None:
                container.mux(sound.encode(tone(number)))
        container.mux(video.encode(None))
        if sound is not None:
            container.mux(sound.encode(None))
    return path


def tone(number: int) -> av.AudioFrame:
    """40 ms of a tone at 8000 Hz."""
    steps = np.arange(number * 320, (number + 1) * 320)
    frame = av.AudioFrame.from_ndarray((np.sin(steps / 3) * 8000).astype(np.int16)[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = 8000, number * 320, Fraction(1, 8000)
    return frame


def decoded(path: Path) -> list[tuple[float, Pixels]]:
    """Seconds and RGB pixels of every frame."""
    with av.open(str(path)) as container:
        return [(float(f.time or 0), np.asarray(f.to_ndarray(format="rgb24"), np.uint8)) for f in
                container.decode(video=0)]  # fmt: skip


def sounds(path: Path) -> tuple[str, float]:
    """Codec and seconds of the sound."""
    with av.open(str(path)) as container:
        stream: Any = container.streams.audio[0]
        return stream.codec_context.codec.name, float(stream.duration * stream.time_base)
