"""A clip read from disk: opened within bounds, its frames in order, what is damaged named and passed over."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deploy.video.clock import Clock
from deploy.video.geometry import MAX_PIXELS, MAX_SIDE, Geometry, Orientation, display_matrix, square_pixels
from xmodel.errors import ArtifactError, UnavailableError, UsageError

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

# Playlists and the like, which open other files and addresses, are not among them.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,mxf,dv,gif,apng,ivf,m4v,h264,hevc,"
    "obu,mjpeg,yuv4mpegpipe,nut,rm,wav,mp3,flac,aac,ac3,image2,png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe,ppm_pipe"
)
SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".m2ts", ".mts", ".mpg", ".mpeg", ".flv", ".wmv", ".asf",
    ".ogv", ".3gp", ".mxf", ".gif",
)  # fmt: skip
MAX_FRAMES = 1 << 24  # 155 hours at 30 frames a second
MAX_DAMAGE = 100_000  # damaged packets, after which the rest is not tried
AFTER_DAMAGE = "It follows a damaged frame, and no key frame lies between them."
DAMAGED = "The decoder calls it damaged."


@dataclass(slots=True)
class Frame:
    """One decoded frame: its number from 0, its time in ticks of the clip's clock, and why it must not be judged.

    `picture` is the decoder's frame, released by whoever is done with it.
    """

    index: int
    tick: int
    picture: av.VideoFrame | None
    damage: str = ""


@dataclass(frozen=True, slots=True)
class Info:
    """What the file says about itself; counts and durations are the header's and not to be relied on."""

    format: str
    codec: str
    rate: Fraction | None
    base: Fraction
    frames: int | None
    seconds: float | None
    audio: str


@dataclass(slots=True)
class Damage:
    """What could not be read: packets without a frame (the first ones by name), and where the file broke off."""

    packets: int = 0
    first: list[str] = field(default_factory=list)
    ended: str = ""

    def packet(self, where: str, reason: str) -> None:
        """A packet gave no frame."""
        self.packets += 1
        if len(self.first) < 20:
            self.first.append(f"{where}: {reason}")


@dataclass(slots=True)
class Clip:
    """An open clip, to be read once. `geometry` is known from the first frame on."""

    container: InputContainer
    video: Any
    info: Info
    clock: Clock
    damage: Damage = field(default_factory=Damage)
    geometry: Geometry | None = None
    resized: int = 0

    def frames(self) -> Iterator[Frame]:
        """Every frame in order of presentation. Raises `ArtifactError` for frames of an absurd size."""
        for item in self.items(None):
            if isinstance(item, Frame):
                yield item

    def pixels(self, frame: Frame) -> NDArray[np.uint8]:
        """A frame that was not let go, upright, RGB (H, W, 3)."""
        if self.geometry is None or frame.picture is None:
            raise ArtifactError(f"Frame {frame.index} was let go before it was drawn.")
        return self.geometry.rgb(frame.picture)

    def items(self, audio: Any | None) -> Iterator[Frame | av.Packet[Any]]:
        """The frames, and between them the packets of the stream `audio` as they lie in the file."""
        index, broken = 0, False
        for packet in self._packets(audio):
            if audio is not None and packet.stream.index == audio.index:
                yield packet
                continue
            pictures, failed = self._decode(packet)
            for picture in pictures:
                self._fit(picture)
                broken = broken and not picture.key_frame
                damage = AFTER_DAMAGE if broken else ""
                if picture.is_corrupt:
                    damage, broken = DAMAGED, True
                yield Frame(index, self.clock.tick(picture.pts), picture, damage)
                index += 1
                if index >= MAX_FRAMES:
                    self.damage.ended = f"it is not read beyond {MAX_FRAMES} frames"
                    return
            broken = broken or failed
            if self.damage.packets > MAX_DAMAGE:
                self.damage.ended = f"more than {MAX_DAMAGE} packets are damaged"
                return

    def _packets(self, audio: Any | None) -> Iterator[Any]:
        from av.error import FFmpegError

        streams = [self.video] if audio is None else [self.video, audio]
        packets = self.container.demux(*streams)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (FFmpegError, OSError) as error:
                self.damage.ended = f"it breaks off: {_reason(error)}"
                return
            yield packet

    def _decode(self, packet: Any) -> tuple[list[Any], bool]:
        from av.error import EOFError as EndOfStreamError
        from av.error import FFmpegError

        try:
            return packet.decode(), bool(packet.is_corrupt)
        except EndOfStreamError:
            return [], False
        except (FFmpegError, MemoryError) as error:
            time = packet.pts if packet.pts is not None else packet.dts
            base = packet.time_base or self.clock.base
            where = (
                "at an unknown time" if time is None else f"at {float((time - (self.clock.start or 0)) * base):.3f} s"
            )
            self.damage.packet(where, _reason(error))
            return [], True

    def _fit(self, picture: Any) -> None:
        """Take the geometry from the first frame; later frames of another size are brought to it and counted."""
        size = square_pixels(picture.width, picture.height, self.video.sample_aspect_ratio)
        check_size(*size, self.container.name)
        if self.geometry is None:
            self.geometry = Geometry(size, Orientation.of(display_matrix(picture.side_data)))
        elif size != self.geometry.coded:
            self.resized += 1


@contextmanager
def opened(path: Path) -> Iterator[Clip]:
    """Open a clip. Raises `UsageError` for what is no file or a still image, `ArtifactError` for what is no video."""
    from av.error import FFmpegError

    av = library()
    with _file(path) as stream:
        try:
            container = av.open(stream, options={"format_whitelist": FORMATS}, metadata_errors="replace")
        except (FFmpegError, OSError, ValueError) as error:
            raise ArtifactError(
                f"This file cannot be read as a video: {_reason(error)}.",
                where=str(path),
                hint="If it plays elsewhere, convert it to MP4, Matroska or AVI; if not, copy it again: it is damaged "
                "or was never finished.",
            ) from error
        with container:
            yield _clip(container, path)


def library() -> Any:
    """PyAV. Raises `UnavailableError` where it is not installed."""
    try:
        import av
    except ImportError as error:
        raise UnavailableError(
            "Reading video needs the package av, which is not installed.",
            hint="Install it: pip install 'unmask[video]'.",
        ) from error
    return av


def check_size(width: int, height: int, name: str) -> None:
    """Raises `ArtifactError` for frames larger than any camera's."""
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= MAX_PIXELS):
        raise ArtifactError(
            f"Its frames are {width}x{height} pixels; at most {MAX_SIDE} a side and {MAX_PIXELS} in all are read.",
            where=name,
            hint="Shrink the clip, or check whether the file is damaged.",
        )


@contextmanager
def _file(path: Path) -> Iterator[IO[bytes]]:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UsageError("This is no file.", where=str(path), hint="Give a video file.")
        if not status.st_size:
            raise ArtifactError("This file is empty.", where=str(path), hint="Copy or record the clip again.")
        with path.open("rb") as stream:
            yield stream
    except FileNotFoundError as error:
        raise UsageError("There is no such clip.", where=str(path)) from error
    except PermissionError as error:
        raise UsageError(f"Cannot read this file: {error.strerror}.", where=str(path)) from error


def _clip(container: InputContainer, path: Path) -> Clip:
    name = container.format.name
    if name.endswith("_pipe") or name == "image2":
        raise UsageError(
            f"This is a still image ({name.removesuffix('_pipe')}), not a video.",
            where=str(path),
            hint="`unmask infer --crops FOLDER` judges images of faces.",
        )
    video = next((s for s in container.streams.video if not s.disposition & type(s.disposition).attached_pic), None)
    if video is None:
        found = ", ".join(f"{s.type} ({_codec(s)})" for s in container.streams) or "nothing"
        raise ArtifactError(
            f"There is no video in this file; it holds {found}.", where=str(path), hint="Give a file with pictures."
        )
    context = video.codec_context
    if context is None:
        raise ArtifactError(
            "The video in this file is coded in a way that is not known here.",
            where=str(path),
            hint="Convert it to H.264 first.",
        )
    if context.width and context.height:
        check_size(context.width, context.height, str(path))
    # One decoding thread: with several, what a damaged clip decodes to can depend on timing.
    context.thread_count = 1
    context.options = {"max_pixels": str(2 * MAX_PIXELS), "err_detect": "explode"}
    audio = next(iter(container.streams.audio), None)
    rate = video.average_rate or video.guessed_rate
    start = container.start_time
    base = video.time_base or Fraction(1, 90000)
    clock = Clock.of(video.time_base, None if start is None else round(Fraction(start, 1_000_000) / base), rate)
    info = Info(name, context.codec.name, rate, clock.base, *_length(container, video, rate), _codec(audio))
    return Clip(container, video, info, clock)


def _length(container: InputContainer, video: Any, rate: Fraction | None) -> tuple[int | None, float | None]:
    seconds = container.duration / 1_000_000 if container.duration and container.duration > 0 else None
    frames = video.frames or (round(seconds * float(rate)) if seconds and rate and 0 < rate <= 1000 else None)
    return (frames if frames and 0 < frames <= MAX_FRAMES else None), seconds


def _codec(stream: Any | None) -> str:
    if stream is None:
        return ""
    return str(stream.codec_context.codec.canonical_name) if stream.codec_context is not None else "unknown"


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
