from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from xmodel import artifact
from xmodel.errors import ArtifactError, UnavailableError, UsageError


def _stage(folder: Path, arguments: dict[str, str], files: dict[str, str]) -> bool:
    def work() -> list[str]:
        for name, text in files.items():
            artifact.write_text(folder / name, text)
        return list(files)

    return artifact.run_stage(folder, artifact.record("stage", {"in": "1"}, arguments), work)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_stage_runs_once_for_the_same_inputs(tmp_path: Path) -> None:
    assert _stage(tmp_path, {"a": "1"}, {"x": "one"}) is True
    assert _stage(tmp_path, {"a": "1"}, {"x": "one"}) is False
    assert _stage(tmp_path, {"a": "2"}, {"x": "two"}) is True
    assert (tmp_path / "x").read_text() == "two"


@pytest.mark.parametrize("damage", ["changed", None])
def test_a_stage_runs_again_when_an_output_is_not_as_it_was(tmp_path: Path, damage: str | None) -> None:
    _stage(tmp_path, {}, {"x": "one"})
    (tmp_path / "x").unlink() if damage is None else (tmp_path / "x").write_text(damage)
    assert _stage(tmp_path, {}, {"x": "one"}) is True


def test_outputs_of_an_earlier_run_go(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("not of a stage")
    _stage(tmp_path, {"model": "a"}, {"A_int.xmodel": "a", "report.json": "{}"})
    _stage(tmp_path, {"model": "b"}, {"B_int.xmodel": "b", "report.json": "{}"})
    assert _names(tmp_path) == ["B_int.xmodel", "mine", "report.json", "run.json"]


def test_nothing_outside_the_folder_goes(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("")
    _stage(tmp_path / "out", {}, {"x": "one"})
    run = tmp_path / "out" / artifact.RUN_FILE
    run.write_text(json.dumps({"outputs": {"../precious": "", str(tmp_path / "precious"): ""}}))
    assert _stage(tmp_path / "out", {}, {"x": "one"}) is True
    assert (tmp_path / "precious").exists()


@pytest.mark.parametrize("text", ["", "[]", '{"outputs": 3}', "{"])
def test_a_damaged_run_file_only_makes_the_stage_run(tmp_path: Path, text: str) -> None:
    (tmp_path / artifact.RUN_FILE).write_text(text)
    assert _stage(tmp_path, {}, {"x": "one"}) is True


def test_a_stage_that_fails_is_not_up_to_date(tmp_path: Path) -> None:
    def fail() -> list[str]:
        raise KeyboardInterrupt

    _stage(tmp_path, {}, {"x": "one"})
    with pytest.raises(KeyboardInterrupt):
        artifact.run_stage(tmp_path, artifact.record("stage", {}, {}), fail)
    assert _stage(tmp_path, {}, {"x": "one"}) is True


def test_an_interrupted_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), artifact.atomic(path) as stream:
        stream.write(b"half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert _names(tmp_path) == ["x"]


def test_a_file_of_a_killed_process_is_in_nobodys_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact, "_numbers", iter((5, 6)))
    handle, left = artifact._beside(tmp_path / "new" / "x")
    os.close(handle)
    monkeypatch.setattr(artifact, "_numbers", iter((5, 6)))
    before = os.umask(0o77)
    try:
        artifact.write_bytes(tmp_path / "new" / "x", b"whole")
    finally:
        os.umask(before)
    assert (tmp_path / "new" / "x").read_bytes() == b"whole" and left.read_bytes() == b""
    assert (tmp_path / "new" / "x").stat().st_mode & 0o777 == 0o644


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(UnavailableError, match="No space left") as caught,
        artifact.atomic(tmp_path / "x"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert "Free some space" in caught.value.hint
    assert _names(tmp_path) == []


def test_json_is_finite_and_bounded(tmp_path: Path) -> None:
    artifact.write_json(tmp_path / "x", {"a": float("nan"), "b": [1.5, float("inf")], "c": "é"})
    assert artifact.read_json(tmp_path / "x") == {"a": None, "b": [1.5, None], "c": "é"}
    with pytest.raises(ArtifactError, match="at most 4 are read"):
        artifact.read_json(tmp_path / "x", limit=4)
    with pytest.raises(ArtifactError, match="at most 4 are read"):
        artifact.read_json(Path("/dev/zero"), limit=4)
    with pytest.raises(UsageError, match="Cannot read"):
        artifact.read_json(tmp_path / "missing")


def test_a_folder_digest_depends_on_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = artifact.sha256(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert artifact.sha256(tmp_path) != first
    (tmp_path / "b").rename(tmp_path / "a")
    assert artifact.sha256(tmp_path) == first
