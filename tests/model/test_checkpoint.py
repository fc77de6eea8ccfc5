"""Weights on disk: what is accepted, and how everything else is refused."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from model.checkpoint import load_weights, read_weights, write_weights
from model.uynet import UNet
from xmodel.errors import ArtifactError, UsageError


@pytest.fixture
def state() -> dict[str, Tensor]:
    torch.manual_seed(3)
    return UNet(2, 32).state_dict()


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def assert_equal(net: UNet, state: dict[str, Tensor]) -> None:
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())


def test_written_bytes_follow_from_the_tensors_alone(tmp_path: Path, state: dict[str, Tensor]) -> None:
    write_weights(tmp_path / "a", state)
    write_weights(tmp_path / "b", dict(reversed(state.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    net = UNet(2, 32)
    load_weights(net, tmp_path / "a")
    assert_equal(net, state)


@pytest.mark.parametrize("envelope", [None, "state_dict", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_forms_of_a_checkpoint(tmp_path: Path, state: dict[str, Tensor], envelope: str | None, prefix: str) -> None:
    table = {prefix + key: value for key, value in state.items()}
    table[prefix + "down5.maxpool_conv.1.double_conv.0.weight"] = torch.zeros(4, 4, 3, 3)
    path = saved(tmp_path / "c.pth", {envelope: table, "epoch": 35} if envelope else table)
    net = UNet(2, 32)
    load_weights(net, path)
    assert_equal(net, state)


def test_half_precision_becomes_float32(tmp_path: Path, state: dict[str, Tensor]) -> None:
    half = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    net = UNet(2, 32)
    load_weights(net, saved(tmp_path / "c.pth", half))
    assert net.linear_1.weight.dtype == torch.float32
    assert torch.equal(net.linear_1.weight, half["linear_1.weight"].float())


@pytest.mark.parametrize(("asked", "given", "name"), [(64, 16, "uynet-lite"), (16, 64, "uynet")])
def test_another_width_is_told(tmp_path: Path, asked: int, given: int, name: str) -> None:
    with torch.device("meta"):
        net = UNet(asked, 32)
        shapes = UNet(given, 32).state_dict()
    # One stored element a tensor, seen in its full shape: the file stays small.
    table = {key: torch.zeros((), dtype=value.dtype).expand(value.shape) for key, value in shapes.items()}
    path = saved(tmp_path / "c.pth", table)
    message = (
        rf"'inc.double_conv.0.weight' has the shape \[{given}, 3, 3, 3\]; .*\[{asked}, 3, 3, 3\].*--model {name}\."
    )
    with pytest.raises(ArtifactError, match=message):
        load_weights(net, path)


def test_missing_and_unknown_keys_are_named(tmp_path: Path, state: dict[str, Tensor]) -> None:
    state.pop("linear_2.bias")
    state["up9.up.weight"] = torch.zeros(1)
    with pytest.raises(ArtifactError, match=r"1 missing \(linear_2.bias\) and 1 unknown \(up9.up.weight\)"):
        load_weights(UNet(2, 32), saved(tmp_path / "c.pth", state))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("linear_1.bias", torch.full((16,), float("nan")), "'linear_1.bias' holds values that are not finite"),
        ("linear_1.bias", torch.full((16,), 1e300, dtype=torch.float64), "not finite in float32"),
        ("linear_1.bias", torch.zeros(16, dtype=torch.int32), "'linear_1.bias' is of type int32; .*float32"),
        ("linear_1.bias", torch.zeros(16, dtype=torch.complex64), "is of type complex64"),
        ("inc.double_conv.1.running_var", torch.full((2,), -1.0), "running_var', a variance, holds negative"),
    ],
)
def test_bad_values(tmp_path: Path, state: dict[str, Tensor], key: str, value: Tensor, message: str) -> None:
    state[key] = value
    with pytest.raises(ArtifactError, match=message):
        load_weights(UNet(2, 32), saved(tmp_path / "c.pth", state))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not weights at all",
        b"\xff" * 64,
        (1 << 60).to_bytes(8, "little") + b"{",  # a safetensors header longer than the file
        (2).to_bytes(8, "little") + b"{}",  # no tensor
        (60).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[1000000000],"data_offsets":[0,4]}}',
        (64).to_bytes(8, "little") + b"{" * 64,
        b"PK\x03\x04" + bytes(40),
    ],
)
def test_garbage(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights"
    path.write_bytes(content)
    with pytest.raises(ArtifactError) as error:
        read_weights(path)
    assert error.value.where == str(path)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_truncated(tmp_path: Path, state: dict[str, Tensor], suffix: str) -> None:
    whole = tmp_path / f"whole.{suffix}"
    if suffix == "pth":
        saved(whole, state)
    else:
        write_weights(whole, state)
    content = whole.read_bytes()
    cut = tmp_path / f"cut.{suffix}"
    for keep in (5, 100, len(content) // 2, len(content) - 1):
        cut.write_bytes(content[:keep])
        with pytest.raises(ArtifactError):
            read_weights(cut)


class Trap:
    """Unpickled without care, it would run a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('ran code from a checkpoint')",))


def test_code_is_not_run(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="more than tensors"):
        read_weights(saved(tmp_path / "c.pth", {"a": Trap()}))


def test_compressed_bomb_is_not_unpacked(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 22))
    path = tmp_path / "c.pth"
    path.write_bytes(stream.getvalue())
    with pytest.raises(ArtifactError, match="unpacks to more"):
        read_weights(path)


def test_table_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no table of named tensors"):
        read_weights(saved(tmp_path / "c.pth", {"epoch": 3}))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Cannot read the weights"):
        read_weights(tmp_path / "none.pth")
