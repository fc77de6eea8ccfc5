"""A thousand damaged outputs of faulty cards: none crashes, none makes the card healthy."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from deploy.card.evidence import facts_of
from deploy.card.facts import Fact, gathered
from deploy.card.judge import judged
from tests.deploy.card import samples
from tests.deploy.card.test_judge import FAULTS

TEXT_FAULTS: dict[str, dict[str, bytes]] = {
    "hot text": {"log": samples.examine_text({"device": 98}).encode(), "validate": samples.validation_text().encode()},
    "no AUX text": {
        "log": samples.examine_text(rails={"12v_aux_1": " 0.041 V"}).encode(),
        "validate": samples.validation_text().encode(),
    },
    "not calibrated text": {
        "log": samples.examine_text().replace("Calibrated         : true", "Calibrated         : false").encode(),
        "validate": samples.validation_text().encode(),
    },
    **{
        f"{era} {test} text": {"validate": text.encode()}
        for test in (2, 3, 5)
        for era, text in (
            ("2022", samples.validation_text(outcomes={test: "FAILED"})),
            ("2021", samples.validation_text("2021", {test: "FAILED"})),
            ("legacy", samples.legacy_text({test: "FAILED"})),
        )
    },
    "2022 verify skipped text": {"validate": samples.validation_text(outcomes={2: "SKIPPED"}).encode()},
}
# What a lost or renamed field can hide: an empty cage has no sensor, and a test may print no figure.
_NOT_RECOVERABLE = {"hot cage", "slow DMA", "unreadable DMA", "low slot", "firewall", "vfio", "no driver", "lost link",
                    "strange link", "inactive SC", "golden", "iops skipped with an error"}  # fmt: skip
_NOISE = ("[XRT] WARNING: clock 0 is slow", "WARNING: xclmgmt version is unknown.", "Verbose: Enabling Verbosity")


def _line_lost(text: str, chance: random.Random) -> str:
    lines = text.split("\n")
    del lines[chance.randrange(len(lines))]
    return "\n".join(lines)


def _cut(text: str, chance: random.Random) -> str:
    """Anywhere in a test run; in reports after the last fault, for what is gone whole leaves no trace."""
    least = max(text.find("98 C"), text.find("0.041"), text.find(": false"), 0)
    return text[: chance.randrange(least + bool(least) * 8, max(len(text) - 3, least + 9))]


def _renamed(text: str, chance: random.Random) -> str:
    lines = text.split("\n")
    index = chance.choice([i for i, line in enumerate(lines) if any(c.isalpha() for c in line)])
    line = lines[index]
    place = chance.choice([i for i, c in enumerate(line) if c.isalpha()])
    lines[index] = line[:place] + "Q" + line[place + 1 :]
    return "\n".join(lines)


def _commas(text: str, chance: random.Random) -> str:
    return "".join("," if c == "." and chance.random() < 0.7 else c for c in text)


def _noisy(text: str, chance: random.Random) -> str:
    lines = text.split("\n")
    for _ in range(chance.randrange(1, 12)):
        lines.insert(chance.randrange(len(lines)), chance.choice(_NOISE))
    return "\n".join(lines)


def _coloured(text: str, chance: random.Random) -> str:
    return "\n".join(f"\x1b[38;5;{chance.randrange(256)}m{line}\x1b[0m\r" for line in text.split("\n"))


TEXT_DAMAGE: tuple[Callable[[str, random.Random], str], ...] = (_line_lost, _cut, _renamed, _commas, _noisy, _coloured)
_VALUES: tuple[Any, ...] = (None, "", "N/A", [], {}, [[]], "unknown", "-")


def _places(node: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a document; items of lists are changed, not taken out."""
    found: list[tuple[Any, Any]] = []
    for key in list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
        found.append((node, key))
        found += _places(node[key])
    return found


def _damaged_json(data: bytes, chance: random.Random) -> bytes:
    document = json.loads(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        places = _places(document)
        if not places:
            break
        node, key = chance.choice(places)
        kind = chance.randrange(4)
        if kind == 0 and isinstance(node, dict):
            del node[key]
        elif kind == 1 and isinstance(node, dict):
            node[f"{key}_x"] = node.pop(key)
        elif kind == 2 and isinstance(node[key], str) and "." in node[key]:
            node[key] = node[key].replace(".", ",")
        elif not (isinstance(node[key], bool) or node[key] in ("true", "PASSED")):
            node[key] = copy.deepcopy(chance.choice(_VALUES))
    return json.dumps(document, indent=4).encode()


@cache
def _facts(name: str, data: bytes) -> tuple[Fact, ...]:
    return tuple(facts_of(data, name))


def _exit(files: dict[str, bytes], changed: str, data: bytes) -> int:
    facts = [f for name, content in files.items() if name != changed for f in _facts(name, content)]
    facts += facts_of(data, changed)
    judgement = judged(gathered(facts, files))
    json.dumps(judgement.data())
    return int(judgement.exit_code)


def test_a_thousand_damaged_outputs_of_faulty_cards() -> None:
    chance = random.Random(20260105)
    json_cases = [
        (samples.folder(**changed), next(iter(changed)))
        for fault, (changed, _) in FAULTS.items() if fault not in _NOT_RECOVERABLE
    ]  # fmt: skip
    text_cases = [(files, next(iter(files))) for files in TEXT_FAULTS.values()]
    for _ in range(650):
        files, name = chance.choice(json_cases)
        data = files[name]
        damaged = _damaged_json(data, chance) if chance.random() < 0.85 else data[: chance.randrange(20, len(data) - 2)]
        assert _exit(files, name, damaged) != 0, damaged.decode()
    for _ in range(350):
        files, name = chance.choice(text_cases)
        text = files[name].decode()
        for _ in range(chance.choice((1, 1, 2))):
            text = chance.choice(TEXT_DAMAGE)(text, chance) if len(text) > 50 else text
        assert _exit(files, name, text.encode()) != 0, text


def test_damage_to_healthy_outputs_is_survived() -> None:
    chance = random.Random(3)
    files = samples.folder()
    for _ in range(150):
        name = chance.choice([n for n in files if n != "lspci"])
        assert _exit(files, name, _damaged_json(files[name], chance)) in (0, 1, 3)


@pytest.mark.parametrize("damage", [_commas, _noisy, _coloured], ids=lambda d: d.__name__)
def test_what_loses_nothing_leaves_the_healthy_healthy(damage: Callable[[str, random.Random], str]) -> None:
    chance = random.Random(5)
    for text in (samples.examine_text() + samples.validation_text(), samples.legacy_text()):
        if damage is _commas:  # versions and names keep their points
            text = "\n".join(
                _commas(ln, chance) if " V" in ln or " C" in ln or "MB/s" in ln else ln for ln in text.split("\n")
            )
        else:
            text = damage(text, chance)
        assert _exit({"log": b""}, "log", text.encode()) == 0, text
