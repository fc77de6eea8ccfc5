"""The overlay as an MP4 file: pictures as H.264 where the installed FFmpeg has it, the clip's sound beside them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from deploy.video.clip import Clip, library
from xmodel.errors import UnavailableError

Sound = Literal["copied", "encoded", "dropped"]

COPIED = {"aac", "mp3", "ac3", "eac3", "alac", "flac", "opus"}  # what an MP4 file holds as it is
THREADS = 2  # of the encoder, whatever the machine: the file depends on their number


class Encoder:
    """Writes frames and sound to an open MP4 file; `notes` collects what could not be kept."""

    def __init__(self, container: Any, clip: Clip, size: tuple[int, int], notes: list[str], how: Sound) -> None:
        """`size`: width and height of the frames, which are padded to even ones. Sound that cannot be "copied" into
        an MP4 file is encoded again."""
        self.container, self.clip, self.notes = container, clip, notes
        self.width, self.height = size
        self.frames = 0
        self._video = self._add_video()
        self._source = next(iter(clip.container.streams.audio), None) if how != "dropped" else None
        self._copied = how == "copied" and clip.info.audio in COPIED
        self._audio, self._resampler = self._add_audio()
        container.start_encoding()

    @property
    def codec(self) -> str:
        """The name of the video encoder."""
        return str(self._video.codec_context.codec.name)

    @property
    def source(self) -> Any | None:
        """The clip's audio stream, whose packets `sound` takes; None when there is none to keep."""
        return self._source if self._audio is not None else None

    @property
    def audio_told(self) -> str:
        """What became of the sound."""
        if not self.clip.info.audio:
            return "none"
        if self._audio is None:
            return "dropped"
        return f"copied ({self.clip.info.audio})" if self._resampler is None else f"{self.clip.info.audio} to aac"

    def picture(self, pixels: NDArray[np.uint8], tick: int) -> None:
        """The next frame, RGB (height, width, 3), at `tick` of the clip's clock."""
        import av
        import cv2

        down, right = self.height % 2, self.width % 2
        if down or right:
            pixels = np.asarray(cv2.copyMakeBorder(pixels, 0, down, 0, right, cv2.BORDER_REPLICATE), np.uint8)
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame.time_base, frame.pts = self.clip.clock.base, tick
        self._mux(self._video.encode(frame))
        self.frames += 1

    def sound(self, packet: Any) -> None:
        """The next packet of `source`; the first that cannot be kept ends the sound."""
        from av.error import FFmpegError

        if self._audio is None or packet.dts is None:
            return
        try:
            if self._resampler is None:
                self._copy(packet)
            else:
                for frame in packet.decode():
                    self._resample(frame)
        except (FFmpegError, ValueError) as error:
            self.notes.append(f"The sound ends where it could not be read: {error}")
            self._source = None
            self._audio = None

    def close(self) -> None:
        """Write what the encoders still hold."""
        from av.error import FFmpegError

        self._mux(self._video.encode(None))
        if self._audio is not None and self._resampler is not None:
            try:
                self._resample(None)
                self._mux(self._audio.encode(None))
            except (FFmpegError, ValueError) as error:
                self.notes.append(f"The end of the sound is missing: {error}")

    def _add_video(self) -> Any:
        av, clock = library(), self.clip.clock
        rate = self.clip.info.rate
        rate = rate.limit_denominator(1001) if rate is not None and 0 < rate <= 1000 else Fraction(25)
        name = next((name for name in ("libx264", "mpeg4") if name in av.codecs_available), None)
        if name is None:
            raise UnavailableError(
                "The installed av can write neither H.264 nor MPEG-4.", hint="Install it from the package index."
            )
        options = {"preset": "veryfast", "crf": "20"} if name == "libx264" else {"qscale": "3"}
        stream = self.container.add_stream(name, rate=rate, options=options)
        stream.width, stream.height = self.width + self.width % 2, self.height + self.height % 2
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.thread_count = THREADS
        base = clock.base if name == "libx264" else max(clock.base, Fraction(1, 60000))
        stream.time_base = context.time_base = base
        return stream

    def _add_audio(self) -> tuple[Any, Any]:
        from av.error import FFmpegError

        source = self._source
        if source is None:
            return None, None
        try:
            if source.codec_context is None:
                raise ValueError("its coding is not known")
            if self._copied:
                return self.container.add_stream_from_template(source), None
            av = library()
            rate = min(max(source.rate or 48000, 8000), 48000)
            stream = self.container.add_stream("aac", rate=rate)
            stream.layout = "stereo" if (source.channels or 1) > 1 else "mono"
            return stream, av.AudioResampler(format="fltp", layout=stream.layout, rate=rate)
        except (FFmpegError, ValueError, TypeError) as error:
            self.notes.append(f"The sound is left out: {error}")
            return None, None

    def _copy(self, packet: Any) -> None:
        offset = self._offset(packet.time_base)
        packet.dts -= offset
        packet.pts = packet.dts if packet.pts is None else packet.pts - offset
        packet.stream = self._audio
        self.container.mux(packet)

    def _resample(self, frame: Any | None) -> None:
        if frame is not None and frame.pts is not None:
            frame.pts -= self._offset(frame.time_base)
        for piece in self._resampler.resample(frame):
            self._mux(self._audio.encode(piece))

    def _offset(self, base: Fraction | None) -> int:
        """The clip's start in ticks of an audio stream."""
        return round((self.clip.container.start_time or 0) / (base or 1) / 1_000_000)

    def _mux(self, packets: Any) -> None:
        for packet in packets:
            self.container.mux(packet)


@contextmanager
def encoding(stream: IO[bytes], clip: Clip, size: tuple[int, int], notes: list[str], how: Sound) -> Iterator[Encoder]:
    """An encoder onto `stream`, an open file, with the clip's sound as `how` says.

    Raises `FFmpegError` and `ValueError` for what the container does not take: at the start, with any packet, at the
    end."""
    with library().open(stream, "w", format="mp4") as container:
        encoder = Encoder(container, clip, size, notes, how)
        yield encoder
        encoder.close()
