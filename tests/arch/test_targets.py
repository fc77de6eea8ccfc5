from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

from arch import targets as module
from arch.targets import DEFAULT, Sizes, by_fingerprint, find, targets
from tests.shared import SHARED, needs_shared
from xmodel.errors import ArtifactError, UsageError

ARCH = Path(module.__file__).parent
VARIANTS = targets()[:5]


def test_the_five_variants_of_the_card() -> None:
    assert [(t.name, t.fingerprint_text, t.batch, t.folder) for t in VARIANTS] == [
        ("DPUCVDX8H_ISA1_F2W2", "0x0501000000000fee", 8, "VCK5000"),
        ("DPUCVDX8H_ISA1_F2W2_8PE", "0x0501000000140fee", 8, "VCK50008PE"),
        ("DPUCVDX8H_ISA1_F2W4_6PE_aieDWC", "0x0501000000160c2f", 6, "VCK50006PEDWC"),
        ("DPUCVDX8H_ISA1_F2W4_6PE_aieMISC", "0x05010000001e082e", 6, "VCK50006PEMISC"),
        ("DPUCVDX8H_ISA1_F2W4_4PE", "0x05010000001e082f", 4, "VCK50004PE"),
    ]
    assert all((t.type, t.isa, t.clock_hz) == ("DPUCVDX8H", 1, 350_000_000) for t in VARIANTS)
    assert [t.usable_ops for t in VARIANTS] == [60 * 10**12, 60 * 10**12, 45 * 10**12, 45 * 10**12, 30 * 10**12]
    assert find(DEFAULT).name == DEFAULT


def test_what_the_variants_take() -> None:
    es1, pe8, dwc, misc, pe4 = VARIANTS
    assert [str(t.pool.kernel) for t in VARIANTS] == ["1, 2, 3, 7", "1, 2, 3, 7", "1-8", "1-128", "1-128"]
    assert [t.conv.weight_limit for t in VARIANTS] == [256, 256, 512, 512, 512]
    assert [t.depthwise is not None for t in VARIANTS] == [False, False, True, False, True]
    assert ["mult" in t.eltwise.types for t in VARIANTS] == [False, False, False, True, True]
    assert all((str(t.conv.kernel), str(t.conv.stride)) == ("1-16", "1, 2, 3, 4") for t in VARIANTS)
    assert es1.conv.activations == {"relu", "leaky_relu"}
    assert pe8.conv.activations == {"relu", "relu6", "leaky_relu", "hsigmoid", "hswish"}
    assert [t.memory and t.memory.weight_bytes >> 20 for t in (pe8, dwc, misc, pe4)] == [2, 4, 4, 4]
    assert pe8.max_channels == 16384


def test_the_weight_rule() -> None:
    conv = find("8PE").conv
    assert conv.weight_rows(14, 14, 1024) == 3136
    assert conv.weight_rows(1, 1, 65) == 2
    assert find("U50").conv.weight_rows(1, 1, 65) is None


@pytest.mark.parametrize(
    ("text", "variant"),
    [
        ("DPUCVDX8H_ISA1_F2W2_8PE", 1),
        ("dpucvdx8h_isa1_f2w2_8pe", 1),
        (" VCK50008PE ", 1),
        ("dpuv4e-8pe-normal", 1),
        ("DPUCVDX8H_8pe_normal", 1),
        ("dpuv4e", 1),
        ("0x501000000140fee", 1),
        ("0x0501000000140FEE", 1),
        ("0X0501000000140fee", 1),
        ("/opt/vitis_ai/compiler/arch/DPUCVDX8H/VCK50008PE/arch.json", 1),
        ("/opt/vitis_ai/compiler/arch/DPUCVDX8H/VCK5000/arch.json", 0),
        ("VCK5000", 0),
        ("DPUCVDX8H-DWC", 2),
        ("DPUCVDX8H_6PE_MISC", 3),
        ("DPUCVDX8H_4pe_miscdwc", 4),
        ("0x5010000001e082f", 4),
    ],
)
def test_names_aliases_spellings_and_fingerprints(text: str, variant: int) -> None:
    assert find(text) is VARIANTS[variant]


def test_every_name_and_fingerprint_finds_its_target() -> None:
    for target in targets():
        assert all(find(name) is target for name in (target.name, *target.aliases, target.fingerprint_text))
        assert all(by_fingerprint(value) is target for value in (target.fingerprint, *target.former_fingerprints))


@pytest.mark.parametrize("target", VARIANTS, ids=lambda target: target.name)
def test_the_arch_files_name_their_targets(target: module.Target) -> None:
    path = ARCH / "DPUCVDX8H" / str(target.folder) / "arch.json"
    assert json.loads(path.read_text()) == {"target": target.name}
    assert find(str(path)) is target
    assert find(str(path.parent)) is target


def test_an_arch_file_may_hold_a_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "arch.json").write_text('{"fingerprint": "0x5010000001e082e"}')
    assert find(str(tmp_path)).name.endswith("6PE_aieMISC")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("DPUCVDX8H_ISA1_F2W2_9PE", "There is no target called '.*_9PE'. Did you mean DPUCVDX8H_ISA1_F2W2_8PE"),
        ("banana", "There is no target called 'banana'. Known are DPUCVDX8H_ISA1_F2W2, "),
        ("", "There is no target called ''"),
        ("0x12", "no target with the fingerprint 0x0000000000000012"),
        ("0xfish", "'0xfish' is not a hexadecimal number"),
        ("nowhere/arch.json", "nowhere/arch.json: Cannot read this file"),
    ],
)
def test_unknown_targets_are_explained(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        find(text)
    assert caught.match(message)


@pytest.mark.parametrize("content", ["{}", "[]", '{"target": 5}', '{"target": "a/b"}', "{", '"x"'])
def test_a_damaged_arch_file_is_told(content: str, tmp_path: Path) -> None:
    (tmp_path / "arch.json").write_text(content)
    with pytest.raises(ArtifactError, match=r"arch\.json"):
        find(str(tmp_path / "arch.json"))


@pytest.mark.parametrize(
    "change",
    [{"fingerprint": "0x0601000000140fee"}, {"batch": 0}, {"conv": {}}, {"colour": "red"}, {"type": "X"}, {"pool": 3}],
)
def test_the_table_is_validated(change: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = json.loads((ARCH / "targets.json").read_text())
    (tmp_path / "targets.json").write_text(json.dumps([entries[1] | change]))
    monkeypatch.setattr(module, "__file__", str(tmp_path / "targets.py"))
    with pytest.raises(ArtifactError, match="not described rightly"):
        targets.__wrapped__()


def test_two_targets_of_one_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = json.loads((ARCH / "targets.json").read_text())
    (tmp_path / "targets.json").write_text(json.dumps([entries[1], entries[2] | {"aliases": ["8pe"]}]))
    monkeypatch.setattr(module, "__file__", str(tmp_path / "targets.py"))
    with pytest.raises(ArtifactError, match=r"(?i)two targets are called '8pe'"):
        targets.__wrapped__()


def test_targets_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        VARIANTS[0].batch = 3  # type: ignore[misc]


def test_sizes() -> None:
    sizes = Sizes.parse("1-3,7")
    assert [n for n in range(10) if n in sizes] == [1, 2, 3, 7]
    assert str(Sizes.parse("1-16")) == "1-16"
    for text in ("", "0-3", "x", "5-2"):
        with pytest.raises(ValueError, match=r"."):
            Sizes.parse(text)


@needs_shared
def test_fingerprints_in_compiled_files_are_known() -> None:
    pairs = set()
    for path in (SHARED / "goldens/facts").glob("*.json"):
        nodes = [json.loads(path.read_text())["subgraph_tree"]]
        while nodes:
            node = nodes.pop()
            nodes += node.get("children", [])
            if "dpu_name" in node:
                pairs.add((node["dpu_name"], int(node["fingerprint"], 16)))
    known = {(t.name, value) for t in targets() for value in (t.fingerprint, *t.former_fingerprints)}
    # Two designs of release 1.4 are in no table.
    assert {name for name, _ in pairs - known} == {
        "DPUCVDX8G_ISA1_C32B1_0601001036088111",
        "DPUCZDX8G_ISA0_B4096_MAX_BG2",
    }
