"""Training: what is in a batch, what is minimized, and that a killed run goes on as if nothing had happened."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from model.batches import Batches, Stage, random_pair, resize_mask
from model.checkpoint import load_weights, read_weights
from model.faces import FAKE, REAL
from model.train import CHECKPOINT, WEIGHTS, Phase, TrainSettings, joint_losses, train
from model.uynet import UNet
from tests.model.pictures import folder, photos
from xmodel.errors import ArtifactError, UsageError


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def tiny(tmp_path: Path) -> TrainSettings:
    data = folder(tmp_path / "data", real=30, fake=20)
    return TrainSettings(
        data=data,
        out=tmp_path / "out",
        cache=tmp_path / "boxes.json",
        width=2,
        phases=(Phase(32, 4, 4), Phase(64, 3, 3)),
        warm_up=2,
        checkpoint_every=2,
        evaluate_every=3,
        workers=0,
        device="cpu",
    )


def test_batch_depends_on_seed_and_step_alone() -> None:
    stage = Stage(size=32, count=8, difficulty=1.0, labelled=True)
    real, fake = photos(5, REAL), photos(4, FAKE)
    batches = Batches(real, fake, stage, seed=1)
    batches[3]
    first, again = batches[7], Batches(real, fake, stage, seed=1)[7]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], Batches(real, fake, stage, seed=2)[7][0])
    assert not torch.equal(first[0], batches[8][0])


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("size", [32, 64])
def test_what_is_in_a_batch(size: int, labelled: bool) -> None:
    stage = Stage(size, 8, 0.5, labelled)
    images, masks, labels, has_mask = Batches(photos(5, REAL), photos(4, FAKE), stage, seed=1)[0]
    genuine, blends, fakes = (3, 3, 2) if labelled else (4, 4, 0)
    assert stage.parts == (genuine, blends, fakes)
    assert images.shape == (8, 3, size, size)
    assert images.dtype == torch.uint8
    assert labels[:, 0].tolist() == [1.0] * genuine + [0.0] * (blends + fakes)
    assert has_mask.tolist() == [True] * (genuine + blends) + [False] * fakes
    manipulated = masks.flatten(1).sum(dim=1) > 0
    assert manipulated.tolist() == [False] * genuine + [True] * blends + [False] * fakes


def test_both_kinds_even_in_the_smallest_batches() -> None:
    for count in range(2, 20):
        for labelled in (False, True):
            genuine, blends, fakes = Stage(32, count, 1.0, labelled).parts
            assert min(genuine, blends) >= 1
            assert genuine + blends + fakes == count


@pytest.mark.parametrize("size", [32, 64, 160])
def test_a_pair_differs_by_the_forgery_alone(size: int) -> None:
    photo = photos(1, REAL)[0]
    for seed in range(12):
        (plain, empty), (forged, mask) = random_pair(photo, size, 0.0, np.random.default_rng(seed))
        assert plain.shape == forged.shape == (size, size, 3)
        assert empty.shape == mask.shape == (size, size)
        assert not empty.any()
        assert mask.any()
        near = cv2.dilate(mask, np.ones((size // 4 + 1, size // 4 + 1), np.uint8))
        assert np.array_equal(plain[near == 0], forged[near == 0])
        assert np.abs(plain.astype(int) - forged)[mask == 1].mean() > 1


def test_resized_mask() -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[:, 4:] = 1
    assert np.array_equal(resize_mask(mask, 4), np.repeat([[0, 0, 1, 1]], 4, axis=0))
    assert resize_mask(mask, 16).mean() == 0.5


def test_losses() -> None:
    logits = torch.zeros(3, 2, 4, 4)
    masks = torch.zeros(3, 4, 4, dtype=torch.int64)
    labels = torch.tensor([[1.0], [0.0], [0.0]])
    logits[2, 1] = 50.0  # a labelled fake that says "all manipulated": it has no mask, so it costs nothing
    pixel, verdict = joint_losses(logits, torch.zeros(3, 1), masks, labels, torch.tensor([True, True, False]))
    assert float(pixel) == pytest.approx(math.log(2))
    assert float(verdict) == pytest.approx(math.log(2))
    # One genuine image weighs as much as the two forged ones together.
    _, verdict = joint_losses(
        logits, torch.tensor([[9.0], [9.0], [9.0]]), masks, labels, torch.ones(3, dtype=torch.bool)
    )
    assert float(verdict) == pytest.approx((math.log1p(math.exp(-9)) + math.log1p(math.exp(9))) / 2, rel=1e-5)


def test_schedule() -> None:
    phases = (Phase(64, 8, 800), Phase(128, 4, 200), Phase(128, 2, 800))  # work: 4 : 2 : 4
    settings = TrainSettings(Path("data"), Path("out"), phases=phases, warm_up=10, hard_at=0.5)
    assert (settings.steps, settings.size) == (1800, 128)
    assert [settings.progress(step) for step in (0, 400, 800, 900, 1800)] == pytest.approx([0, 0.2, 0.4, 0.5, 1])
    rates = [settings.learning_rate(step) for step in range(1800)]
    assert rates[0] == pytest.approx(settings.rate / 10)
    assert max(rates) == pytest.approx(settings.rate, rel=1e-3)
    assert rates[900] == pytest.approx(settings.rate * 0.505)
    assert rates[-1] == pytest.approx(settings.rate / 100, rel=0.01)
    levels = [settings.stage(step, False).difficulty for step in range(1800)]
    assert levels == sorted(levels)
    assert (levels[0], levels[899], levels[900]) == (1 / 8, 1.0, 1.0)
    assert [(settings.stage(s, True).size, settings.stage(s, True).count) for s in (799, 800, 1000, 1799)] == [
        (64, 8),
        (128, 4),
        (128, 2),
        (128, 2),
    ]


def test_run_leaves_weights_and_metrics(tiny: TrainSettings, capsys: pytest.CaptureFixture[str]) -> None:
    weights = train(tiny)
    assert weights == tiny.out / WEIGHTS
    net = UNet(2, 64)
    start = {key: value.clone() for key, value in net.state_dict().items()}
    load_weights(net, weights)
    assert any(not torch.equal(value, start[key]) for key, value in net.state_dict().items())
    with (tiny.out / "metrics.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert [int(row["step"]) for row in rows][-1] == 7
    history = json.loads((tiny.out / "metrics.json").read_text())["history"]
    assert all(math.isfinite(row["loss"]) for row in history)
    assert [row["step"] for row in history if "self_blend_auc" in row] == [3, 6, 7]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "step 7/7" in captured.err


def test_labelled_fakes_join_when_self_blends_are_told_apart(tiny: TrainSettings) -> None:
    for gate, joined in ((0.0, [0, 1]), (2.0, [0, 0])):
        out = tiny.out / str(gate)
        train(replace(tiny, out=out, gate=gate))
        history = json.loads((out / "metrics.json").read_text())["history"]
        assert [row["labelled"] for row in (history[0], history[-1])] == joined


def test_resumed_run_equals_an_uninterrupted_one(tiny: TrainSettings) -> None:
    train(tiny)
    code = """
import sys
from pathlib import Path
import torch
from model.train import Phase, TrainSettings, train
torch.set_num_threads(1)
train(eval(sys.argv[1], {"TrainSettings": TrainSettings, "Phase": Phase, "PosixPath": Path, "WindowsPath": Path}))
"""
    again = replace(tiny, out=tiny.out.parent / "killed")
    process = subprocess.Popen(
        [sys.executable, "-c", code, repr(again)],
        cwd=Path(__file__).parents[2],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 60
    while not (again.out / CHECKPOINT).exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert torch.load(again.out / CHECKPOINT, weights_only=True)["step"] >= 1
    train(again)
    expected, got = (read_weights(settings.out / WEIGHTS) for settings in (tiny, again))
    assert all(torch.equal(value, got[key]) for key, value in expected.items())


def test_checkpoint_of_another_run(tiny: TrainSettings) -> None:
    train(tiny)
    with pytest.raises(UsageError, match="is of another run"):
        train(replace(tiny, width=4))


def test_damaged_checkpoint(tiny: TrainSettings) -> None:
    tiny.out.mkdir()
    (tiny.out / CHECKPOINT).write_bytes(b"damaged")
    with pytest.raises(ArtifactError, match=r"is damaged.*Remove it to start again"):
        train(tiny)


def test_unknown_device(tiny: TrainSettings) -> None:
    with pytest.raises(UsageError, match="There is no device 'abacus' here"):
        train(replace(tiny, device="abacus"))
