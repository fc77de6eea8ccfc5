"""The journal: a run that is stopped anywhere gives, in the end, the results of one that was not."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploy import command, pictures
from deploy.journal import FOLDER, Entry, Journal, checksum, held, logits_crc
from deploy.predictions import Prediction
from tests.deploy.pictures import make_crops, make_labels
from tests.deploy.tiny import compiled, data, exit_code, files
from xmodel import artifact
from xmodel.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (2, 2, 2)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compiled tiny network."""
    folder = tmp_path_factory.mktemp("model")
    return compiled(folder)


def job(model: Path, folder: Path, out: str, *more: object) -> list[object]:
    labels = folder / "metadata.json"
    return ["infer", model, "--crops", folder / "crops", "--labels", labels, "--out", folder / out, *more]


def results(out: Path) -> dict[str, Any]:
    """Everything that a run wrote, without how long it took and what shows that."""
    found: dict[str, Any] = {name: (out / name).read_bytes() for name in files(out)}
    del found["report.html"]
    found["report.json"] = {k: v for k, v in json.loads(found["report.json"]).items() if k != "speed"}
    run = json.loads(found["run.json"])
    found["run.json"] = {k: v for k, v in run.items() if k not in ("seconds", "outputs")} | {"names": [*run["outputs"]]}
    return found


def broken_crops(folder: Path) -> None:
    """Ten crops of which two are damaged, with labels and true masks."""
    crops, _ = data(folder)
    (crops / "v3_0_0.png").write_bytes(b"no image")
    whole = (crops / "v7_0_0.png").read_bytes()
    (crops / "v7_0_0.png").write_bytes(whole[: len(whole) // 2])
    make_crops(folder / "masks", 10, seed=1)
    (folder / "masks" / "v2_0_0.png").write_bytes(b"no mask")


def stop_at(monkeypatch: pytest.MonkeyPatch, error: BaseException, at: int) -> Callable[[], int]:
    """Raise `error` when mask number `at` is drawn; gives how many were drawn since."""
    drawn = [0]
    real = pictures.png

    def png(mask: Any) -> bytes:
        drawn[0] += 1
        if drawn[0] == at:
            raise error
        return real(mask)

    monkeypatch.setattr(pictures, "png", png)
    return lambda: drawn[0]


@pytest.mark.parametrize("at", [1, 3, 8])
@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (OSError(errno.ENOSPC, "No space left on device"), 3)]
)
def test_a_stopped_run_goes_on_and_repeats_nothing(
    model: Path, tmp_path: Path, at: int, error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    broken_crops(tmp_path)
    assert exit_code(*job(model, tmp_path, "whole", "-q")) == 1
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, error, at)
        assert exit_code(*job(model, tmp_path, "out", "--threads", 2, "-q")) == code
    assert (tmp_path / "out" / FOLDER).is_dir() and "run.json" not in files(tmp_path / "out")
    with pytest.MonkeyPatch.context() as patch:
        drawn = stop_at(patch, AssertionError(), 99)
        assert exit_code(*job(model, tmp_path, "out", "--resume")) == 1
    assert drawn() == 8 - (at - 1)
    told = capsys.readouterr().err
    assert ("Going on where an interrupted run was" in told) == (at > 1)
    assert results(tmp_path / "out") == results(tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_drained_run_goes_on(
    model: Path, tmp_path: Path, number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    make_crops(tmp_path / "crops", 70)
    make_labels(tmp_path / "metadata.json", {"v1": "REAL", "v2": "FAKE"})
    assert exit_code(*job(model, tmp_path, "whole", "-q")) == 0
    real = pictures.png
    drawn = [0]

    def png(mask: Any) -> bytes:
        drawn[0] += 1
        if drawn[0] == 5:
            signal.raise_signal(number)
        return real(mask)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "png", png)
        capsys.readouterr()
        assert exit_code(*job(model, tmp_path, "out", "--threads", 2)) == 130
    told = capsys.readouterr().err
    kept = len((tmp_path / "out" / FOLDER / "entries").read_bytes().splitlines())
    assert drawn[0] == kept and 5 <= kept < 70, "what was in flight, no more"
    assert told.index("Stopping: what is in flight") < told.index(f"Interrupted during `infer`. {kept} of 70 crops")
    assert exit_code(*job(model, tmp_path, "out", "-q")) == 0
    assert results(tmp_path / "out") == results(tmp_path / "whole")


def test_files_are_the_same_for_any_number_of_threads(model: Path, tmp_path: Path) -> None:
    broken_crops(tmp_path)
    outs = [f"threads{threads}" for threads in (1, 2, 5, 12)]
    for out in outs:
        assert exit_code(*job(model, tmp_path, out, "--threads", out.removeprefix("threads"), "-q")) == 1
    found = [results(tmp_path / out) for out in outs]
    for result in found:
        del result["run.json"]["arguments"]["threads"]
    assert all(result == found[0] for result in found)


def test_stopped_while_the_report_is_written(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken_crops(tmp_path)
    assert exit_code(*job(model, tmp_path, "whole", "-q")) == 1

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deploy.infer.write_csv", stop)
        assert exit_code(*job(model, tmp_path, "out", "-q")) == 130
    drawn = stop_at(monkeypatch, AssertionError(), 1)
    assert exit_code(*job(model, tmp_path, "out", "-q")) == 1
    assert drawn() == 0 and results(tmp_path / "out") == results(tmp_path / "whole")


def test_other_inputs_do_not_go_on_and_leave_nothing_of_the_stopped_run(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, KeyboardInterrupt(), 6)
        assert exit_code(*job(model, tmp_path, "out", "-q")) == 130
    (tmp_path / "crops" / "v0_0_0.png").unlink()
    assert exit_code(*job(model, tmp_path, "out")) == 0
    assert "is not used from there on: it belongs to other inputs or settings" in capsys.readouterr().err
    assert exit_code(*job(model, tmp_path, "whole", "-q")) == 0
    assert results(tmp_path / "out") == results(tmp_path / "whole")


def test_masks_of_a_finished_run_go_although_the_next_was_stopped(model: Path, tmp_path: Path) -> None:
    data(tmp_path)
    assert exit_code(*job(model, tmp_path, "out", "-q")) == 0
    (tmp_path / "crops" / "v9_0_0.png").unlink()
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, KeyboardInterrupt(), 4)
        assert exit_code(*job(model, tmp_path, "out", "-q")) == 130
    assert exit_code(*job(model, tmp_path, "out", "-q")) == 0
    assert "masks/v9_0_0.png" not in files(tmp_path / "out")


def test_no_resume_starts_again(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, KeyboardInterrupt(), 6)
        assert exit_code(*job(model, tmp_path, "out", "-q")) == 130
    drawn = stop_at(monkeypatch, AssertionError(), 99)
    assert exit_code(*job(model, tmp_path, "out", "--no-resume", "-q")) == 0
    assert drawn() == 10


def test_killed_twenty_times_nothing_is_lost_or_repeated(model: Path, tmp_path: Path) -> None:
    """SIGKILL at random crops, in the middle of the writes, and at random times, until the run comes through."""
    broken_crops(tmp_path)
    assert exit_code(*job(model, tmp_path, "whole", "-q")) == 1
    draw = random.Random(7)
    kills = 0
    while kills < 20:
        at, where = draw.randrange(1, 3), draw.randrange(4)
        child = os.fork()
        if child == 0:  # pragma: no cover - it is killed
            _killed(job(model, tmp_path, "out", "-q"), at, where)
        if where == 3:
            time.sleep(draw.uniform(0, 0.2))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL
            kills += 1
            continue
        assert os.waitstatus_to_exitcode(status) == 1
        assert results(tmp_path / "out") == results(tmp_path / "whole")
        assert not (tmp_path / "out" / FOLDER).exists()
        (tmp_path / "out" / "run.json").unlink()  # the next run begins again
    assert exit_code(*job(model, tmp_path, "out", "-q")) == 1
    assert results(tmp_path / "out") == results(tmp_path / "whole")


def _killed(arguments: list[object], at: int, where: int) -> None:  # pragma: no cover
    """Run the command; SIGKILL at mask number `at`: before its file, before its logits, or after its entry;
    for any other `where`, leave that to the parent."""
    left = [at]

    def die_at() -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    whole, add = artifact.write_bytes, Journal.add

    def write_bytes(path: Path, data: bytes) -> None:
        if path.parent.name == "masks" and where == 0:
            if left[0] == 1:
                path.parent.mkdir(parents=True, exist_ok=True)
                (path.parent / f".{path.name}.killed.part").write_bytes(data[:10])
            die_at()
        whole(path, data)

    def added(self: Journal, entry: Entry, logits: Any) -> None:
        if where == 1:
            if left[0] == 1:
                self._stream.write(b"half a row")
                self._stream.flush()
            die_at()
        add(self, entry, logits)
        if where == 2:
            die_at()

    artifact.write_bytes = write_bytes
    Journal.add = added  # type: ignore[method-assign]
    try:
        command.main([str(a) for a in arguments])
    except SystemExit as end:
        os._exit(int(end.code or 0))
    os._exit(99)


def filled(out: Path, key: str = "k", count: int = 4) -> None:
    with closing(Journal(out, "masks", "logits.npy", key, SHAPE)) as journal:
        for number in range(count):
            logits = np.full(SHAPE, number, np.float32)
            artifact.write_bytes(out / "masks" / f"m{number}", bytes([number]))
            prediction = Prediction(f"f{number}", f"m{number}", "v.mp4", 0.25, 0.5)
            journal.add(Entry(prediction, None, logits_crc(logits), checksum(bytes([number]))), logits)


def reopened(out: Path, key: str = "k") -> tuple[list[str], str]:
    with closing(Journal(out, "masks", "logits.npy", key, SHAPE)) as journal:
        return [entry.prediction.file for entry in journal.done], journal.ignored


def opened_folder(out: Path) -> Path:
    with held(out, "masks", afresh=False):
        filled(out)
    return out


def test_every_entry_comes_back(tmp_path: Path) -> None:
    assert reopened(opened_folder(tmp_path)) == (["f0", "f1", "f2", "f3"], "")


@pytest.mark.parametrize(
    ("name", "damage", "kept"),
    [
        ("entries", lambda b: b[:-1], 3),
        ("entries", lambda b: b.replace(b'"f2"', b'"fX"'), 2),
        ("entries", lambda b: b"\0" * len(b), 0),
        ("entries", lambda b: b"x" * 200_000, 0),
        ("logits", lambda b: b[:-1], 3),
        ("logits", lambda b: b[:-40] + b"\1" + b[-39:], 2),
        ("logits", lambda b: b"", 0),
        ("journal.json", lambda b: b"{", 0),
        ("journal.json", lambda b: b"[1]", 0),
        ("journal.json", lambda b: b'{"key": "k", "earlier": 3}', 0),
    ],
)
def test_damage_costs_what_comes_after_it(
    tmp_path: Path, name: str, damage: Callable[[bytes], bytes], kept: int
) -> None:
    path = opened_folder(tmp_path) / FOLDER / name
    path.write_bytes(damage(path.read_bytes()))
    assert len(reopened(tmp_path)[0]) == kept
    assert len(reopened(tmp_path)[0]) == kept  # opening leaves it sound


def stepped(out: Path, step: float = 0.25) -> Journal:
    return Journal(out, "masks", "logits.npy", "k", SHAPE, step=step)


def test_int8_logits_are_kept_as_what_they_mean(tmp_path: Path) -> None:
    rows = np.arange(-128, 128, dtype=np.int8).reshape(-1, *SHAPE)
    with held(tmp_path, "masks", afresh=False), closing(stepped(tmp_path)) as journal:
        for row in rows:
            artifact.write_bytes(tmp_path / "masks" / "m", b"m")
            journal.add(Entry(Prediction("f", "m", "v.mp4", 0.25, 0.5), None, logits_crc(row), checksum(b"m")), row)
    with closing(stepped(tmp_path)) as journal:
        assert len(journal.done) == len(rows) and not journal.ignored
        journal.finish()
    written = np.load(tmp_path / "logits.npy")
    assert written.dtype == np.float32 and np.array_equal(written, rows * np.float32(0.25))


@pytest.mark.parametrize("value", [0.75 + 2**-20, 1.0, -0.75, 1e30, np.nan, 64.75])
def test_a_real_that_is_not_what_int8_meant_is_damage(tmp_path: Path, value: float) -> None:
    """The CRC is over the int8; a value that only rounds or wraps around to it is found all the same."""
    logits = np.full(SHAPE, 3, np.int8)
    with held(tmp_path, "masks", afresh=False), closing(stepped(tmp_path)) as journal:
        artifact.write_bytes(tmp_path / "masks" / "m", b"m")
        journal.add(Entry(Prediction("f", "m", "v.mp4", 0.25, 0.5), None, logits_crc(logits), checksum(b"m")), logits)
    path = tmp_path / FOLDER / "logits"
    path.write_bytes(path.read_bytes()[:-4] + np.float32(value).tobytes())
    with closing(stepped(tmp_path)) as journal:
        assert not journal.done and journal.ignored == "it is damaged after 0 crops"


@pytest.mark.parametrize("damage", [lambda p: p.unlink(), lambda p: p.write_bytes(b"other")])
def test_a_mask_that_changed_is_made_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    damage(opened_folder(tmp_path) / "masks" / "m1")
    assert reopened(tmp_path) == (["f0"], "it is damaged after 1 crops")


def test_another_process_is_kept_out(tmp_path: Path) -> None:
    second = held(tmp_path, "masks", afresh=False)
    with (
        held(tmp_path, "masks", afresh=False),
        pytest.raises(UsageError, match="Another process is writing"),
        second,
    ):
        pass
    with held(tmp_path, "masks", afresh=False):
        pass


START = """
import time
from deploy import command, pictures
real = pictures.png
pictures.png = lambda mask: (time.sleep(0.02), real(mask))[1]  # so that there is a middle to stop in
command.main()
"""


def test_a_process_that_is_killed_from_outside_goes_on(model: Path, tmp_path: Path) -> None:
    make_crops(tmp_path / "crops", 120)
    arguments = ["infer", model, "--crops", tmp_path / "crops", "--out", tmp_path / "out", "--threads", 2, "-q"]
    process = subprocess.Popen([sys.executable, "-c", START, *map(str, arguments)], cwd=ROOT)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("out/masks/v*.png"))) < 20 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    assert process.wait(30) == -signal.SIGKILL
    assert exit_code(*arguments) == 0
    assert exit_code(*arguments[:5], tmp_path / "whole", "-q") == 0
    for name in ("segmentation_output_array.npy", "classification_output_array.npy", "predictions.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
