"""Float training: genuine against self-blended crops first, easy to hard; labelled fakes once those are told apart."""

from __future__ import annotations

import copy
import csv
import io
import math
import platform
import re
import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from model.batches import Batches, Stage
from model.checkpoint import write_weights
from model.faces import FAKE, REAL, Photo, load_photos, select
from model.heldout import Crops, answer, crops, mask_iou, real_auc
from model.threshold import set_thresholds
from model.uynet import UNet
from xmodel.artifact import atomic, output_folder, write_json, write_text
from xmodel.errors import ArtifactError, UsageError

CHECKPOINT, WEIGHTS = "checkpoint.pt", "weights.safetensors"


@dataclass(frozen=True, slots=True)
class Phase:
    """`steps` batches of `count` crops of `size` pixels a side."""

    size: int
    count: int
    steps: int

    @property
    def work(self) -> int:
        """Pixels, of which the time is a multiple."""
        return self.steps * self.count * self.size**2


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How a network is trained.

    `data` and `cache` are those of `model.faces.load_photos`; `out` receives the checkpoint, the
    metrics and the weights. The `phases` show the same face crops in growing resolution: small ones
    are cheap, and what gives a forgery away in them is found in large ones faster than from nothing.
    The last phase has the size at which the network is used. Self-blends get harder in
    eight steps, the last after the share `hard_at` of the work (above 1: not within it). Labelled
    fakes take part from the first evaluation at which self-blends of held-out people are told apart
    with an AUC of `gate`.
    """

    data: Path
    out: Path
    cache: Path | None = None
    width: int = 16
    phases: tuple[Phase, ...] = (Phase(64, 24, 4000), Phase(112, 16, 500), Phase(224, 8, 250))
    rate: float = 3e-3
    warm_up: int = 100
    hard_at: float = 1.4
    gate: float = 0.6
    average: float = 0.998
    seed: int = 1
    checkpoint_every: int = 100
    evaluate_every: int = 450
    held_out: int = 40
    workers: int = 1
    threads: int | None = None
    device: str = "auto"
    wandb: bool = False

    @property
    def size(self) -> int:
        return self.phases[-1].size

    @property
    def steps(self) -> int:
        return sum(phase.steps for phase in self.phases)

    def progress(self, step: int) -> float:
        """The share of the work that is done before `step`."""
        done = 0
        for phase in self.phases:
            done += replace(phase, steps=min(step, phase.steps)).work
            step = max(0, step - phase.steps)
        return done / sum(phase.work for phase in self.phases)

    def stage(self, step: int, labelled: bool) -> Stage:
        """What the batch of `step` is made of."""
        # Eight levels of difficulty, so that a stretch of steps shares one stage.
        level = min(1.0, (1 + math.floor(8 * self.progress(step) / self.hard_at)) / 8)
        first = 0
        for phase in self.phases:
            first += phase.steps
            if step < first:
                break
        return Stage(phase.size, phase.count, level, labelled)

    def learning_rate(self, step: int) -> float:
        """Linear warm-up; a half cosine down to a hundredth over the work."""
        ramp = min(1.0, (step + 1) / max(1, self.warm_up))
        return self.rate * ramp * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * self.progress(step))))


@dataclass(slots=True)
class _Run:
    """Everything that a checkpoint holds."""

    net: UNet
    averaged: UNet
    optimizer: torch.optim.Adam
    step: int = 0
    labelled: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)


def train(settings: TrainSettings) -> Path:
    """Train, or go on where a run in `settings.out` was stopped; returns the path of the weights.

    Writes checkpoint.pt (atomic, every `checkpoint_every` steps), metrics.csv, metrics.json and
    weights.safetensors (the exponential average of the weights, its thresholds set on held-out
    people), and tells its progress on stderr.
    Raises `UsageError` for data without genuine photographs and for a checkpoint of another run.
    """
    output_folder(settings.out)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    device = _device(settings.device)
    photos = load_photos(settings.data, settings.cache)
    real, fake = (select(photos, "train", label) for label in (REAL, FAKE))
    if not real:
        raise UsageError(f"Too few genuine photographs in {settings.data}: none falls into the training part.")
    judges = [select(photos, "val", label) for label in (REAL, FAKE)]
    few = [part[: settings.held_out] for part in judges]
    run = _start(settings, device)
    _say(f"{len(real)} genuine and {len(fake)} labelled fakes to train on; step {run.step} of {settings.steps}")
    log = _wandb(settings) if settings.wandb else None
    while run.step < settings.steps:
        _stretch(run, settings, real, fake, device)
        if run.step % settings.evaluate_every == 0 or run.step == settings.steps:
            size = settings.stage(run.step - 1, run.labelled).size
            judged = judge(run.averaged, few[0], few[1], size)
            run.history[-1].update(judged)
            run.labelled = run.labelled or (judged["self_blend_auc"] >= settings.gate and bool(fake))
            _say("held out: " + "  ".join(f"{key} {value:.4f}" for key, value in judged.items()))
        if log is not None:
            log.log(run.history[-1])
        _save(run, settings)
    if judges[0]:
        run.averaged.set_input_size(settings.size)
        shifts = set_thresholds(run.averaged, *_judged_crops(judges[0], judges[1], settings.size))
        _say("thresholds: " + "  ".join(f"{key} {value:.4f}" for key, value in shifts.items()))
    write_weights(settings.out / WEIGHTS, run.averaged.state_dict())
    return settings.out / WEIGHTS


# --- one stretch of steps -----------------------------------------------------------------------


def _stretch(run: _Run, settings: TrainSettings, real: list[Photo], fake: list[Photo], device: torch.device) -> None:
    """Train until the stage changes, an evaluation or a checkpoint is due, or the end."""
    stage = settings.stage(run.step, run.labelled)
    start, stop = run.step, run.step + 1
    while (
        stop < settings.steps
        and stop % settings.evaluate_every
        and stop % settings.checkpoint_every
        and settings.stage(stop, run.labelled) == stage
    ):
        stop += 1
    loader = DataLoader(
        Batches(real, fake, stage, settings.seed),
        batch_size=None,
        sampler=range(start, stop),
        num_workers=settings.workers,
        prefetch_factor=4 if settings.workers else None,
    )
    run.net.set_input_size(stage.size)
    run.net.train()
    total, started = torch.zeros(3), time.monotonic()
    for batch in loader:
        for group in run.optimizer.param_groups:
            group["lr"] = settings.learning_rate(run.step)
        total += _one_step(run, [part.to(device) for part in batch], device)
        _average(run.averaged, run.net, min(settings.average, (1 + run.step) / (10 + run.step)))
        run.step += 1
    loss, pixel, verdict = (total / (stop - start)).tolist()
    rate = stage.count * (stop - start) / (time.monotonic() - started)
    row = {"step": stop, "size": stage.size, "difficulty": stage.difficulty, "labelled": int(stage.labelled)}
    run.history.append({**row, "loss": loss, "pixel_loss": pixel, "verdict_loss": verdict, "images_a_second": rate})
    _say(f"step {stop}/{settings.steps}  loss {loss:.4f} = ½({pixel:.4f} + {verdict:.4f})  {rate:.1f} img/s")


def _one_step(run: _Run, batch: list[Tensor], device: torch.device) -> Tensor:
    images, masks, labels, has_mask = batch
    x = (images.float() / 255).contiguous(memory_format=torch.channels_last)
    with _mixed_precision(device):
        mask_logits, real_logit = run.net.logits(x)
    pixel, verdict = joint_losses(mask_logits.float(), real_logit.float(), masks, labels, has_mask)
    loss = 0.5 * pixel + 0.5 * verdict
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    run.optimizer.step()
    return torch.stack([loss, pixel, verdict]).detach().cpu()


def joint_losses(
    mask_logits: Tensor, real_logit: Tensor, masks: Tensor, labels: Tensor, has_mask: Tensor
) -> tuple[Tensor, Tensor]:
    """(pixel cross-entropy over the images whose mask is known, binary cross-entropy of the verdict).

    Genuine and forged images weigh the same together, whatever their numbers, so that P(real) is
    calibrated for balanced classes. Shapes as in `model.batches.Batches`.
    """
    known = has_mask.nonzero()[:, 0]
    pixel = F.cross_entropy(mask_logits[known], masks[known]) if len(known) else mask_logits.sum() * 0
    share = labels.mean().clamp(1e-3, 1 - 1e-3)
    weight = torch.where(labels > 0.5, 0.5 / share, 0.5 / (1 - share))
    return pixel, F.binary_cross_entropy_with_logits(real_logit, labels, weight)


@torch.no_grad()
def _average(averaged: UNet, net: UNet, keep: float) -> None:
    """Move the exponential average of the weights towards `net`; batch-norm statistics along with them."""
    for mean, value in zip(averaged.state_dict().values(), net.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - keep)
        else:
            mean.copy_(value)


def judge(net: UNet, real: list[Photo], fake: list[Photo], size: int) -> dict[str, float]:
    """How `net` does on crops of held-out people of `size` pixels: AUCs of P(real), mask IoU on
    self-blends, share of pixels fired on genuine crops; NaN where there is nobody to judge by."""
    net.set_input_size(size)
    net.eval()
    parts = _judged_crops(real, fake, size)
    genuine, blended, fakes = (answer(net, part.images) for part in parts)
    return {
        "self_blend_auc": real_auc(genuine, blended),
        "fake_auc": real_auc(genuine, fakes),
        "mask_iou": mask_iou(parts[1].masks, blended),
        "fired": float(genuine.fired.mean()) if real else math.nan,
        "real_on_genuine": float(genuine.real.mean()) if real else math.nan,
        "real_on_blended": float(blended.real.mean()) if real else math.nan,
    }


def _judged_crops(real: list[Photo], fake: list[Photo], size: int) -> tuple[Crops, Crops, Crops]:
    """Genuine, self-blended and labelled-fake crops."""
    return crops(real, size), crops(real, size, forge=True), crops(fake, size)


# --- the run's state ----------------------------------------------------------------------------


def _start(settings: TrainSettings, device: torch.device) -> _Run:
    torch.manual_seed(settings.seed)
    net = UNet(settings.width, settings.size).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    # The fused kernel: on two cores the unfused one costs as much as the network.
    optimizer = torch.optim.Adam(net.parameters(), settings.rate, betas=(0.9, 0.99), fused=True)
    run = _Run(net, copy.deepcopy(net).requires_grad_(False), optimizer)
    path = settings.out / CHECKPOINT
    if path.exists():
        _restore(run, settings, path, device)
    return run


def _identity(settings: TrainSettings) -> dict[str, Any]:
    """What must not change between the parts of a run; its length and pace may."""
    return {key: getattr(settings, key) for key in ("width", "size", "seed")}


def _restore(run: _Run, settings: TrainSettings, path: Path, device: torch.device) -> None:
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        identity, step = dict(state["identity"]), int(state["step"])
        if identity == _identity(settings):
            run.net.load_state_dict(state["net"])
            run.averaged.load_state_dict(state["averaged"])
            run.optimizer.load_state_dict(state["optimizer"])
            run.step, run.labelled, run.history = step, bool(state["labelled"]), list(state["history"])
    except Exception as error:  # torch.load raises whatever the damaged bytes lead it to
        raise ArtifactError(
            "This checkpoint is damaged or of another version.", where=str(path), hint="Remove it to start again."
        ) from error
    if identity != _identity(settings):
        raise UsageError(
            f"The checkpoint {path} is of another run: {identity} instead of {_identity(settings)}.",
            hint="Choose another --out, or remove it to start again.",
        )


def _save(run: _Run, settings: TrainSettings) -> None:
    state = {
        "identity": _identity(settings),
        "step": run.step,
        "labelled": run.labelled,
        "history": run.history,
        "net": run.net.state_dict(),
        "averaged": run.averaged.state_dict(),
        "optimizer": run.optimizer.state_dict(),
    }
    with atomic(settings.out / CHECKPOINT) as stream:
        torch.save(state, stream)
    text = io.StringIO()
    keys = list(dict.fromkeys(key for row in run.history for key in row))
    table = csv.DictWriter(text, keys, lineterminator="\n")
    table.writeheader()
    table.writerows(run.history)
    write_text(settings.out / "metrics.csv", text.getvalue())
    plain: Mapping[str, Any] = {key: str(v) if isinstance(v, Path) else v for key, v in asdict(settings).items()}
    write_json(settings.out / "metrics.json", {"settings": plain, "history": run.history})


# --- the machine --------------------------------------------------------------------------------


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"There is no device {name!r} here: {error}", hint="Use cpu or auto.") from error
    return torch.device(name)


def _mixed_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Automatic bfloat16 where the device computes it faster than float32: GPUs, and CPUs with instructions for it."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.autocast("cuda", torch.bfloat16)
    if device.type == "cpu" and _cpu_has_bf16():
        return torch.autocast("cpu", torch.bfloat16)
    return nullcontext()


def _cpu_has_bf16() -> bool:
    info = Path("/proc/cpuinfo")
    if platform.system() != "Linux" or not info.exists():
        return False
    return re.search(r"\b(avx512_bf16|amx_bf16)\b", info.read_text("utf-8", "replace")) is not None


def _wandb(settings: TrainSettings) -> Any:
    try:
        import wandb
    except ImportError as error:
        raise UsageError("Weights & Biases is not installed.", hint="pip install 'unmask[train]'") from error
    return wandb.init(project="unmask", dir=str(settings.out), config=asdict(settings))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
