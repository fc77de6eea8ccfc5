"""Network weights on disk: strict reading of safetensors and PyTorch checkpoints, deterministic writing."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from xmodel.artifact import write_bytes
from xmodel.errors import ArtifactError, UsageError

MAX_BYTES = 4 << 30  # the published checkpoint has 0.3 GB
_MAX_HEADER = 16 << 20  # of a safetensors file: it describes tensors, some 100 bytes each
_ENVELOPES = ("state_dict", "model_state_dict")  # where training scripts keep the weights in a checkpoint
_WRAPPER = "module."  # what nn.DataParallel puts before every key
_FIRST = "inc.double_conv.0.weight"  # its first dimension is the network's width


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file, by key, on the CPU.

    `path` is a safetensors file, or what `torch.save` wrote of a state dict, alone or under
    `state_dict` or `model_state_dict` of a checkpoint; a `module.` before every key is taken off.
    Nothing but tensors and plain values is unpickled. Raises `UsageError` where there is no such
    file and `ArtifactError` where it is damaged or something else.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(9)
    except OSError as error:
        raise UsageError(f"Cannot read the weights {path}: {error.strerror}.") from error
    if size > MAX_BYTES:
        raise ArtifactError(f"This file of {size} bytes is too large for weights.", where=str(path))
    if head[:4] == b"PK\x03\x04":
        return _from_torch(path, size)
    header = int.from_bytes(head[:8], "little")
    if head[8:] == b"{" and header <= min(size - 8, _MAX_HEADER):
        return _from_safetensors(path)
    raise ArtifactError(
        "This is neither a safetensors file nor a PyTorch checkpoint, or it is cut off.",
        where=str(path),
        hint="Save weights with safetensors, or with torch.save(net.state_dict(), path) of PyTorch 1.6 or later.",
    )


def load_weights(net: nn.Module, path: Path, ignore: Sequence[str] = ("down5.",)) -> None:
    """Put the weights of `path` into `net`: every key, shape and value must fit.

    Keys that begin with one of `ignore` are left out: the published checkpoint carries a block
    that no output depends on. Floating-point tensors of another width become float32. Raises
    `ArtifactError` that names the key with what was expected and found, besides the errors of
    `read_weights`.
    """
    found = {key: value for key, value in read_weights(path).items() if not key.startswith(tuple(ignore))}
    expected = net.state_dict()
    _check_keys(expected, found, path)
    for key, value in expected.items():
        _check_tensor(key, value, found[key], expected, found, path)
    net.load_state_dict({key: found[key].to(value.dtype) for key, value in expected.items()})


def write_weights(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors, atomically; the same tensors give the same bytes."""
    write_bytes(path, safetensors.torch.save({key: state[key].detach().cpu().contiguous() for key in sorted(state)}))


def _from_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load_file(path, device="cpu")
    except (SafetensorError, OSError, ValueError, KeyError, AttributeError) as error:
        raise ArtifactError(f"This safetensors file is damaged: {error}.", where=str(path)) from error
    return _unwrap(tensors, path)


def _from_torch(path: Path, size: int) -> dict[str, Tensor]:
    try:
        with zipfile.ZipFile(path) as archive:
            # torch.save stores without compression, so anything that unpacks to more is no checkpoint.
            if sum(entry.file_size for entry in archive.infolist()) > size:
                raise ArtifactError("This archive unpacks to more than its own size.", where=str(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except ArtifactError:
        raise
    except Exception as error:  # damaged bytes lead the reader to any exception
        # Its text is not passed on: it advises to load without `weights_only`, which runs code from the file.
        raise ArtifactError(
            "This PyTorch checkpoint is damaged, or holds more than tensors and plain values.",
            where=str(path),
            hint="Save the weights alone: torch.save(net.state_dict(), path).",
        ) from error
    return _unwrap(content, path)


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    for envelope in _ENVELOPES:
        if isinstance(content, Mapping) and isinstance(content.get(envelope), Mapping):
            content = content[envelope]
    tensors = isinstance(content, Mapping) and all(
        isinstance(key, str) and isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized
        for key, value in content.items()
    )
    if not tensors or not content:
        raise ArtifactError(
            "There is no table of named tensors in this file.",
            where=str(path),
            hint="Save the weights alone: torch.save(net.state_dict(), path).",
        )
    if all(key.startswith(_WRAPPER) for key in content):
        content = {key.removeprefix(_WRAPPER): value for key, value in content.items()}
    return dict(content)


def _check_keys(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path) -> None:
    missing = [key for key in expected if key not in found]
    strange = [key for key in found if key not in expected]
    if not missing and not strange:
        return
    parts = [
        f"{len(keys)} {word} ({_some(keys)})" for word, keys in (("missing", missing), ("unknown", strange)) if keys
    ]
    raise ArtifactError(
        f"These weights are not of this network: keys are {' and '.join(parts)}.",
        where=str(path),
        hint=_width_hint(expected, found) or _keys_hint(expected),
    )


def _check_tensor(
    key: str, want: Tensor, have: Tensor, expected: Mapping[str, Tensor], found: Mapping[str, Tensor], path: Path
) -> None:
    if have.shape != want.shape:
        raise ArtifactError(
            f"Weight {key!r} has the shape {list(have.shape)}; the network's is {list(want.shape)}.",
            where=str(path),
            hint=_width_hint(expected, found),
        )
    if have.is_floating_point() != want.is_floating_point() or have.is_complex() or have.dtype == torch.bool:
        kind = str(have.dtype).removeprefix("torch.")
        raise ArtifactError(
            f"Weight {key!r} is of type {kind}; the network's is {str(want.dtype).removeprefix('torch.')}.",
            where=str(path),
        )
    if not torch.isfinite(have.to(want.dtype)).all():
        raise ArtifactError(f"Weight {key!r} holds values that are not finite in float32.", where=str(path))
    if key.endswith("running_var") and (have < 0).any():
        raise ArtifactError(f"Weight {key!r}, a variance, holds negative values.", where=str(path))


def _keys_hint(expected: Mapping[str, Tensor]) -> str:
    if _FIRST in expected:
        return "The keys must be those of U-YNet's published checkpoint."
    return "The keys must be those of the network's state_dict()."


def _width_hint(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    from model.registry import MODELS

    if _FIRST not in expected or _FIRST not in found or not found[_FIRST].ndim:
        return ""
    width = found[_FIRST].shape[0]
    if width == expected[_FIRST].shape[0]:
        return ""
    names = [spec.name for spec in MODELS.values() if spec.width == width]
    return f"This looks like width {width}" + (f": use --model {names[0]}." if names else ", which no model here has.")


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:3]) + (", …" if len(keys) > 3 else "")
