"""The whole verb on a tiny network: every frame as `infer` judges it, the overlay, the verdict, what goes wrong."""

from __future__ import annotations

import csv
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deploy.video import drawing, encode, stage
from deploy.video.clip import AFTER_DAMAGE, opened
from deploy.video.results import COLUMNS
from deploy.video.square import Square
from tests.deploy.tiny import exit_code, files
from tests.deploy.video import network
from tests.deploy.video.clips import decoded, pictures, sounds, write

OUTPUTS = {"overlay.mp4", "frames.csv", "report.json", "report.html", "run.json"}
COUNT = 11


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compiled network of 16x16 pixels."""
    return network.write(tmp_path_factory.mktemp("model") / "compile")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise at a variable rate, with sound."""
    times = [0, 40, 93, 120, 160, 200, 240, 300, 301, 360, 400]
    return write(tmp_path_factory.mktemp("clip") / "clip.mp4", pictures(COUNT, 96, 64), times, audio="aac")


def video(model: Path, clip: Path, out: Path, *more: object) -> int:
    return exit_code("video", clip, "--model", model, "--out", out, *more, "-q")


def rows(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "frames.csv").open()))


def report(out: Path) -> Any:
    return json.loads((out / "report.json").read_text())


def upright(clip: Path) -> list[np.ndarray]:
    with opened(clip) as found:
        return [found.pixels(frame) for frame in found.frames()]


def judged_by_infer(
    model: Path, crops: list[np.ndarray], folder: Path
) -> tuple[list[tuple[str, str]], list[np.ndarray]]:
    """P(real) and marked share of crops that are saved as images, and their masks."""
    (folder / "crops").mkdir(parents=True)
    for number, pixels in enumerate(crops):
        Image.fromarray(pixels).save(folder / f"crops/{number:03}.png")
    assert exit_code("infer", model, "--crops", folder / "crops", "--out", folder / "infer", "-q") == 0
    lines = list(csv.DictReader((folder / "infer/predictions.csv").open()))
    masks = [np.asarray(Image.open(folder / f"infer/masks/{n:03}.png")) >= 128 for n in range(len(crops))]
    return [(line["p_real"], line["manipulated"]) for line in lines], masks


def boxes_file(path: Path, *entries: tuple[int, list[float] | None]) -> Path:
    path.write_text(json.dumps({"boxes": [{"frame": frame, "box": box} for frame, box in entries]}))
    return path


def test_whole_frames_are_judged_as_infer_judges_them(model: Path, clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert video(model, clip, out, "--whole-frame") == 0
    assert files(out) == OUTPUTS
    found, frames = rows(out), upright(clip)
    wanted, masks = judged_by_infer(model, frames, tmp_path)
    assert list(found[0]) == list(COLUMNS)
    assert [(row["p_real"], row["manipulated"]) for row in found] == wanted
    assert len(set(wanted)) > COUNT // 2 and any(0 < mask.mean() < 1 for mask in masks)
    assert [row["frame"] for row in found] == [str(n) for n in range(COUNT)]
    times = [0, 0.04, 0.093, 0.12, 0.16, 0.2, 0.24, 0.3, 0.301, 0.36, 0.4]
    assert [float(row["seconds"]) for row in found] == pytest.approx(times, abs=1e-4)
    assert {tuple(row[c] for c in ("left", "top", "width", "height", "reason")) for row in found} == {
        ("0", "0", "96", "64", "")
    }

    told, values = report(out), np.array([float(p) for p, _ in wanted])
    verdict = told["verdict"]
    assert verdict["mean"] == pytest.approx(values.mean(), abs=1e-6)
    assert verdict["median"] == pytest.approx(np.median(values), abs=1e-6)
    assert verdict["trimmed_mean"] == pytest.approx(np.sort(values)[1:-1].mean(), abs=1e-6)
    assert verdict["verdict"] == ("REAL" if verdict["trimmed_mean"] >= 0.5 else "FAKE")
    assert verdict["frames_fake"] == int((values < 0.5).sum())
    assert told["counts"] == {"considered": COUNT, "judged": COUNT, "not_judged": 0, "damaged": 0, "damaged_packets": 0}
    page = (out / "report.html").read_text()
    assert f"{verdict['p_real']:.3f}" in page and 'class="plot wide timeline"' in page and page.count("<figure>") > 4


def test_the_overlay_has_every_frame_its_time_its_mask_and_the_sound(model: Path, clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert video(model, clip, out, "--whole-frame") == 0
    _, masks = judged_by_infer(model, upright(clip), tmp_path)
    shown = decoded(out / "overlay.mp4")
    assert [time for time, _ in shown] == pytest.approx([time for time, _ in decoded(clip)], abs=1e-4)
    codec, seconds = sounds(out / "overlay.mp4")
    assert codec == "aac" and seconds == pytest.approx(sounds(clip)[1], abs=0.15)
    assert report(out)["overlay"] == {
        "frames": COUNT, "width": 96, "height": 64, "codec": "libx264", "audio": "copied (aac)", "blend": "published"
    }  # fmt: skip
    for (_, pixels), frame, mask in zip(shown, upright(clip), masks, strict=True):
        stretched = np.repeat(np.repeat(mask, 4, axis=0), 6, axis=1)  # 16x16 over 96x64
        wanted = 0.4 * frame + 0.6 * 127 * stretched[..., None]
        assert np.abs(pixels - wanted).mean() < 10
        assert np.abs(pixels - frame.astype(float)).mean() > 20


def test_boxes_say_what_is_judged_with_the_margin_of_training(model: Path, clip: Path, tmp_path: Path) -> None:
    boxes = boxes_file(
        tmp_path / "b.json", (1, [30, 12, 60, 42]), (4, [80, 40, 110, 70]), (6, None), (9, [300, 0, 330, 30])
    )
    out = tmp_path / "out"
    assert video(model, clip, out, "--boxes", boxes, "--blend", "tint") == 0
    found, frames = rows(out), upright(clip)
    first, second = Square(24, 6, 42, 42), Square(74, 34, 42, 42)  # 1.4 times the box around its centre
    squares = [None, first, first, first, second, second] + [None] * 5
    wanted, masks = judged_by_infer(model, [s.cut(f) for s, f in zip(squares, frames, strict=True) if s], tmp_path)
    assert [(row["p_real"], row["manipulated"]) for row in found[1:6]] == wanted
    assert [row["reason"] for row in found] == (
        ["There is no box for it."] + [""] * 5 + ["There is no box for it."] * 3
        + ["Its box is outside the frame or too small."] * 2
    )  # fmt: skip
    assert [row["left"] for row in found] == ["", "24", "24", "24", "74", "74", "", "", "", "", ""]
    told = report(out)
    assert told["counts"]["judged"] == 5 and told["counts"]["not_judged"] == 6 and told["where"] == "boxes from a file"
    outside = [pixels[4:60, 70:74] for _, pixels in decoded(out / "overlay.mp4")]
    assert all(np.abs(o - f[4:60, 70:74].astype(float)).mean() < 12 for o, f in zip(outside, frames, strict=True))
    assert 0 < np.mean([mask.mean() for mask in masks]) < 1


@pytest.mark.parametrize("threads", [2, 5])
def test_the_number_of_threads_changes_nothing(threads: int, model: Path, clip: Path, tmp_path: Path) -> None:
    for count in (1, threads):
        assert video(model, clip, tmp_path / str(count), "--whole-frame", "--threads", count) == 0
    for name in ("overlay.mp4", "frames.csv"):
        assert (tmp_path / str(threads) / name).read_bytes() == (tmp_path / "1" / name).read_bytes()
    one, many = (report(tmp_path / str(count)) for count in (1, threads))
    assert {k: v for k, v in one.items() if k != "speed"} == {k: v for k, v in many.items() if k != "speed"}


def test_every_nth_frame_and_a_limit(model: Path, clip: Path, tmp_path: Path) -> None:
    assert video(model, clip, tmp_path / "all", "--whole-frame") == 0
    assert video(model, clip, tmp_path / "some", "--whole-frame", "--every", 3, "--limit", 3) == 0
    some, every = rows(tmp_path / "some"), rows(tmp_path / "all")
    assert [row["frame"] for row in some] == ["0", "3", "6"]
    assert [row["p_real"] for row in some] == [every[n]["p_real"] for n in (0, 3, 6)]
    assert len(decoded(tmp_path / "some/overlay.mp4")) == 9  # a mask holds until the next judged frame


def test_what_is_up_to_date_is_not_done_again(
    model: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert video(model, clip, tmp_path, "--whole-frame", "--limit", 3) == 0
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in OUTPUTS}
    with monkeypatch.context() as patch:
        patch.setattr(stage, "write_frames", None)
        assert video(model, clip, tmp_path, "--whole-frame", "--limit", 3) == 0
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in OUTPUTS} == before
    assert video(model, clip, tmp_path, "--whole-frame", "--limit", 4) == 0
    assert len(rows(tmp_path)) == 4


def test_a_stopped_run_leaves_nothing_that_looks_done(
    model: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert video(model, clip, tmp_path, "--whole-frame", "--limit", 3) == 0

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(drawing, "draw", stop)
        assert video(model, clip, tmp_path, "--whole-frame", "--limit", 5) == 130
    assert "run.json" not in files(tmp_path) and not any(name.startswith(".") for name in files(tmp_path))
    assert video(model, clip, tmp_path, "--whole-frame", "--limit", 5) == 0
    assert files(tmp_path) == OUTPUTS and len(rows(tmp_path)) == 5


def test_odd_sizes_are_padded_for_the_overlay_and_said_so(model: Path, tmp_path: Path) -> None:
    shown = pictures(3, 47, 35)
    clip = write(tmp_path / "odd.mkv", shown, codec="ffv1", rotation=None)
    assert video(model, clip, tmp_path / "out", "--whole-frame") == 0
    overlay = report(tmp_path / "out")["overlay"]
    assert (overlay["width"], overlay["height"], overlay["audio"]) == (48, 36, "none")
    assert {pixels.shape for _, pixels in decoded(tmp_path / "out/overlay.mp4")} == {(36, 48, 3)}
    assert any("padded" in note for note in report(tmp_path / "out")["notes"])


def test_rotated_and_stretched_clips_are_judged_upright(model: Path, tmp_path: Path) -> None:
    clip = write(tmp_path / "turned.mp4", pictures(3, 48, 40), rotation=90, aspect=Fraction(3, 2))
    assert video(model, clip, tmp_path / "out", "--whole-frame") == 0
    wanted, _ = judged_by_infer(model, upright(clip), tmp_path)
    found = rows(tmp_path / "out")
    assert [(row["p_real"], row["manipulated"]) for row in found] == wanted
    assert (found[0]["width"], found[0]["height"]) == ("40", "72")
    notes = " ".join(report(tmp_path / "out")["notes"])
    assert "turned 90° to the left" in notes and "3/2 as wide as high" in notes


@pytest.mark.parametrize("audio", ["pcm_s16le", "mp3"])  # an MP4 file refuses MP3 at 8000 Hz when it is closed
def test_sound_that_an_mp4_cannot_hold_is_encoded_again(audio: str, model: Path, tmp_path: Path) -> None:
    clip = write(tmp_path / "clip.mkv", pictures(30), audio=audio)
    assert video(model, clip, tmp_path / "out", "--whole-frame") == 0
    assert report(tmp_path / "out")["overlay"]["audio"] == f"{audio} to aac"
    codec, seconds = sounds(tmp_path / "out/overlay.mp4")
    assert codec == "aac" and seconds == pytest.approx(1.2, abs=0.2)


def test_sound_that_cannot_be_kept_at_all_is_left_out(
    model: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from av.error import InvalidDataError

    def refuse(self: encode.Encoder, packet: object) -> None:
        raise InvalidDataError(1, "no such sound")

    monkeypatch.setattr(encode.Encoder, "sound", refuse)
    assert video(model, clip, tmp_path, "--whole-frame", "--limit", 3) == 0
    told = report(tmp_path)
    assert told["overlay"]["audio"] == "dropped" and told["notes"] == ["The sound is left out: no such sound."]
    assert len(decoded(tmp_path / "overlay.mp4")) == 3


def test_damage_is_reported_and_exits_with_1(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = write(tmp_path / "clip.mkv", pictures(20, 96, 64))
    content = bytearray(clip.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 900] = bytes(900)
    clip.write_bytes(content)
    assert video(model, clip, tmp_path / "out", "--whole-frame") == 1
    told = report(tmp_path / "out")
    assert told["counts"]["damaged_packets"] or told["counts"]["damaged"]
    assert "1 of 1 clips are damaged" in capsys.readouterr().err
    assert files(tmp_path / "out") == OUTPUTS
    found = rows(tmp_path / "out")
    assert len(decoded(tmp_path / "out/overlay.mp4")) == len(found) == told["counts"]["considered"] < 20
    assert {row["reason"] for row in found} <= {"", AFTER_DAMAGE}
    assert [bool(row["p_real"]) for row in found] == [not row["reason"] for row in found]


def test_a_clip_without_a_face_falls_back_to_its_centre_and_says_so(
    model: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert video(model, clip, tmp_path / "out") == 0
    assert "No face was found in the whole clip: the centre of its frames is judged" in capsys.readouterr().err
    found, centre = rows(tmp_path / "out"), Square(16, 0, 64, 64)
    wanted, _ = judged_by_infer(model, [centre.cut(frame) for frame in upright(clip)], tmp_path)
    assert [(row["p_real"], row["manipulated"]) for row in found] == wanted
    assert report(tmp_path / "out")["where"] == "the centre of the frame"


def test_a_face_is_found_and_followed(model: Path, tmp_path: Path) -> None:
    import cv2
    from skimage import data as images

    face = images.astronaut()[:300, 60:400]  # type: ignore[no-untyped-call]
    portrait = np.asarray(cv2.resize(face, (170, 150), interpolation=cv2.INTER_AREA), np.uint8)
    shown = []
    for number in range(9):
        frame = np.full((180, 320, 3), 90, np.uint8)
        frame[20:170, 20 + 4 * number : 190 + 4 * number] = portrait
        shown.append(frame)
    clip = write(tmp_path / "face.mp4", shown)
    assert video(model, clip, tmp_path / "out") == 0
    found = rows(tmp_path / "out")
    assert report(tmp_path / "out")["where"] == "LBP cascade"
    for number, row in enumerate(found):
        left, top, side = (int(row[c]) for c in ("left", "top", "width"))
        assert abs(left + side / 2 - (20 + 4 * number + 82)) < 12 and abs(top + side / 2 - 86) < 12
        assert 60 < side < 110
    frames = upright(clip)
    squares = [Square(*(int(row[c]) for c in ("left", "top", "width", "height"))) for row in found]
    wanted, _ = judged_by_infer(model, [s.cut(f) for s, f in zip(squares, frames, strict=True)], tmp_path)
    assert [(row["p_real"], row["manipulated"]) for row in found] == wanted


def test_several_clips_and_a_folder(
    model: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    write(folder / "a.mkv", pictures(2))
    (folder / "b.mp4").write_bytes(b"no clip")
    (folder / "notes.txt").write_text("not looked at")
    assert exit_code("video", folder, clip, "--model", model, "--out", tmp_path / "out", "--whole-frame", "--limit", 2,
                     "--json", "-q") == 1  # fmt: skip
    told = capsys.readouterr()
    first, second, third = json.loads(told.out)["clips"]
    assert first["report"]["counts"]["judged"] == third["report"]["counts"]["judged"] == 2
    assert "cannot be read as a video" in second["error"]
    assert "1 of 3 clips could not be judged" in told.err
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"a", "clip"}
    assert files(tmp_path / "out/a") == OUTPUTS


def test_mistakes_are_told(model: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boxes = boxes_file(tmp_path / "b.json", (500, [0, 0, 30, 30]))
    out = tmp_path / "out"
    assert video(model, clip, out, "--boxes", boxes, "--whole-frame") == 2
    assert "--whole-frame and --boxes exclude each other" in capsys.readouterr().err
    assert video(model, clip, out, "--boxes", boxes) == 1
    told = capsys.readouterr().err
    assert f"Not one of {COUNT} frames could be judged." in told and "There is no box for it." in told
    assert "run.json" not in files(out)
    assert video(model, clip, out, "--boxes", tmp_path / "none.json") == 2
    assert video(model, clip, out, "--face-model", tmp_path / "none.onnx") == 2
    (tmp_path / "empty").mkdir()
    assert video(model, tmp_path / "empty", out) == 2
    assert "There is no clip in this folder" in capsys.readouterr().err
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "same.mp4", pictures(1))
    assert exit_code("video", tmp_path / "one", tmp_path / "two", "--model", model, "--out", out) == 2
    assert "Two clips are called 'same.mp4'" in capsys.readouterr().err
