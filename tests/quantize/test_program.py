"""Exported programs from files: what is read, and that nothing hidden in a file runs."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from quantize.program import class_name, read_program
from tests.quantize.networks import small
from xmodel.errors import ArtifactError, UsageError


class _Evil:
    """Unpickling it makes a file in the current folder."""

    def __reduce__(self) -> Any:
        return (open, ("pwned", "w"))


@pytest.fixture(scope="module")
def saved() -> bytes:
    program = torch.export.export(small(), (torch.zeros(1, 3, 16, 16),))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def _edited(saved: bytes, change: Callable[[dict[str, bytes]], None]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(saved)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    top = next(iter(members)).partition("/")[0]
    inner = {name.removeprefix(f"{top}/"): data for name, data in members.items()}
    change(inner)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in inner.items():
            archive.writestr(f"{top}/{name}", data)
    return buffer.getvalue()


def _replace(name: str, old: str, new: str) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        text = members[name].decode()
        assert old in text
        members[name] = text.replace(old, new).encode()

    return change


def _pickled_weight(members: dict[str, bytes]) -> None:
    name = "data/weights/model_weights_config.json"
    config = json.loads(members[name])
    first = next(iter(config["config"].values()))
    first["use_pickle"] = True
    members[f"data/weights/{first['path_name']}"] = pickle.dumps(_Evil())
    members[name] = json.dumps(config).encode()


def _put(name: str, content: bytes) -> Callable[[dict[str, bytes]], None]:
    return lambda members: members.update({name: content})


def _huge(members: dict[str, bytes]) -> None:
    name = "data/weights/model_weights_config.json"
    config = json.loads(members[name])
    first = next(iter(config["config"].values()))
    first["tensor_meta"]["sizes"] = [{"as_int": 1 << 40}]
    members[name] = json.dumps(config).encode()


MODEL = "models/model.json"


def test_a_saved_program_comes_back(saved: bytes, tmp_path: Path) -> None:
    path = tmp_path / "small.pt2"
    path.write_bytes(saved)
    program = read_program(path)
    assert class_name(program) == "Small"
    assert torch.equal(program.state_dict["conv1.weight"], small().conv1.weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_pickled_weight, "is a pickled object"),
        (_put("data/sample_inputs/model.pt", pickle.dumps(_Evil())), "holds pickled objects other than tensors"),
        (_put("data/weights/model.pt", pickle.dumps(_Evil())), "holds pickled objects other than tensors"),
        (_put("data/aotinductor/model/x.so", b"\x7fELF"), "carries compiled code"),
        (_put("serialized_exported_program.json", b"{}"), "PyTorch 2.7 and earlier"),
        (_replace(MODEL, "torch.ops.aten.linear.default", "torch.os.system"), "calls 'torch.os.system'"),
        (_replace(MODEL, '"name": "linear"', "\"name\": \"x\\nopen('pwned', 'w')\""), "which is no identifier"),
        (_replace(MODEL, '{"as_int": 16}', '{"as_expr": {"expr_str": "open(\'pwned\', \'w\')"}}'), "not understood"),
        (_replace(MODEL, '{"as_int": 16}', '{"as_expr": {"expr_str": "9**9**9"}}'), "not understood"),
        (_huge, "larger than the whole archive"),
        (lambda members: members.pop("data/weights/weight_0"), "are missing from this archive"),
        (lambda members: members.pop(MODEL), "no torch.export program named 'model'"),
        (_replace(MODEL, '"graph_module"', '"nothing"'), "cannot be read"),
        (_put(MODEL, b"[" * 5000), "cannot be read"),
    ],
)
def test_damage_and_hidden_code_are_refused(
    change: Callable[[dict[str, bytes]], None],
    message: str,
    saved: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.pt2"
    path.write_bytes(_edited(saved, change))
    with pytest.raises(ArtifactError, match=message) as caught:
        read_program(path)
    assert caught.value.where == str(path) and caught.value.hint
    assert [p.name for p in tmp_path.iterdir()] == ["bad.pt2"]


def test_files_that_are_no_program(saved: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.pt2"
    for content in (b"", b"text", saved[: len(saved) // 2], saved[:-10]):
        path.write_bytes(content)
        with pytest.raises(ArtifactError):
            read_program(path)
    with pytest.raises(UsageError, match="No such file"):
        read_program(tmp_path / "none.pt2")


def test_an_archive_that_unpacks_to_more_than_itself(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt2"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/models/model.json", b" " * 1_000_000)
    with pytest.raises(ArtifactError, match="unpacks to more than its own size"):
        read_program(path)
