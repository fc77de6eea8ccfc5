"""Several clips: whose fault an error is."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.console import Output
from deploy.video import many
from deploy.video.stage import VideoJob
from xmodel.errors import ArtifactError, GateError

MODEL = Path("model.xmodel")


def _judge(clips: list[Path], error: BaseException, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[many.Done]:
    def fails(_job: VideoJob, _out: Output) -> None:
        raise error

    monkeypatch.setattr(many, "video_stage", fails)
    return many.judge_clips(clips, tmp_path, lambda clip, out: VideoJob(MODEL, clip, out), Output(quiet=True))


def test_a_bad_model_ends_it_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no graph"):
        _judge([Path("a.mp4"), Path("b.mp4")], ArtifactError("no graph", where=str(MODEL)), monkeypatch, tmp_path)


def test_when_no_clip_can_be_judged_no_results_are_promised(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clips = [Path("a.mp4"), Path("b.mp4")]
    done = _judge(clips, ArtifactError("empty", where="a.mp4"), monkeypatch, tmp_path)
    with pytest.raises(GateError, match=r"2 of 2 clips could not be judged\.") as caught:
        many.demand(done)
    assert "results" not in caught.value.what


@pytest.mark.parametrize(("count", "said"), [(1, "starts this clip over"), (2, "Finished clips are kept")])
def test_ctrl_c_says_what_is_kept(count: int, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt, match=said):
        _judge([Path(f"{n}.mp4") for n in range(count)], KeyboardInterrupt(), monkeypatch, tmp_path)
