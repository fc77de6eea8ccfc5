"""Reading clips: what players show is what is read; damage is named and passed over; what is no clip is refused."""

from __future__ import annotations

import random
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deploy.video import clip, geometry
from deploy.video.clip import AFTER_DAMAGE, opened
from deploy.video.geometry import Geometry, Orientation
from tests.deploy.video.clips import decoded, pictures, write
from xmodel.errors import ArtifactError, UnavailableError, UnmaskError, UsageError


def read(path: Path) -> tuple[clip.Clip, list[clip.Frame]]:
    with opened(path) as found:
        return found, list(found.frames())


def close(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal but for what lossy coding changes."""
    return a.shape == b.shape and float(np.abs(a.astype(float) - b).mean()) < 12


def test_frames_come_in_order_with_their_times_and_pixels(tmp_path: Path) -> None:
    shown, times = pictures(9), [0, 40, 93, 120, 121, 400, 401, 402, 1000]
    path = write(tmp_path / "vfr.mkv", shown, times)
    with opened(path) as found:
        seen = [(frame, found.pixels(frame)) for frame in found.frames()]
    assert [frame.index for frame, _ in seen] == list(range(9))
    assert [found.clock.seconds(frame.tick) for frame, _ in seen] == [time / 1000 for time in times]
    assert all(close(pixels, wanted) for (_, pixels), wanted in zip(seen, shown, strict=True))
    assert (found.clock.repaired, found.damage.packets, found.damage.ended) == (0, 0, "")
    assert (found.info.codec, found.info.audio) == ("h264", "")


@pytest.mark.parametrize(("angle", "turns"), [(90, 1), (180, 2), (-90, 3)])
def test_rotation_in_the_file_is_applied(angle: int, turns: int, tmp_path: Path) -> None:
    (shown,) = pictures(1)
    path = write(tmp_path / "turned.mp4", [shown], rotation=angle)
    with opened(path) as found:
        (pixels,) = [found.pixels(frame) for frame in found.frames()]
        assert found.geometry is not None
        size = found.geometry.height, found.geometry.width
    assert size == pixels.shape[:2] == np.rot90(shown, turns).shape[:2]
    assert close(pixels, np.rot90(shown, turns))


def test_pixels_that_are_not_square_are_stretched(tmp_path: Path) -> None:
    path = write(tmp_path / "wide.mp4", pictures(2), aspect=Fraction(3, 2))
    with opened(path) as found:
        assert {found.pixels(frame).shape for frame in found.frames()} == {(40, 72, 3)}


def test_the_small_picture_is_the_frame_shrunk(tmp_path: Path) -> None:
    path = write(tmp_path / "turned.mp4", pictures(1, 96, 64), rotation=90)
    with opened(path) as found:
        (frame,) = found.frames()
        assert found.geometry is not None and frame.picture is not None
        small, scale = found.geometry.small(frame.picture, 32)
        same, one = found.geometry.small(frame.picture, 999)
        whole = found.pixels(frame)
        assert found.geometry.small(frame.picture, 8)[0].shape == (12, 8, 3)
        assert Geometry((4096, 2), Orientation()).small(frame.picture, 64)[0].shape == (1, 192, 3)
    assert (small.shape, scale, one) == ((48, 32, 3), 0.5, 1.0)
    np.testing.assert_array_equal(same, whole)
    assert close(small, whole.reshape(48, 2, 32, 2, 3).mean(axis=(1, 3)))


def test_a_damaged_middle_is_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mkv", pictures(24, 96, 64))
    content = bytearray(path.read_bytes())
    random.seed(1)
    middle = len(content) * 5 // 12
    content[middle : middle + 1200] = random.randbytes(1200)
    path.write_bytes(content)
    found, frames = read(path)
    good = [frame for frame in frames if not frame.damage]
    assert found.damage.packets or any(frame.damage for frame in frames)
    assert 12 <= len(good) < 24
    assert len(found.damage.first) == min(20, found.damage.packets)
    ticks = [frame.tick for frame in frames]
    assert ticks == sorted(set(ticks))


def test_frames_after_a_damaged_one_are_marked_until_the_next_key_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "clip.mp4", pictures(12), gop=4)
    decode, spoilt = clip.Clip._decode, iter([False] * 5 + [True] + [False] * 20)

    def one_fails(self: clip.Clip, packet: object) -> tuple[list[object], bool]:
        frames, failed = decode(self, packet)
        return ([], True) if next(spoilt) else (frames, failed)

    monkeypatch.setattr(clip.Clip, "_decode", one_fails)
    assert [frame.damage for frame in read(path)[1]] == [""] * 5 + [AFTER_DAMAGE] * 2 + [""] * 4


def test_a_truncated_clip_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = write(tmp_path / "clip.mkv", pictures(24, 96, 64))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    _, frames = read(path)
    assert 4 < len(frames) < 20


def test_other_containers_and_codecs(tmp_path: Path) -> None:
    shown = pictures(6)
    for name, codec in (("a.avi", "mjpeg"), ("b.mov", "mpeg4"), ("c.ts", "libx264"), ("d.mkv", "ffv1")):
        found, frames = read(write(tmp_path / name, shown, codec=codec))
        assert [found.clock.seconds(frame.tick) for frame in frames] == pytest.approx([n / 25 for n in range(6)]), name
        assert found.damage.packets == 0


def refused(path: Path) -> UnmaskError:
    with pytest.raises(UnmaskError) as caught, opened(path) as found:
        list(found.frames())
    assert caught.value.hint or "no such clip" in caught.value.what
    return caught.value


def test_what_is_no_clip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video at all " * 100)
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n")
    (tmp_path / "join.mp4").write_text("ffconcat version 1.0\nfile /etc/passwd\n")
    Image.new("RGB", (8, 8)).save(tmp_path / "still.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "still.mp4", "JPEG")
    whole = write(tmp_path / "whole.mp4", pictures(4)).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])  # the index is at the end
    told = {path.name: refused(path) for path in sorted(tmp_path.iterdir()) if path.name != "whole.mp4"}
    assert {name: type(error) for name, error in told.items() if name.startswith("still")} == {
        "still.png": UsageError, "still.mp4": UsageError
    }  # fmt: skip
    assert "still image" in told["still.png"].what and "unmask infer" in told["still.png"].hint
    assert told["empty.mp4"].what == "This file is empty."
    for name in ("text.mp4", "list.mp4", "join.mp4", "cut.mp4"):
        assert isinstance(told[name], ArtifactError) and "cannot be read as a video" in told[name].what, name
    assert "no such clip" in refused(tmp_path / "none.mp4").what
    assert "This is no file" in refused(tmp_path).what


def test_sound_alone_is_no_clip(tmp_path: Path) -> None:
    import av

    from tests.deploy.video.clips import tone

    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        stream.layout = "mono"
        container.mux([*stream.encode(tone(0)), *stream.encode(None)])
    assert refused(tmp_path / "sound.mp4").what == "There is no video in this file; it holds audio (aac)."


def test_absurd_sizes_are_refused_before_anything_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "clip.mp4", pictures(2))
    monkeypatch.setattr(clip, "MAX_SIDE", 47)
    assert refused(path).what.startswith("Its frames are 48x40 pixels; at most 47 a side")
    monkeypatch.setattr(clip, "MAX_SIDE", geometry.MAX_SIDE)
    monkeypatch.setattr(clip, "MAX_PIXELS", 1000)
    assert "at most 8192 a side and 1000 in all" in refused(path).what


def test_clips_without_end_are_read_up_to_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip, "MAX_FRAMES", 3)
    found, frames = read(write(tmp_path / "clip.mp4", pictures(5)))
    assert len(frames) == 3 and found.damage.ended == "it is not read beyond 3 frames"


def test_random_damage_anywhere_neither_crashes_nor_hangs(tmp_path: Path) -> None:
    whole = write(tmp_path / "clip.mp4", pictures(8), audio="aac").read_bytes()
    for seed in range(40):
        content, place = bytearray(whole), random.Random(seed)
        for _ in range(place.choice((1, 5, 50))):
            content[place.randrange(len(content))] = place.randrange(256)
        (tmp_path / "bad.mp4").write_bytes(content)
        try:
            _, frames = read(tmp_path / "bad.mp4")
        except UnmaskError as error:
            assert error.hint
        else:
            ticks = [frame.tick for frame in frames]
            assert ticks == sorted(set(ticks)) and len(frames) <= 8


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UnavailableError, match="needs the package av") as caught:
        clip.library()
    assert "pip install 'unmask[video]'" in caught.value.hint


def test_the_helper_reads_what_it_writes(tmp_path: Path) -> None:
    shown = pictures(3)
    again = decoded(write(tmp_path / "clip.mkv", shown, [0, 50, 70], codec="ffv1"))
    assert [time for time, _ in again] == [0.0, 0.05, 0.07]
    assert all(close(pixels, wanted) for (_, pixels), wanted in zip(again, shown, strict=True))
