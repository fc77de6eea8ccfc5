"""The second reading of a clip: every frame drawn with the result that holds for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy import pictures
from deploy.console import Output
from deploy.crops import FAKE, NAMES, REAL
from deploy.predictions import THRESHOLD
from deploy.video.clip import Clip, Frame, opened
from deploy.video.encode import Encoder, Sound, encoding
from deploy.video.overlay import Blend, draw
from deploy.video.page import told
from deploy.video.results import Results
from deploy.video.spool import Judged, Spool
from deploy.video.verdict import Smoothed
from xmodel import artifact
from xmodel.errors import ArtifactError, UnavailableError

__all__ = ["Blend", "Drawing", "Drawn"]


@dataclass(slots=True)
class Drawn:
    """What the overlay is like, and the pictures that the report shows."""

    frames: int
    width: int
    height: int
    codec: str
    audio: str
    notes: list[str]
    figures: list[dict[str, Any]]


class _Holding:
    """The result that holds for each frame: its own, or that of the considered frame less than `every` before it."""

    def __init__(self, results: Iterator[Judged], every: int) -> None:
        self._results, self._every = results, every
        self._now: Judged | None = None
        self._next = next(results, None)

    def of(self, index: int) -> Judged | None:
        """For frames in rising order; None behind the last one."""
        while self._next is not None and self._next.index <= index:
            self._now, self._next = self._next, next(self._results, None)
        return self._now if self._now is not None and index < self._now.index + self._every else None


@dataclass(slots=True)
class _Artist:
    """Draws the frames of `clip` onto the encoder."""

    clip: Clip
    encoder: Encoder
    blend: Blend
    shown: set[int]
    smoothed: Smoothed = field(default_factory=Smoothed)
    figures: list[dict[str, Any]] = field(default_factory=list)

    def frame(self, frame: Frame, judged: Judged) -> None:
        """The next frame, for which `judged` holds."""
        pixels = self.clip.pixels(frame)
        frame.picture = None
        seconds = self.clip.clock.seconds(frame.tick)
        own = judged.index == frame.index and not judged.reason
        if own:
            self.smoothed.add(judged.p_real, seconds)
        if own and frame.index in self.shown:
            self.figures.append(_figure(judged, seconds, pixels))
        self.encoder.picture(draw(pixels, judged, self.smoothed.value, self.blend), frame.tick)


@dataclass(frozen=True, slots=True)
class Drawing:
    """The overlay of the clip at `path`, whose frames are of `size` (width, height)."""

    path: Path
    size: tuple[int, int]
    spool: Spool
    results: Results
    every: int
    blend: Blend

    def write(self, overlay: Path, out: Output) -> Drawn:
        """Read the clip again and write `overlay`, an MP4 file, up to the last considered frame.

        Raises `ArtifactError` when the clip is not what was judged, `UnavailableError` when the file cannot be written.
        """
        from av.error import FFmpegError

        told = ""
        # What of the sound does not fit often shows at the end only: then once more, in another way.
        ways: tuple[Sound, ...] = ("copied", "encoded", "dropped")
        for how in ways[:-1]:
            try:
                return self._attempt(overlay, out, how, "")
            except (FFmpegError, ValueError) as error:
                told = getattr(error, "strerror", None) or str(error)
        try:
            return self._attempt(overlay, out, ways[-1], told)
        except (FFmpegError, ValueError) as error:
            raise UnavailableError(
                f"The overlay cannot be written: {error}.",
                where=str(overlay),
                hint="Free some space or choose another folder with --out.",
            ) from error

    def _attempt(self, overlay: Path, out: Output, how: Sound, refused: str) -> Drawn:
        """With the sound as `how` says; `refused` is why it is left out."""
        holding = _Holding(self.spool.read(), self.every)
        total = self.results.frames * self.every
        with opened(self.path) as clip, artifact.atomic(overlay) as stream, out.progress("drawing", total) as advance:
            notes = [f"The sound is left out: {refused}."] if how == "dropped" and clip.info.audio else []
            with encoding(stream, clip, self.size, notes, how) as encoder:
                artist = _Artist(clip, encoder, self.blend, self.results.shown)
                for item in clip.items(encoder.source):
                    if not isinstance(item, Frame):
                        encoder.sound(item)
                        continue
                    judged = holding.of(item.index)
                    if judged is None:
                        break
                    if judged.index == item.index and judged.tick != item.tick:
                        raise ArtifactError("The clip changed while it was judged.", where=str(self.path))
                    artist.frame(item, judged)
                    advance(1)
            width, height = (side + side % 2 for side in self.size)
            if (width, height) != self.size:
                notes.append("Its overlay is padded on the right or below by one row of pixels, to even sides.")
            return Drawn(encoder.frames, width, height, encoder.codec, encoder.audio_told, notes, artist.figures)


def _figure(judged: Judged, seconds: float, pixels: NDArray[np.uint8]) -> dict[str, Any]:
    if judged.square is None or judged.mask is None:
        raise ArtifactError(f"Frame {judged.index} has no mask to show.")
    crop = judged.square.cut(pixels)
    return {
        "file": f"{told(seconds)}, frame {judged.index}",
        "verdict": NAMES[REAL if judged.p_real >= THRESHOLD else FAKE],
        "label": None,
        "p_real": judged.p_real,
        "share": judged.share,
        "plain": pictures.data_uri(crop),
        "overlay": pictures.data_uri(pictures.overlay(crop, judged.mask)),
    }
