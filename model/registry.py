"""The networks that can be named on the command line, and how to get one with its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch

from model.checkpoint import load_weights
from model.uynet import UNet
from xmodel.errors import UsageError
from xmodel.preprocess import Preprocessing

_WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A network: its name, a title for reports, its class's name (the graph is called so), its base
    width, its preprocessing, and the weights shipped with it, if any."""

    name: str
    title: str
    class_name: str
    width: int
    preprocessing: Preprocessing
    weights: Path | None


_SPECS = (
    ModelSpec("uynet", "U-YNet", "UNet", 64, Preprocessing(224, 224), None),
    ModelSpec("uynet-lite", "U-YNet light", "UNet", 16, Preprocessing(224, 224), _WEIGHTS / "uynet_lite.safetensors"),
)
MODELS: Mapping[str, ModelSpec] = MappingProxyType({spec.name: spec for spec in _SPECS})


def find(name: str) -> ModelSpec:
    """The network of that name. Raises `UsageError` that lists the names there are."""
    spec = MODELS.get(name.lower())
    if spec is None:
        raise UsageError(f"There is no model {name!r}.", hint=f"Choose one of: {', '.join(MODELS)}.")
    return spec


def load(name: str, weights: Path | None = None, seed: int | None = None) -> torch.nn.Module:
    """The network in evaluation mode: (N, 3, 224, 224) in [0, 1] → (mask logits (N, 2, 224, 224), P(real) (N, 1)).

    Weights are those of the file `weights`; without it random ones where a `seed` is given; without
    that the shipped ones. Raises `UsageError` where none are shipped, and the errors of
    `model.checkpoint.load_weights`.
    """
    spec = find(name)
    source = weights or (spec.weights if seed is None else None)
    if source is None and seed is None:
        raise UsageError(
            f"No weights are shipped for the model {name!r}.",
            hint="Give a file with --weights (make: WEIGHTS=...); `unmask fetch` brings the published one.",
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        net = UNet(spec.width, spec.preprocessing.width)
    if source is not None:
        load_weights(net, source)
    return net.eval()
